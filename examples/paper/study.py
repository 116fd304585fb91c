#!/usr/bin/env python3
"""Runs a study: run.sh small|real|TABLE.toml [DIR]. Every run is a directory with its log; one that has finished is never made again, one that was
interrupted goes on from where it was. Ctrl-C stops cleanly. Only the Fisher files and the weights of the run at work lie on the disk."""

import argparse
import fcntl
import fnmatch
import json
import os
import re
import shlex
import sys

import machine
import results
from table import Table, TableError
from tasks import Failed, Stopped, Tasks

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def read_arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", help="small, real, or the path of a table of runs (.toml)")
    parser.add_argument("directory", nargs="?", metavar="DIR", help="where everything is made (default: build/paper/SIZE)")
    parser.add_argument("--list", action="store_true", help="show the runs, what is done and what the others will take")
    parser.add_argument("--only", metavar="PATTERN", action="append", help="only runs with such names, and those that they need; may be given again")
    parser.add_argument("--keep-committed", nargs="?", const="", metavar="RESULTS.jsonl",
                        help="runs that this file (default: docs/results/SIZE/results.jsonl) has, made by the same commands, count as done")
    parser.add_argument("--keep-weights", action="store_true", help="trained weights stay on the disk (up to 1 GB a run)")
    parser.add_argument("--threads", type=int, default=0, help="of ewc-cpt (default: all processors)")
    return parser.parse_args()


def settings_of(path, cpt, arguments):
    """Products of "auto" are decided once for a directory: runs that are compared are computed alike."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        found = {"products": machine.products(cpt)}
        if not arguments.list:
            results.write_whole(path, json.dumps(found) + "\n")
    return dict(found, threads=arguments.threads, keep_weights=arguments.keep_weights)


def wanted(study, patterns):
    """The runs to make, in the table's order: those whose names match, and all that they need."""
    if not patterns:
        return list(study.runs)
    chosen = {run.name for run in study.runs if any(fnmatch.fnmatch(run.name, pattern) for pattern in patterns)}
    if not chosen:
        raise TableError(f"no run is called like {' or '.join(patterns)}: --list shows their names")
    for run in reversed(study.runs):
        if run.name in chosen:
            chosen.update(run.needs)
    return [run for run in study.runs if run.name in chosen]


def option(line, name, default):
    found = re.search(rf"--{name} (\d+)", line)
    return int(found[1]) if found else default


def work(study, run):
    """About how many tokens' worth of training a run is: an evaluated token is a third of a trained one."""
    evaluated = study.final * study.length * len(study.heldout) / 3
    if run.kind == "fisher":
        line = study.options["fisher"] + " " + run.options
        return option(line, "sequences", 1) * option(line, "length", study.length)
    if run.kind == "train":
        line = study.options["train"] + " " + run.options
        steps = option(line, "steps", 1)
        points = 1 + steps // option(line, "eval-every", steps)
        trained = steps * option(line, "batch", 1) * option(line, "accumulate", 1) * option(line, "length", study.length)
        return trained + evaluated + points * study.probe * study.length * len(study.heldout) / 3
    return evaluated if run.kind == "base" else 0


def show(study, tasks, runs):
    records = [record for record in tasks.records() if record["kind"] == "train" and "seconds" in record["timing"]]
    rates = sorted(work(study, study.find(record["run"])) / max(record["timing"]["whole_seconds"], 0.1) for record in records)
    rate = rates[len(rates) // 2] if rates else study.tokens_per_second
    left = 0.0
    for run in runs:
        record = tasks.record(run)
        if record:
            state = "failed" if record.get("failed") else f"done in {record['timing'].get('whole_seconds', 0):.0f} s"
        else:
            seconds = work(study, run) / rate
            left += seconds
            state = f"about {seconds:.0f} s" + (", begun" if os.path.exists(tasks.path("runs", run.name, "log.jsonl")) else "")
        print(f"{run.name:28} {run.method:30} {state}")
    print(f"{sum(map(tasks.finished, runs))} of {len(runs)} runs done; the others take about {left / 3600:.1f} hours "
          f"({rate:.0f} tokens/s{'' if rates else ', a guess'})")


def adopt_committed(study, tasks, committed):
    """Takes over records of runs made by the same commands elsewhere. A value that other runs decide is known only when these are there: in order."""
    if not os.path.exists(committed):
        return
    known = {record["run"]: record for record in results.read_lines(committed)}
    for run in study.runs:
        record = known.get(run.name)
        if record is None or tasks.finished(run):
            continue
        arguments = tasks.arguments(run)
        same = arguments is not None and (record["commands"][:1] == ["ewc-cpt " + shlex.join(arguments)] or run.kind == "compare")
        if same:
            os.makedirs(tasks.path("runs", run.name), exist_ok=True)
            results.write_whole(tasks.record_path(run), json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def summary(record):
    if record.get("failed"):
        return record["failed"]
    if "final" in record:
        return "  ".join(f"{name} {values['perplexity']:.2f}" for name, values in record["final"].items())
    return f"mean {record['statistics']['mean']:.4g}" if "statistics" in record else "compared"


def make_all(study, tasks, runs):
    """Makes what is not done, in order; a run that fails does not stop those that do not need it. Returns the names of the failed."""
    failed = []
    for run in runs:
        if tasks.finished(run):
            continue
        if set(run.needs) & set(failed):
            print(f"{run.name}: left out, since it needs a run that failed", flush=True)
            failed.append(run.name)
            continue
        try:
            for name in run.needs:
                tasks.restore(study.find(name))
            print(f"{run.name}: {run.method}", flush=True)
            record = tasks.make(run)
            print(("\r\033[K" if sys.stdout.isatty() else "") + f"  {record['timing']['whole_seconds']:.0f} s  {summary(record)}", flush=True)
        except Failed as failure:
            print(f"  {failure}", file=sys.stderr, flush=True)
            failed.append(run.name)
        results.write_lines(tasks.path("results.jsonl"), tasks.records())
    return failed


def carry_out(study, tasks, arguments, size):
    try:
        runs = wanted(study, arguments.only)
        if arguments.keep_committed is not None:
            adopt_committed(study, tasks, arguments.keep_committed or os.path.join(ROOT, "docs/results", size, "results.jsonl"))
            results.write_lines(tasks.path("results.jsonl"), tasks.records())
        if arguments.list:
            show(study, tasks, runs)
            return 0
        tasks.prepare()
        failed = make_all(study, tasks, runs)
    except Stopped:
        print("\nStopped. The same command goes on.", file=sys.stderr)
        return 130
    except (Failed, TableError, OSError, ValueError) as error:
        print(f"run.sh: {error}", file=sys.stderr)
        return 1
    print(f"Results: {os.path.relpath(tasks.path('results.jsonl'))}. Tables and plots of them: examples/paper/report.py")
    if failed:
        print(f"run.sh: not made: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main():
    arguments = read_arguments()
    path = arguments.size if arguments.size.endswith(".toml") else os.path.join(HERE, arguments.size + ".toml")
    size = os.path.basename(path).removesuffix(".toml")
    build = os.environ.get("EWC_BUILD", os.path.join(ROOT, "build"))
    cpt = os.path.abspath(os.path.join(build, "ewc-cpt"))
    directory = os.path.abspath(arguments.directory or os.path.join(build, "paper", size))
    if not os.path.exists(path):
        sys.exit(f"run.sh: there is no study {arguments.size}: small, real or a table's path")
    if not os.access(cpt, os.X_OK):
        sys.exit(f"run.sh: {cpt} is missing: run make (make ONEDNN=1 where the processor has AMX: much faster)")
    try:
        study = Table(path)
    except (TableError, KeyError, ValueError) as error:
        sys.exit(f"run.sh: {path}: {error}")
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "lock"), "w", encoding="utf-8") as lock:
        try:
            if not arguments.list:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(f"run.sh: another run.sh is at work in {directory}")
        settings = settings_of(os.path.join(directory, "settings.json"), cpt, arguments)
        tasks = Tasks(study, cpt, directory, ROOT, machine.describe(cpt, ROOT), settings)
        return carry_out(study, tasks, arguments, size)


if __name__ == "__main__":
    sys.exit(main())
