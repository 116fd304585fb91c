#!/usr/bin/env python3
"""Counts the instructions that the library's hot loops take for a small fixed piece of work, and compares with expected.txt.

Times differ from machine to machine and from minute to minute; the number of instructions does not, so a regression is seen on
any machine. callgrind runs hot_loops (beside this file) once per instruction set and counts the calls that train. A count is
what a function executes itself, without what it calls: libm, libc and OpenBLAS choose their code by processor. OpenBLAS is told
to run kernels that every processor has, whose instructions valgrind executes fast, and is one line of its own.

More than 3 % above the expected count fails: the loop has become slower. More than 3 % below fails too: EWC_UPDATE=1
(`make instructions UPDATE=1`) writes expected.txt anew and keeps the gain. With another compiler, other flags or another OpenBLAS than
those that expected.txt names, the comparison is skipped (exit status 77).

Environment: EWC_BUILD, the build directory; EWC_FLAGS, the flags it was compiled with; TMPDIR."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = HERE / "expected.txt"
SETS = ("avx2", "portable")
TOLERANCE = 0.03
LACKING = SKIPPED = 77
# Functions of the public interface within which instructions are counted.
COUNTED = ("ewc_trainer_step", "ewc_fisher_accumulate", "ewc_update", "ewc_penalty_evaluate", "ewc_fisher_accumulate_buffer")
# All kernels are listed, and what else executes this share of the library's own instructions; the driver of products always is.
SHARE = 0.002
ALWAYS = ("ewci_sgemm",)
TOTAL, BLAS = "all of the library", "OpenBLAS in all"


def start(program, instruction_set):
    """callgrind on the program; its profile goes to TMPDIR."""
    profile = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"callgrind.{instruction_set}"
    environment = dict(os.environ, OPENBLAS_CORETYPE="Prescott", LC_ALL="C")
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}",
               *(f"--toggle-collect={name}" for name in COUNTED), str(program), instruction_set]
    return profile, subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_profile(path):
    """Instructions executed by each function itself: {(object, file, function): count}."""
    names = {"ob": {}, "fl": {}, "fn": {}}
    current = {"ob": "", "fl": "", "fn": ""}
    counts = {}
    inclusive = False  # the line after calls= is what the callee took
    specification = re.compile(r"c?(ob|fl|fi|fe|fn)=\((\d+)\)(?: (.*))?")
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            line = line.rstrip("\n")
            found = specification.fullmatch(line)
            if found:
                kind, number, name = found.groups()
                table = names["fl" if kind in ("fi", "fe") else kind]
                if name is not None:
                    table[number] = name
                if kind in current and not line.startswith("c"):
                    current[kind] = table[number]
            elif line.startswith("cfi=") or line.startswith("cfl="):
                found = re.fullmatch(r"cf[il]=\((\d+)\)(?: (.*))?", line)
                if found and found[2] is not None:
                    names["fl"][found[1]] = found[2]
            elif line.startswith("calls="):
                inclusive = True
            elif re.match(r"[-+*\d]", line):
                if not inclusive:
                    key = (current["ob"], current["fl"], current["fn"])
                    counts[key] = counts.get(key, 0) + int(line.split()[1])
                inclusive = False
    return counts


def plain_name(file, function):
    """The source's name of a function: without what the compiler appends to a copy; a kernel without its instruction set."""
    function = re.sub(r"('\d+|\.(constprop|isra|part|cold)\.?\d*)+$", "", function)
    kernel = re.fullmatch(r"ewci_(\w+)_(%s)" % "|".join(SETS), function)
    return kernel[1] if kernel else f"{os.path.basename(file)}:{function}"


def summarise(counts, program):
    """{name: count} of the kernels, of what else counts, and of the two totals."""
    functions, library, blas = {}, 0, 0
    for (owner, file, function), count in counts.items():
        if owner.endswith("libewc-blas.so"):
            blas += count
        if os.path.realpath(owner) != os.path.realpath(program):
            continue
        library += count
        name = plain_name(file, function)
        functions[name] = functions.get(name, 0) + count
    listed = {name: count for name, count in functions.items()
              if ":" not in name or name.split(":")[1] in ALWAYS or (name[0] != "?" and count >= SHARE * library)}
    return {**listed, TOTAL: library, **({BLAS: blas} if blas else {})}


def read_expected():
    """What it was made with, and {"set name": count}."""
    made_with, counts = {}, {}
    for line in EXPECTED.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line:
            continue
        found = re.fullmatch(r"(compiler|flags|blas): (.*)|(\S+ .*?) +(\d+)", line)
        if not found:
            sys.exit(f"instructions: {EXPECTED.name}: not understood: {line}")
        if found[1]:
            made_with[found[1]] = found[2]
        else:
            counts[found[3]] = int(found[4])
    return made_with, counts


def write_expected(made_with, counts):
    lines = ["# Instructions of the hot loops, by instruction set: `make instructions` compares, `make instructions UPDATE=1` writes."]
    lines += [f"{name}: {value}" for name, value in made_with.items()]
    lines += [f"{name:<48} {count:>11}" for name, count in counts.items()]
    EXPECTED.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"ok - {EXPECTED.relative_to(HERE.parents[1])} written: {len(counts)} counts")


def compare_one(name, expected, found):
    """Why this count is not as expected, or None."""
    if found is None:
        return f"expected {expected}, not executed or renamed: `make instructions UPDATE=1` writes the present names"
    if expected is None:
        return f"{found} and no expected count: `make instructions UPDATE=1` adds it"
    change = f"{found} instructions, expected {expected} ({100 * (found / expected - 1):+.1f} %)"
    if found > expected * (1 + TOLERANCE):
        return f"{change}: slower; if that must be, `make instructions UPDATE=1`"
    if found < expected * (1 - TOLERANCE):
        return f"{change}: better than expected; `make instructions UPDATE=1` keeps the gain"
    return None


def compare(expected, found, lacking):
    failed = False
    for name in dict.fromkeys([*expected, *found]):
        instruction_set, function = name.split(" ", 1)
        if instruction_set in lacking:
            print(f"ok - {name} # SKIP this processor has no {instruction_set}")
            continue
        if name not in expected and ":" in function:  # beside a kernel: part of the total
            continue
        reason = compare_one(name, expected.get(name), found.get(name))
        if reason is None:
            print(f"ok - {name}")
        else:
            print(f"not ok - {name}: {reason}")
            failed = True
    return failed


def count_all(program):
    """What it was made with, {"set name": count}, and the sets that this processor lacks."""
    made_with, counts, lacking = {}, {}, []
    runs = [(instruction_set, *start(program, instruction_set)) for instruction_set in SETS]
    for instruction_set, profile, process in runs:
        output, errors = process.communicate()
        if process.returncode == LACKING:
            lacking.append(instruction_set)
            continue
        if process.returncode != 0:
            sys.exit(f"instructions: {program.name} {instruction_set} failed under callgrind:\n{errors}")
        made_with = dict(line.split(": ", 1) for line in output.splitlines())
        summary = summarise(read_profile(profile), program)
        counts.update({f"{instruction_set} {name}": summary[name] for name in sorted(summary)})
    return {"compiler": made_with["compiler"], "flags": os.environ.get("EWC_FLAGS", ""), "blas": made_with["blas"]}, counts, lacking


def main():
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed (./bootstrap.sh deps ci)")
        return SKIPPED
    program = pathlib.Path(os.environ.get("EWC_BUILD", "build")) / "tests" / "instructions" / "hot_loops"
    made_with, found, lacking = count_all(program)
    if os.environ.get("EWC_UPDATE"):
        if lacking:
            sys.exit(f"instructions: this processor has no {', '.join(lacking)}: write {EXPECTED.name} on another")
        write_expected(made_with, found)
        return 0
    expected_with, expected = read_expected()
    for name, value in expected_with.items():
        if made_with[name] != value:
            print(f"skipped: {EXPECTED.name} was made with {name} {value}, this is {made_with[name]}")
            return SKIPPED
    return 1 if compare(expected, found, lacking) else 0


sys.exit(main())
