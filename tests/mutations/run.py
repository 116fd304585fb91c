#!/usr/bin/env python3
"""Breaks one place of the library at a time and requires that a test notices.

  run.py [--reduced] [--only TEXT] [--list] [--texts]        BUILD: the build directory (default: build)

The library is copied into the build directory and built there; each mutation of mutations.py is applied to the copy, the tests
that it names are built again and run until one fails (caught) or all pass (not caught). A mutation whose text is no longer
in the sources, or which does not compile, counts as failed too: it has to follow the code."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from mutations import MUTATIONS

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPIED = ("lib", "include", "tests", "Makefile", "examples")


class Tree:
    """The copy of the sources and its build directory."""

    def __init__(self, directory):
        self.sources, self.build = directory / "sources", directory / "build"
        wanted = {file.relative_to(ROOT) for name in COPIED for file in [ROOT / name, *(ROOT / name).rglob("*")]
                  if file.is_file()}
        for file in wanted:
            self.update(file)
        for file in self.sources.rglob("*"):
            if file.is_file() and file.relative_to(self.sources) not in wanted:
                file.unlink()

    def update(self, file):
        """Files that are as they were keep their time: what an earlier run built and did not break is not built again."""
        source, copy = ROOT / file, self.sources / file
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            shutil.copymode(source, copy)

    def make(self, tests):
        programs = [str(self.build / "tests" / name) for name in tests]
        command = ["make", f"-j{os.cpu_count() or 2}", f"BUILD={self.build}", "WERROR=0", "OPTIMIZE=-O1", *programs]
        done = subprocess.run(command, cwd=self.sources, capture_output=True, text=True)
        return None if done.returncode == 0 else done.stdout[-2000:] + done.stderr[-3000:]

    def failing(self, tests):
        """The first of the tests that fails, or None."""
        environment = dict(os.environ, EWC_TEST_FAST="1", TMPDIR=str(self.build),
                           EWC_BUILD=str(self.build))
        for name in tests:
            try:
                done = subprocess.run([self.build / "tests" / name], cwd=self.sources, env=environment,
                                      capture_output=True, timeout=120)
            except subprocess.TimeoutExpired:
                return name
            if done.returncode != 0:
                return name
        return None


def pattern(text):
    """Matches the text whatever its line breaks and indentation."""
    return re.compile(r"\s+".join(re.escape(word) for word in text.split()))


def misplaced(sources, mutation):
    """Why the mutation cannot be applied to these sources, or None."""
    path = sources / mutation.file
    if not path.exists():
        return f"{mutation.file} does not exist"
    found = len(pattern(mutation.old).findall(path.read_text()))
    return None if found == mutation.times else f"expected {mutation.times} place(s) with its text in {mutation.file}, found {found}"


def check_texts():
    """Do all mutations still follow the code? Builds nothing."""
    problems = [f"{m.name}: {problem}" for m in MUTATIONS if (problem := misplaced(ROOT, m)) is not None]
    print("\n".join(problems) or f"the texts of all {len(MUTATIONS)} mutations are in the sources")
    return 1 if problems else 0


def try_mutation(tree, mutation):
    """(passed, verdict)"""
    problem = misplaced(tree.sources, mutation)
    if problem is not None:
        return False, problem
    path = tree.sources / mutation.file
    original = path.read_text()
    path.write_text(pattern(mutation.old).sub(lambda match: mutation.new, original))
    try:
        problem = tree.make(mutation.tests)
        if problem is not None:
            return False, "does not compile:\n" + problem
        failing = tree.failing(mutation.tests)
        return (False, "NOT CAUGHT") if failing is None else (True, f"caught by {failing}")
    finally:
        path.write_text(original)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduced", action="store_true", help="the few mutations marked for continuous integration")
    parser.add_argument("--only", default="", help="mutations whose name or file contains this text")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--texts", action="store_true", help="only see whether each mutation's text is in the sources")
    options = parser.parse_args()
    if options.texts:
        return check_texts()
    chosen = [m for m in MUTATIONS
              if (m.reduced or not options.reduced) and (options.only in m.name or options.only in m.file)]
    if os.environ.get("ONEDNN") != "1":
        chosen = [m for m in chosen if not m.onednn]
    if options.list:
        print("\n".join(f"{m.name}  ({m.file})" for m in chosen))
        return 0
    tree = Tree(pathlib.Path(os.environ.get("BUILD", "build")).resolve() / "mutations")
    tests = sorted({name for m in chosen for name in m.tests})
    problem = tree.make(tests) or tree.failing(tests)
    if problem is not None:
        print(f"The sources as they are do not pass: {problem}")
        return 1
    passed = failed = 0
    for mutation in chosen:
        begin = time.monotonic()
        good, verdict = try_mutation(tree, mutation)
        passed, failed = passed + good, failed + (not good)
        print(f"{'ok    ' if good else 'not ok'} {mutation.name:64} {time.monotonic() - begin:5.1f} s  {verdict}", flush=True)
    print(f"{passed} passed, {failed} failed")
    if os.environ.get("EWC_TEST_COUNTS"):
        pathlib.Path(os.environ["EWC_TEST_COUNTS"]).write_text(f"{passed} {failed} 0\n")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
