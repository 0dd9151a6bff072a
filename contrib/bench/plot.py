# SPDX-License-Identifier: GPL-3.0-or-later
"""A plot of lines as SVG text, with nothing but this file: axes with units, a name at the end of each line.

Light and dark: the picture follows the reader's ``prefers-color-scheme`` and brings its own ground, so that it can be
read on any page. Lines differ by colour (Okabe and Ito's) and by the form of their points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 420  # pixels
LEFT, RIGHT, TOP, BOTTOM = 78, 190, 56, 62  # room around the axes; names of lines stand on the right
COLOURS = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff8c3b"),
    ("#007a5a", "#2fc79b"),
    ("#b0508a", "#e39ac4"),
    ("#8a6d00", "#e6c229"),
)  # of each line on a light and on a dark ground
NAME_APART = 16  # pixels between two names

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.note { font-size: 11px; fill: #59636e }
.ground { fill: #ffffff }
.grid { stroke: #d1d9e0 }
.axis { stroke: #59636e }
.limit { stroke: #59636e; stroke-dasharray: 2 4; fill: none }
.line { fill: none; stroke-width: 2 }
%s
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.note { fill: #9198a1 }
.ground { fill: #0d1117 }
.grid { stroke: #30363d }
.axis, .limit { stroke: #9198a1 }
%s
}
"""


@dataclass(frozen=True)
class Line:
    """A line of the plot: its name, and points (x, y) in order. A limit is dotted and has no marks."""

    name: str
    points: Sequence[tuple[float, float]]
    is_limit: bool = False


def plot(path: Path, title: str, x_axis: str, y_axis: str, lines: Sequence[Line], note: str) -> None:
    """Write the plot; both axes begin at 0, ``note`` (the machine, the sizes) stands below it."""
    lines = [line for line in lines if line.points]
    x_ticks = ticks(max(x for line in lines for x, _ in line.points))
    y_ticks = ticks(max(y for line in lines for _, y in line.points))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return (LEFT + x / x_ticks[-1] * (right - LEFT), bottom - y / y_ticks[-1] * (bottom - TOP))

    out = [f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>']
    for value in y_ticks:
        _, y = at(0, value)
        out.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>')
    for value in x_ticks:
        x, _ = at(value, 0)
        out.append(f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{value:,g}</text>')
    out.append(f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{bottom}H{right}"/>')
    out.append(f'<text x="{(LEFT + right) / 2}" y="{bottom + 38}" text-anchor="middle">{escape(x_axis)}</text>')
    middle = (TOP + bottom) / 2
    out.append(f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">{escape(y_axis)}</text>')
    out.append(f'<text class="note" x="{LEFT}" y="{HEIGHT - 6}">{escape(note)}</text>')
    colour = 0
    ends = []
    for line in lines:
        places = [at(x, y) for x, y in line.points]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        if line.is_limit:
            out.append(f'<polyline class="limit" points="{drawn}"/>')
            ends.append((places[-1], "", line.name))
            continue
        out.append(f'<polyline class="line s{colour}" points="{drawn}"/>')
        if len(places) <= 20:
            out += [mark(colour, x, y) for x, y in places]
        ends.append((places[-1], f"f{colour}", line.name))
        colour += 1
    out += names(ends, right)
    words = [
        "\n".join(f".s{n} {{ stroke: {c[i]} }} .f{n} {{ fill: {c[i]} }}" for n, c in enumerate(COLOURS)) for i in (0, 1)
    ]
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img">\n<title>{escape(title)}</title>\n<style>{_STYLE % tuple(words)}</style>\n'
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="6"/>\n' + "\n".join(out) + "\n</svg>\n"
    )


def ticks(most: float) -> list[float]:
    """From 0 to at least ``most`` in three to six steps of 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(most / 5)) if most > 0 else 1.0
    step = next(power * n for n in (1, 2, 2.5, 5, 10) if power * n * 6 >= most)
    return [n * step for n in range(math.ceil(most / step - 1e-9) + 1)]


def mark(colour: int, x: float, y: float) -> str:
    """A point of a line: a circle, a square, a triangle, a diamond or a triangle on its tip."""
    if not colour % 5:
        return f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    form = ("M-4-4H4V4H-4Z", "M0-5L5 4H-5Z", "M0-6L5 0L0 6L-5 0Z", "M0 5L5-4H-5Z")[colour % 5 - 1]
    return f'<path class="f{colour}" transform="translate({x:.1f} {y:.1f})" d="{form}"/>'


def names(ends: Sequence[tuple[tuple[float, float], str, str]], right: float) -> list[str]:
    """The name of each line on the right, at the height of its end or a little off, never one upon the other."""
    out, below = [], -math.inf
    most = HEIGHT - BOTTOM
    todo = sorted(ends, key=lambda end: end[0][1])
    for n, ((x, y), form, name) in enumerate(todo):
        height = max(min(y, most - NAME_APART * (len(todo) - 1 - n)), below + NAME_APART)
        below = height
        out.append(f'<path class="grid" fill="none" d="M{x + 6:.1f} {y:.1f}L{right + 12} {height:.1f}"/>')
        out.append(f'<text class="{form}" x="{right + 16}" y="{height + 4:.1f}">{escape(name)}</text>')
    return out
