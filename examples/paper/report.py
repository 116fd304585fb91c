#!/usr/bin/env python3
"""Tables (Markdown) and plots (SVG) of the studies, from docs/results/SIZE/results.jsonl alone.

  report.py [--take DIR]... [--check] [RESULTS]

RESULTS (default: docs/results) has one folder a study. Its README.md is a text with places "<!-- report: SIZE TABLE -->" ... "<!-- end -->": what
stands between them is written by this program. SIZE/runs.md and SIZE/*.svg are written whole. --take DIR first takes over the results of a study's
directory (DIR/results.jsonl; the folder is called like the study's table). --check writes nothing and fails when something is not as it would be
written."""

import argparse
import os
import re
import sys

import charts
import summary
import tables
from results import read_lines, write_lines, write_whole
from study import HERE, ROOT
from table import Table

PLACE = re.compile(r"(<!-- report: (\S+) (\S+) -->\n).*?(<!-- end -->)", re.S)


class Study:
    """A folder's records, beside the table they were made from."""

    def __init__(self, folder, table):
        self.folder = folder
        self.summary = summary.Summary(table, read_lines(os.path.join(folder, "results.jsonl")))

    def files(self):
        """{path: content} of everything that is written whole."""
        made = {"runs.md": tables.runs(self.summary)}
        if self.summary.settings:
            made["tradeoff.svg"] = tradeoff(self.summary)
            made["course.svg"] = course(self.summary)
        return {os.path.join(self.folder, name): text for name, text in made.items()}


def colours(found):
    return {method: number % len(charts.COLOURS) for number, method in enumerate(found.methods())}


def tradeoff(found):
    """English against Lithuanian perplexity, one line per method, on the Fisher's and the training's kind of text and on the others."""
    colour = colours(found)
    panels = []
    for old, new in zip(found.old, found.new):
        lines = []
        for method in sorted(found.methods(), key=found.is_family, reverse=True):  # single points above the lines
            several = len(found.of(method)) > 1
            points = [(setting.perplexity(new), setting.perplexity(old), setting.label if several and setting.method == method else "")
                      for setting in found.line(method)]
            lines.append((colour[method], points, found.is_family(method)))
        panels.append({"title": f"{summary.title(old)} against {summary.title(new)}", "across": f"{summary.title(new)}, perplexity",
                       "up": f"{summary.title(old)}, perplexity", "lines": lines, "levels": [(found.base(old), "before training")]})
    return charts.picture(f"{found.table.title}: held-out perplexity after {found.tokens()} tokens of Lithuanian; down and left is better", panels,
                          [(colour[method], method) for method in found.methods()])


def course(found):
    """Perplexity on the probe over steps: each method at its best setting."""
    colour = colours(found)
    chosen = found.best_settings()
    panels = []
    for text in [*found.old, *found.new]:
        lines = [(colour[setting.method], [(step, value, "") for step, value in setting.course(text)], True) for setting in chosen]
        panels.append({"title": summary.title(text), "across": "steps", "up": "perplexity on the probe", "lines": lines, "linear": True})
    return charts.picture(f"{found.table.title}: each method at its best setting", panels,
                          [(colour[setting.method], f"{setting.method} {setting.label}") for setting in chosen])


def fill_page(text, studies):
    def table(match):
        _, size, name, _ = match.groups()
        if size not in studies:
            return match[1] + "(not run yet)\n" + match[4]
        return match[1] + getattr(tables, name.replace("-", "_"))(studies[size].summary) + match[4]
    return PLACE.sub(table, text)


def table_of(size, given):
    return Table(given or os.path.join(HERE, size + ".toml"))


def take(directory, folder, given):
    """Copies a study's finished runs; committed ones that it has not are kept. In the table's order."""
    size = os.path.basename(os.path.normpath(directory))
    target = os.path.join(folder, size)
    os.makedirs(target, exist_ok=True)
    path = os.path.join(target, "results.jsonl")
    records = {record["run"]: record for source in (path, os.path.join(directory, "results.jsonl")) if os.path.exists(source)
               for record in read_lines(source)}
    order = [run.name for run in table_of(size, given).runs]
    write_lines(path, [records[name] for name in order if name in records])
    left = sorted(set(records) - set(order))
    if left:
        print(f"report: not in the table any more, left out: {', '.join(left)}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", default=os.path.join(ROOT, "docs/results"), metavar="RESULTS")
    parser.add_argument("--take", action="append", default=[], metavar="DIR")
    parser.add_argument("--table", help="the table of runs of every study (default: SIZE.toml beside this program)")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    for directory in arguments.take:
        take(directory, arguments.results, arguments.table)
    studies, files = {}, {}
    for size in sorted(os.listdir(arguments.results)):
        folder = os.path.join(arguments.results, size)
        if os.path.exists(os.path.join(folder, "results.jsonl")):
            studies[size] = Study(folder, table_of(size, arguments.table))
            files.update(studies[size].files())
    page = os.path.join(arguments.results, "README.md")
    if os.path.exists(page):
        with open(page, encoding="utf-8") as file:
            files[page] = fill_page(file.read(), studies)
    return settle(files, arguments.check)


def settle(files, check):
    """Writes the files, or says which are not as they should be."""
    stale = []
    for path, text in files.items():
        try:
            with open(path, encoding="utf-8") as file:
                if file.read() == text:
                    continue
        except FileNotFoundError:
            pass
        stale.append(os.path.relpath(path))
        if not check:
            write_whole(path, text)
    for path in stale:
        print(f"{path}: {'not what report.py makes of the results' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
