"""A sweep as a picture: L0 against CE recovered, with the frontier of those that no other beats in both.

Written as SVG by hand: a plotting library is too large a thing to ask of everybody for one figure. Colours are those of
Okabe and Ito, told apart by the colour-blind; groups differ in their marks as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape

from mistudio.engine.axis import Axis
from mistudio.engine.errors import EngineError
from mistudio.engine.evaluation.infos import EVALUATION_METRICS
from mistudio.engine.evaluation.report import Report

WIDTH, HEIGHT = 720, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 48, 56
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS: tuple[Callable[[float, float], str], ...] = (
    lambda x, y: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>',
    lambda x, y: f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>',
    lambda x, y: f'<path d="M{x:.1f} {y - 6:.1f}l5.5 10h-11z"/>',
    lambda x, y: f'<path d="M{x:.1f} {y - 6:.1f}l6 6-6 6-6-6z"/>',
    lambda x, y: f'<path d="M{x:.1f} {y + 6:.1f}l5.5-10h-11z"/>',
)


class NothingToPlot(EngineError):
    """No report has both numbers."""

    code = "nothing_to_plot"


@dataclass(frozen=True)
class Point:
    """One dictionary."""

    x: float
    y: float
    label: str
    group: str


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats: none has a smaller or equal x and a larger y. From left to right."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return best


def pareto_svg(
    reports: Iterable[Report] | Mapping[str, Report],
    *,
    x: str = "l0",
    y: str = "ce_loss_score",
    title: str = "",
    group: Callable[[Report], str] | None = None,
) -> str:
    """The picture as the text of an SVG file. `x` and `y` are metrics; x is drawn in logarithms where it is positive.

    Groups (colour, mark, legend) are architectures, and their hook points where there are several. Raises
    NothingToPlot.
    """
    found = list(reports.values() if isinstance(reports, Mapping) else reports)
    several = len({tuple(report.writes) for report in found}) > 1
    points = [
        Point(values[x], values[y], report.name, group(report) if group else _group(report, several))
        for report in found
        if x in (values := report.scalars()) and y in values
    ]
    if not points:
        raise NothingToPlot(f"None of the reports has both {x} and {y}.", "Measure both first.")
    xs, ys = [p.x for p in points], [p.y for p in points]
    across = Axis(min(xs), max(xs), _LEFT, WIDTH - _RIGHT, logarithmic=all(x > 0 for x in xs))
    up = Axis(min(ys), max(ys), HEIGHT - _BOTTOM, _TOP, logarithmic=False)
    parts = [_frame(across, up, x, y, title)]
    best = frontier(points)
    line = " ".join(f"{across(p.x):.1f},{up(p.y):.1f}" for p in best)
    parts.append(
        f'<polyline points="{line}" fill="none" stroke="#888" stroke-width="1.5" stroke-dasharray="5 4"/>'
    )
    groups = list(dict.fromkeys(p.group for p in points))
    for number, name in enumerate(groups):
        colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
        parts.append(f'<g fill="{colour}" stroke="#fff" stroke-width="1">')
        for p in points:
            if p.group == name:
                shown = escape(f"{p.label}: {_title(x)} {_short(p.x)}, {_title(y)} {_short(p.y)}")
                parts.append(f"<g>{mark(across(p.x), up(p.y))}<title>{shown}</title></g>")
        parts.append("</g>")
        at = HEIGHT - _BOTTOM - 14 - 18 * (len(groups) - 1 - number)
        parts.append(
            f'<g fill="{colour}">{mark(WIDTH - _RIGHT - 14, at)}</g>'
            f'<text x="{WIDTH - _RIGHT - 26}" y="{at + 4}" text-anchor="end">{escape(name)}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _group(report: Report, several: bool) -> str:
    return f"{report.architecture}, {' + '.join(report.writes)}" if several else report.architecture


def _frame(across: Axis, up: Axis, x: str, y: str, title: str) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    lines: list[str] = []
    for tick in across.ticks():
        at = across(tick)
        lines.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}" stroke="#e5e5e5"/>')
        lines.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{_short(tick)}</text>')
    for tick in up.ticks():
        at = up(tick)
        lines.append(f'<line x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e5e5"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
    middle = (_TOP + bottom) / 2
    return "\n".join(
        [
            *lines,
            f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#444"/>',
            f'<text x="{(_LEFT + right) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(_title(x))}</text>',
            f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">{escape(_title(y))}</text>',
            f'<text x="{_LEFT}" y="26" font-size="15" font-weight="600">{escape(title)}</text>',
        ]
    )


def _title(metric: str) -> str:
    info = EVALUATION_METRICS.get(metric)
    if info is None:
        return metric
    return f"{info.title} ({info.unit})" if info.unit and info.unit != "fraction" else info.title


def _short(value: float) -> str:
    return f"{value:.4g}"
