"""The figures of a report as SVG text: curves of several runs, and two measures against each other.

Written by hand, as `engine.evaluation.pareto` is: a page to be kept must need nothing from elsewhere. Colours are those
of Okabe and Ito, told apart by the colour-blind; from the ninth run on lines are dashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mistudio.engine.axis import Axis
from mistudio.engine.evaluation.pareto import Point, frontier

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#A04000", "#444444")
_DASHES = ("", "6 3", "2 3")
_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 24, 42
_MARKS = (
    '<circle r="4"/>',
    '<rect x="-3.6" y="-3.6" width="7.2" height="7.2"/>',
    '<path d="M0 -5l4.6 8.4h-9.2z"/>',
    '<path d="M0 -5l5 5 -5 5 -5 -5z"/>',
    '<path d="M0 5l4.6 -8.4h-9.2z"/>',
)


@dataclass(frozen=True)
class Line:
    """The curve of one run: x and y of equal length; y is None where nothing was measured. place: its colour."""

    x: Sequence[float]
    y: Sequence[float | None]
    place: int


def colour(place: int) -> str:
    """The colour of the run at this place."""
    return COLOURS[place % len(COLOURS)]


def swatch(place: int) -> str:
    """A short piece of the run's line, for tables."""
    return (
        '<svg width="18" height="6" viewBox="0 0 18 6" aria-hidden="true">'
        f'<line x1="0" x2="18" y1="3" y2="3" stroke="{colour(place)}" stroke-width="2.5"{_dash(place)}/></svg>'
    )


def curves_svg(title: str, x_title: str, lines: Sequence[Line]) -> str:
    """Curves over one another. Logarithmic upwards where all values are positive and span a tenfold."""
    known = [(line, [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]) for line in lines]
    values = [y for _, points in known for _, y in points]
    xs = [x for _, points in known for x, _ in points]
    if not values:
        return ""
    wide = min(values) > 0 and max(values) / min(values) > 10
    across = _axis(xs, _LEFT, _WIDTH - _RIGHT, margin=0.0)
    up = _axis(values, _HEIGHT - _BOTTOM, _TOP, logarithmic=wide)
    parts = [_frame(across, up, title, x_title)]
    for line, points in known:
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour(line.place)}" stroke-width="1.4" '
            f'stroke-linejoin="round"{_dash(line.place)}/>'
        )
    return _svg(parts, title)


def pareto_svg(title: str, x_title: str, points: Sequence[Point], *, better: str) -> str:
    """Two measures against each other with the front of those that none beats; x is good when it is small.

    The label of a point is its number in the report; its group gives colour and mark.
    """
    if not points:
        return ""
    sign = 1.0 if better == "higher" else -1.0
    logarithmic = min(point.x for point in points) > 0
    across = _axis([p.x for p in points], _LEFT, _WIDTH - _RIGHT, logarithmic=logarithmic)
    up = _axis([p.y for p in points], _HEIGHT - _BOTTOM, _TOP)
    front = frontier(Point(p.x, sign * p.y, p.label, p.group) for p in points)
    way = " ".join(f"{across(p.x):.1f},{up(sign * p.y):.1f}" for p in front)
    parts = [
        _frame(across, up, title, x_title),
        f'<polyline points="{way}" fill="none" stroke="#888" stroke-dasharray="4 3"/>',
    ]
    groups = list(dict.fromkeys(point.group for point in points))
    for point in points:
        place = groups.index(point.group)
        x, y = across(point.x), up(point.y)
        parts.append(
            f'<g transform="translate({x:.1f} {y:.1f})" fill="{colour(place)}" stroke="#fff">{_MARKS[place % 5]}</g>'
            f'<text x="{x + 6:.1f}" y="{y - 5:.1f}" font-size="9">{escape(point.label)}</text>'
        )
    at = _LEFT
    for place, name in enumerate(groups if len(groups) > 1 else ()):
        parts.append(
            f'<g transform="translate({at + 4} {_HEIGHT - 4})" fill="{colour(place)}">{_MARKS[place % 5]}</g>'
            f'<text x="{at + 11}" y="{_HEIGHT - 1}" font-size="8">{escape(name)}</text>'
        )
        at += 18 + 4.6 * len(name)
    return _svg(parts, title)


def short(value: float) -> str:
    """A number for a tick or a table: 3 significant figures."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g} M"
    if size >= 1e4:
        return f"{value / 1e3:.3g} k"
    return f"{value:.3g}" if size < 1000 else f"{value:.0f}"


def _dash(place: int) -> str:
    dash = _DASHES[place // len(COLOURS) % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _axis(
    values: Sequence[float], start: float, end: float, *, logarithmic: bool = False, margin: float = 0.06
) -> Axis:
    """An axis of these small figures: few ticks."""
    return Axis(
        min(values), max(values), start, end, logarithmic=logarithmic, margin=margin, flat=0.5, intervals=4
    )


def _frame(across: Axis, up: Axis, title: str, x_title: str) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<text x="{_LEFT}" y="14" font-size="11" font-weight="600">{escape(title)}</text>']
    for tick in across.ticks():
        x = across(tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" stroke="#eee"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 12}" text-anchor="middle">{short(tick)}</text>')
    for tick in up.ticks():
        y = up(tick)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3:.1f}" text-anchor="end">{short(tick)}</text>')
    parts.append(f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#888"/>')
    parts.append(
        f'<text x="{right}" y="{bottom + 25}" text-anchor="end" fill="#555">{escape(x_title)}</text>'
    )
    return "\n".join(parts)


def _svg(parts: list[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" aria-label="{escape(title)}" font-family="Inter, Helvetica, Arial, sans-serif" font-size="9.5" '
        'fill="#222">\n' + "\n".join(parts) + "\n</svg>\n"
    )
