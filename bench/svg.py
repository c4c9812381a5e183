"""Line charts as SVG, by hand: axes with units, a legend, readable on a light and on a dark page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

Point = tuple[float, float]

WIDTH: Final = 760
HEIGHT: Final = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 200, 40, 50
_TICKS: Final = 6
# Of middle lightness, so that they stand out from white and from black alike.
_COLORS: Final = ("#3b82f6", "#e07b39", "#10a37f", "#c65bd1", "#b8860b", "#e0568a", "#6b8ba4", "#8a9a2b")
_BOUND: Final = "#8b949e"
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#4b5563}.title{font-weight:bold}.grid{stroke:#9ca3af;stroke-opacity:.35}"
    ".line{fill:none;stroke-width:2}@media (prefers-color-scheme:dark){text{fill:#c9d1d9}}"
)


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart.

    Attributes:
        name: in the legend.
        points: x and y, in the order of x.
        dashed: a bound or a quota, and nothing that was measured.
    """

    name: str
    points: Sequence[Point]
    dashed: bool = False


def line_chart(title: str, x_label: str, y_label: str, series: Sequence[Series]) -> str:
    """Return the SVG document of a chart; both axes begin at 0."""
    x_ticks = ticks(max((x for one in series for x, _ in one.points), default=1.0))
    y_ticks = ticks(max((y for one in series for _, y in one.points), default=1.0))
    width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def place(point: Point) -> Point:
        return _LEFT + point[0] / x_ticks[-1] * width, HEIGHT - _BOTTOM - point[1] / y_ticks[-1] * height

    parts = [f'<text class="title" x="{_LEFT}" y="20">{escape(title)}</text>']
    for tick in x_ticks:
        x, y = place((tick, 0))
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{tick:,g}</text>')
    for tick in y_ticks:
        x, y = place((0, tick))
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{y:.1f}" x2="{_LEFT + width}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    middle = _TOP + height / 2
    parts.append(f'<text x="{_LEFT + width / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for index, one in enumerate(series):
        parts += _line(one, index, [place(point) for point in one.points])
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"\n<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


def _line(series: Series, index: int, points: Sequence[Point]) -> list[str]:
    color = _BOUND if series.dashed else _COLORS[index % len(_COLORS)]
    look = f'class="line" stroke="{color}"' + (' stroke-dasharray="5 4"' if series.dashed else "")
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = WIDTH - _RIGHT + 15, _TOP + 10 + 20 * index
    return [
        f'<polyline {look} points="{path}"/>',
        f'<line {look} x1="{x}" y1="{y}" x2="{x + 20}" y2="{y}"/>',
        f'<text x="{x + 26}" y="{y + 4}">{escape(series.name)}</text>',
    ]


def ticks(most: float) -> list[float]:
    """Return round marks from 0 to the first one that is not below the most."""
    rough = max(most, 1e-9) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [number * step for number in range(math.ceil(most / step - 1e-9) + 1)] if most > 0 else [0.0, 1.0]
