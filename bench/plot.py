#!/usr/bin/env python3
"""One picture of the scaling curves: plot.py SCALING.json PICTURE.svg, from what bench-scaling --json wrote.

A panel for each curve, with what was measured as a line and what it is compared with dashed. Plain SVG, readable on light and dark."""

import json
import math
import sys

WIDTH, HEIGHT = 260, 170  # of a panel's frame
LEFT, TOP, COLUMN, ROW = 62, 66, 350, 268  # of the first panel; from one to the next
STYLE = """<style>
text { fill: #222 } .faint { fill: #666 } .paper { fill: #fff } .frame { stroke: #999; fill: none } .grid { stroke: #e2e2e2 }
.line { stroke: #2471a3; fill: none; stroke-width: 2 } .dot { fill: #2471a3 }
.compared { stroke: #c0392b; fill: none; stroke-width: 1.5; stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) {
text { fill: #ddd } .faint { fill: #aaa } .paper { fill: #161b22 } .frame { stroke: #777 } .grid { stroke: #30363d }
.line { stroke: #5dade2 } .dot { fill: #5dade2 } .compared { stroke: #ec7063 } }
</style>"""

# curve, title, axis, horizontal key, measured key, its name, compared key or None, its name
PANELS = [
    ("threads", "Threads", "threads", "place", "tokens_per_second", "tokens/s", "explained_tokens_per_second", "in proportion"),
    ("length", "Length, same tokens per step", "tokens of a sequence", "place", "tokens_per_second", "tokens/s",
     "explained_tokens_per_second", "explained by the operations"),
    ("documents", "Packed documents in one sequence", "tokens of a document", "place", "tokens_per_second", "tokens/s",
     "explained_tokens_per_second", "explained by the operations"),
    ("vocabulary", "Vocabulary: forward and backward", "vocabulary", "place", "gflops", "GF/s", "product_gflops", "a plain product"),
    ("parameters", "Parameters: forward and backward", "parameters", "parameters", "gflops", "GF/s", "product_gflops", "a plain product"),
    ("parameters", "Parameters: update", "parameters", "parameters", "update_ns_per_parameter", "ns per parameter", None, None),
]


def short(value):
    """8192 as 8 k, 15997440 as 16 M: thousands of 1024 where they are whole, else of ten's powers."""
    if value >= 1024 and value % 1024 == 0 and value < 1 << 20:
        return f"{value // 1024:.0f} k"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:g}"


def ticks(top):
    """Round numbers from 0 to just above `top`: four to six of them."""
    step = 10 ** math.floor(math.log10(top / 4))
    step *= next(m for m in (1, 2, 2.5, 5, 10) if top / (m * step) <= 5)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def panel(points, left, top, title, axis, horizontal, measured, measured_name, compared, compared_name):
    xs = [math.log2(point[horizontal]) for point in points]
    low, high = min(xs), max(xs)
    marks = ticks(1.02 * max(point[key] for point in points for key in (measured, compared) if key))

    def place(point, key):
        share = (math.log2(point[horizontal]) - low) / (high - low) if high > low else 0.5
        return left + WIDTH * (0.04 + 0.92 * share), top + HEIGHT * (1 - point[key] / marks[-1])

    def path(key):
        return " ".join("{:.1f},{:.1f}".format(*place(point, key)) for point in points)

    out = [f'<text x="{left}" y="{top - 26}" font-weight="bold">{title}</text>',
           f'<text x="{left}" y="{top - 9}" class="faint">{measured_name}'
           + (f'; dashed: {compared_name}' if compared else "") + "</text>",
           f'<text x="{left + WIDTH / 2}" y="{top + HEIGHT + 34}" text-anchor="middle" class="faint">{axis}</text>']
    for value in marks:
        y = top + HEIGHT * (1 - value / marks[-1])
        out.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for point in points:
        out.append(f'<text x="{place(point, measured)[0]:.1f}" y="{top + HEIGHT + 16}" text-anchor="middle" font-size="10">'
                   f'{short(point[horizontal])}</text>')
    out.append(f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" class="frame"/>')
    if compared:
        out.append(f'<polyline points="{path(compared)}" class="compared"/>')
    out.append(f'<polyline points="{path(measured)}" class="line"/>')
    out += ['<circle cx="{:.1f}" cy="{:.1f}" r="3" class="dot"/>'.format(*place(point, measured)) for point in points]
    return out


def draw(results):
    present = [p for p in PANELS if results["curves"].get(p[0], {}).get("points")]
    columns = min(3, len(present))
    rows = -(-len(present) // columns) if present else 0
    width, height = LEFT + columns * COLUMN - 20, TOP + rows * ROW - 16
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">', STYLE, f'<rect width="{width}" height="{height}" class="paper"/>',
           f'<text x="{LEFT}" y="20" class="faint">A training step with EWC: libewc {results["version"]}, '
           f'{results["processor"]}, {results["threads"]:g} threads</text>']
    for number, (curve, *rest) in enumerate(present):
        left, top = LEFT + COLUMN * (number % columns), TOP + ROW * (number // columns)
        out += panel(results["curves"][curve]["points"], left, top, *rest)
    return "\n".join(out) + "\n</svg>\n"


def main():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} SCALING.json PICTURE.svg")
    with open(sys.argv[1], encoding="utf-8") as file:
        results = json.load(file)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(draw(results))
    print(f"Picture: {sys.argv[2]}")


if __name__ == "__main__":
    main()
