#!/usr/bin/env python3
"""The demonstration's last word: a table, and a picture, from the logs of its training runs.

Every run is named by its output directory; its log lies beside it as DIRECTORY.jsonl. All numbers are those that ewc-cpt
wrote there."""

import argparse
import json
import math
import os
import sys

COLOURS = ["#c0392b", "#2471a3", "#1e8449", "#b7950b", "#7d3c98", "#566573"]
LANGUAGES = ("English", "Lithuanian")


class Run:
    """One training run: evaluations [(step, perplexity)] by language, and the distance from the anchor at its end."""

    def __init__(self, directory):
        self.directory = directory
        self.strength = os.path.basename(directory).removeprefix("lambda-")
        self.evaluations = {language: [] for language in LANGUAGES}
        self.distance = math.nan
        path = directory + ".jsonl"
        try:
            with open(path, encoding="utf-8") as file:
                for line in file:
                    self.read(json.loads(line))
        except (OSError, ValueError) as error:
            sys.exit(f"demo: the log {path} cannot be read: {error}")
        if not all(self.evaluations.values()):
            sys.exit(f"demo: the log {path} lacks evaluations: did the run end early?")

    def read(self, entry):
        if entry["type"] == "eval" and entry["name"] in self.evaluations:
            self.evaluations[entry["name"]].append((entry["step"], entry["perplexity"]))
        elif entry["type"] == "end":
            self.distance = entry["distance"]

    def before_after(self, language):
        return self.evaluations[language][0][1], self.evaluations[language][-1][1]


def print_table(runs):
    print(f"{'':>8}  {'English':^19}  {'Lithuanian':^19}  {'distance from':>13}")
    print(f"{'lambda':>8}  {'before':>8} {'after':>10}  {'before':>8} {'after':>10}  {'the anchor':>13}  adapted checkpoint")
    for run in runs:
        english, lithuanian = run.before_after("English"), run.before_after("Lithuanian")
        print(f"{run.strength:>8}  {english[0]:8.1f} {english[1]:10.1f}  {lithuanian[0]:8.1f} {lithuanian[1]:10.1f}  "
              f"{run.distance:13.3f}  {os.path.relpath(run.directory)}")


def print_reading(runs):
    """In words: how much of what lambda = 0 forgot and learned the best other run forgot and learned."""
    plain = next((run for run in runs if float(run.strength) == 0.0), None)
    others = [run for run in runs if float(run.strength) > 0.0]
    if plain is None or not others:
        return

    def moved(run, language):
        before, after = run.before_after(language)
        return math.log(after) - math.log(before)

    forgotten, learned = moved(plain, "English"), -moved(plain, "Lithuanian")
    if forgotten <= 0.0 or learned <= 0.0:
        return
    best = max(others, key=lambda run: -moved(run, "Lithuanian") / learned - moved(run, "English") / forgotten)
    print(f"\nLambda {best.strength} learned {-100 * moved(best, 'Lithuanian') / learned:.0f} % of what lambda 0 learned (in nats per "
          f"token) and forgot {100 * moved(best, 'English') / forgotten:.0f} % of what it forgot.")


def panel(runs, language, left):
    """One plot: logarithm of the perplexity over steps."""
    width, height, top = 300, 210, 50
    points = [point for run in runs for point in run.evaluations[language]]
    last = max(1, max(step for step, _ in points))
    low = math.log10(min(value for _, value in points)) - 0.05
    high = math.log10(max(value for _, value in points)) + 0.05

    def place(step, value):
        return left + width * step / last, top + height * (high - math.log10(value)) / (high - low)

    out = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>',
           f'<text x="{left + width / 2}" y="{top - 12}" text-anchor="middle" font-weight="bold">{language}</text>',
           f'<text x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle">steps on Lithuanian</text>']
    for step in (0, last // 2, last):
        x = place(step, 10**low)[0]
        out.append(f'<text x="{x:.1f}" y="{top + height + 16}" text-anchor="middle">{step}</text>')
    for value in (m * 10**e for e in range(0, 6) for m in (1, 2, 5)):
        if low <= math.log10(value) <= high:
            y = place(0, value)[1]
            out.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for number, run in enumerate(runs):
        line = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in run.evaluations[language])
        out.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="2"/>')
    return out


def write_svg(path, runs):
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="780" height="340" viewBox="0 0 780 340" '
           'font-family="sans-serif" font-size="12">', '<rect width="780" height="340" fill="white"/>',
           '<text x="390" y="20" text-anchor="middle">Held-out perplexity while a small English model learns Lithuanian</text>']
    out += panel(runs, "English", 60) + panel(runs, "Lithuanian", 450)
    for number, run in enumerate(runs):
        x = 60 + 150 * number
        out.append(f'<line x1="{x}" x2="{x + 24}" y1="318" y2="318" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="2"/>')
        out.append(f'<text x="{x + 30}" y="322">lambda {run.strength}</text>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n</svg>\n")
    print(f"Picture: {os.path.relpath(path)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", help="write a picture to this file")
    parser.add_argument("runs", nargs="+", help="output directories of the runs, .../lambda-STRENGTH")
    arguments = parser.parse_args()
    runs = [Run(directory) for directory in arguments.runs]
    print_table(runs)
    print_reading(runs)
    if arguments.svg:
        write_svg(arguments.svg, runs)


if __name__ == "__main__":
    main()
