"""Charts as plain SVG, readable on light and dark: panels with lines of points, both axes logarithmic or the horizontal one linear."""

import html
import math

WIDTH, HEIGHT = 350, 280  # of a panel's frame
LEFT, TOP, COLUMN, ROW = 70, 60, 460, 370  # of the first panel; from one to the next
COLOURS = [("#222222", "#dddddd"), ("#c0392b", "#ec7063"), ("#2471a3", "#5dade2"), ("#1e8449", "#58d68d"), ("#b7950b", "#f4d03f"),
           ("#7d3c98", "#bb8fce"), ("#d35400", "#eb984e"), ("#117a65", "#48c9b0"), ("#839192", "#b2babb"), ("#a04000", "#dc7633"),
           ("#1a5276", "#7fb3d5"), ("#922b21", "#d98880")]
MARKS = [1, 1.2, 1.5, 2, 3, 5, 7]


def style():
    light = "".join(f".c{i} {{ stroke: {a}; fill: {a} }} " for i, (a, _) in enumerate(COLOURS))
    dark = "".join(f".c{i} {{ stroke: {b}; fill: {b} }} " for i, (_, b) in enumerate(COLOURS))
    return ("<style>text { fill: #222; stroke: none } .faint { fill: #666 } .paper { fill: #fff } .frame { stroke: #999; fill: none } "
            f".grid {{ stroke: #e2e2e2 }} polyline {{ fill: none; stroke-width: 1.8 }} .level {{ stroke: #888; stroke-dasharray: 5 4 }} {light}"
            "@media (prefers-color-scheme: dark) { text { fill: #ddd } .faint { fill: #aaa } .paper { fill: #161b22 } .frame { stroke: #777 } "
            f".grid {{ stroke: #30363d }} {dark}}} .line {{ fill: none }} .text {{ stroke: none }}</style>")


def ticks(low, high, most=8):
    """Round numbers between low and high, few enough to be told apart on a logarithmic axis."""
    found = [m * 10.0**e for e in range(-4, 7) for m in MARKS if low <= m * 10.0**e <= high]
    for coarse in ([1, 2, 3, 5], [1, 2, 5], [1]):
        if len(found) <= most:
            break
        found = [value for value in found if any(math.isclose(value, m * 10.0 ** round(math.log10(value / m))) for m in coarse)]
    if len(found) >= 3:
        return found
    return even_ticks(low, high)


def even_ticks(low, high):
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= 6)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def plain(value):
    """20000 and not 2e+04."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


class Axis:
    """From values to a share of the frame's side, with some room at both ends."""

    def __init__(self, values, logarithmic):
        self.logarithmic = logarithmic
        low, high = min(values), max(values)
        if logarithmic:
            low, high = math.log(low), math.log(high)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1
        self.low, self.high = low - room, high + room

    def share(self, value):
        return ((math.log(value) if self.logarithmic else value) - self.low) / (self.high - self.low)

    def marks(self):
        if self.logarithmic:
            return ticks(math.exp(self.low), math.exp(self.high))
        return even_ticks(max(self.low, 0), self.high)


def panel(number, columns, title, across, up, lines, levels=(), linear=False):
    """lines: [(colour, [(x, y, label or None)], joined)]; levels: [(y, text)] dashed across the frame."""
    left, top = LEFT + COLUMN * (number % columns), TOP + ROW * (number // columns)
    points = [point for _, line, _ in lines for point in line]
    horizontal = Axis([point[0] for point in points], not linear)
    vertical = Axis([point[1] for point in points] + [level for level, _ in levels], True)

    def place(x, y):
        return left + WIDTH * horizontal.share(x), top + HEIGHT * (1 - vertical.share(y))

    out = [f'<text x="{left}" y="{top - 14}" font-weight="bold">{html.escape(title)}</text>',
           f'<text x="{left + WIDTH / 2}" y="{top + HEIGHT + 34}" text-anchor="middle" class="faint">{html.escape(across)}</text>',
           f'<text x="{left - 52}" y="{top + HEIGHT / 2}" text-anchor="middle" class="faint" '
           f'transform="rotate(-90 {left - 52} {top + HEIGHT / 2})">{html.escape(up)}</text>']
    for value in vertical.marks():
        y = place(points[0][0], value)[1]
        out.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{plain(value)}</text>')
    for value in horizontal.marks():
        x = place(value, points[0][1])[0]
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + HEIGHT}" class="grid"/>')
        out.append(f'<text x="{x:.1f}" y="{top + HEIGHT + 16}" text-anchor="middle">{plain(value)}</text>')
    out.append(f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" class="frame"/>')
    for level, text in levels:
        y = place(points[0][0], level)[1]
        out.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="level"/>')
        out.append(f'<text x="{left + WIDTH - 4}" y="{y - 4:.1f}" text-anchor="end" class="faint" font-size="10">{html.escape(text)}</text>')
    for colour, line, joined in lines:
        if joined:
            path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y, _ in line)
            out.append(f'<polyline points="{path}" class="c{colour} line"/>')
        for x, y, label in line:
            cx, cy = place(x, y)
            if label is not None:
                out.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" class="c{colour}"/>')
            if label:
                out.append(f'<text x="{cx + 5:.1f}" y="{cy - 4:.1f}" font-size="9" class="c{colour} text">{html.escape(label)}</text>')
    return out


def picture(title, panels, legend, columns=2):
    """panels: arguments of panel() behind the first two; legend: [(colour, text)]."""
    rows = -(-len(panels) // columns)
    width = LEFT + columns * COLUMN - 20
    below = TOP + rows * ROW - 6
    height = below + 20 * -(-len(legend) // 3) + 8
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">', style(), f'<rect width="{width}" height="{height}" class="paper"/>',
           f'<text x="{LEFT}" y="22">{html.escape(title)}</text>']
    for number, arguments in enumerate(panels):
        out += panel(number, columns, **arguments)
    for number, (colour, text) in enumerate(legend):
        x, y = 24 + (width - 40) / 3 * (number % 3), below + 20 * (number // 3)
        out.append(f'<line x1="{x:.0f}" x2="{x + 22:.0f}" y1="{y}" y2="{y}" stroke-width="3" class="c{colour}"/>')
        out.append(f'<text x="{x + 28:.0f}" y="{y + 4}">{html.escape(text)}</text>')
    return "\n".join(out) + "\n</svg>\n"
