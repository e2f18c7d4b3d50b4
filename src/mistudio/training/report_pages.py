"""A report as a page of HTML that needs nothing from elsewhere, and as Markdown with its figures in a zip."""

from __future__ import annotations

import io
import zipfile
from html import escape

from mistudio.training.comparison import ComparedFigure
from mistudio.training.report import Report
from mistudio.training.report_figures import swatch

# The type shrinks with the number of runs, so that one sheet of A4 holds them.
_STYLE = """
@page { size: A4; margin: 11mm }
:root { color-scheme: light; --line: #d9dbe0; --muted: #5b6070 }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 18px; max-width: 860px; background: #fff; color: #1d2026;
  font: SIZEpx/1.35 Inter, Helvetica, Arial, sans-serif; font-variant-numeric: tabular-nums }
h1 { font-size: 1.55em; margin: 0 0 2px }
h2 { font-size: 1.05em; margin: 10px 0 3px; border-bottom: 1px solid var(--line); padding-bottom: 2px }
p { margin: 2px 0 }
.muted { color: var(--muted) }
dl { display: grid; grid-template-columns: fit-content(40%) 1fr; gap: 1px 12px; margin: 4px 0 }
dt { color: var(--muted); overflow-wrap: anywhere } dd { margin: 0; overflow-wrap: anywhere }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 0 22px }
.last { grid-template-columns: 1.6fr 1fr }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: right; padding: 1px 6px; border-bottom: 1px solid #eceef1; white-space: nowrap }
th { font-weight: 500; color: var(--muted); vertical-align: bottom; white-space: normal; line-height: 1.15 }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; white-space: nowrap }
td.long { white-space: normal; line-height: 1.15 }
.best { font-weight: 700 } .best::after { content: " ★"; font-size: .8em }
.figures { display: grid; grid-template-columns: repeat(3, 1fr); gap: 4px }
.figures svg { width: 100%; height: auto; display: block }
.formulas dd code { font-size: .95em }
code { font-family: ui-monospace, Menlo, Consolas, monospace }
@media print { body { padding: 0; max-width: none } .scroll { overflow: visible } h2 { margin-top: 7px } }
@media (max-width: 600px) { .two, .last, .figures { grid-template-columns: 1fr } }
"""


def report_html(report: Report) -> str:
    """One page, self-contained."""
    count = len(report.names)
    size = 10.5 if count <= 8 else 9.2 if count <= 14 else 8.2 if count <= 24 else 7.4
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(report.title)}</title>
<style>{_STYLE.replace("SIZE", f"{size:g}")}</style>
</head>
<body>
<h1>{escape(report.title)}</h1>
<p class="muted">A report of miStudio, {report.made_at:%Y-%m-%d %H:%M} UTC</p>
<div class="two">
<section><h2>What was trained on what</h2>{_facts(report.about)}</section>
<section><h2>Environment</h2>{_facts(report.environment) or '<p class="muted">Not recorded.</p>'}</section>
</div>
<h2>Runs</h2>
<div class="scroll">{_runs(report)}</div>
{_told("Changed while it trained", report.changes)}
{_told("Notes", report.notes)}
<h2>Curves{" and fronts" if any(one.name.startswith("pareto") for one in report.figures) else ""}</h2>
{_figures(report)}
<div class="two last">
<section class="formulas"><h2>Measures</h2>{_measures(report)}</section>
<section><h2>Settings that all share, other than the defaults</h2>{
        _facts(report.shared) or '<p class="muted">None.</p>'
    }</section>
</div>
</body>
</html>
"""


def _facts(facts: list[tuple[str, str]]) -> str:
    if not facts:
        return ""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in facts)}</dl>"


def _runs(report: Report) -> str:
    heads = [title for title, _ in report.differing] + [
        f"{one.title}{', held out' if one.group == 'On held-out tokens' else ''}"
        for one, _ in report.measures
    ]
    together = len(set(report.states)) == 1
    first = ("", "Run") if together else ("", "Run", "State")
    head = "".join(f"<th>{escape(title)}</th>" for title in (*first, *heads))
    rows: list[str] = []
    for place, name in enumerate(report.names):
        cells = "" if together else f"<td>{escape(report.states[place])}</td>"
        cells += "".join(f"<td>{escape(values[place])}</td>" for _, values in report.differing)
        for one, values in report.measures:
            mark = ' class="best"' if place in one.best else ""
            cells += f"<td{mark}>{escape(values[place])}</td>"
        long = ' class="long"' if len(name) > 44 else ""
        rows.append(f"<tr><td>{place + 1} {swatch(place)}</td><td{long}>{escape(name)}</td>{cells}</tr>")
    state = f'<p class="muted">State: {escape(report.states[0])}.</p>' if together and len(rows) > 1 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{state}"


def _told(title: str, of_runs: list[tuple[str, str]]) -> str:
    return f"<h2>{title}</h2>{_facts(of_runs)}" if of_runs else ""


def _figures(report: Report) -> str:
    if not report.figures:
        return '<p class="muted">Nothing was recorded yet.</p>'
    return f'<div class="figures">{"".join(one.svg for one in report.figures)}</div>'


def _measures(report: Report) -> str:
    told = "".join(
        f"<dt>{escape(one.title)}</dt><dd><code>{escape(one.formula)}</code> {escape(_first_sentence(one))}</dd>"
        for one, _ in report.measures
    )
    return f"<dl>{told}</dl>" if told else '<p class="muted">None yet.</p>'


def _first_sentence(one: ComparedFigure) -> str:
    return one.description.split(". ")[0].rstrip(".") + "." if one.description else ""


def report_markdown(report: Report) -> str:
    """The report as Markdown, whose pictures are `figures/*.svg`."""
    lines = [
        f"# {_said(report.title)}",
        "",
        f"A report of miStudio, {report.made_at:%Y-%m-%d %H:%M} UTC.",
        "",
    ]
    lines += ["## What was trained on what", "", *_listed(_all_said(report.about)), ""]
    heads = ["", "Run", "State", *(title for title, _ in report.differing)]
    heads += [
        f"{one.title}{', held out' if one.group == 'On held-out tokens' else ''}"
        for one, _ in report.measures
    ]
    lines += ["## Runs", "", _row(heads), _row(["---"] * len(heads))]
    for place, name in enumerate(report.names):
        cells = [
            str(place + 1),
            _said(name),
            report.states[place],
            *(values[place] for _, values in report.differing),
        ]
        cells += [
            f"**{values[place]}**" if place in one.best else values[place] for one, values in report.measures
        ]
        lines.append(_row(cells))
    lines += ["", "The best of each measure is bold.", ""]
    for title, of_runs in (("Changed while it trained", report.changes), ("Notes", report.notes)):
        if of_runs:
            lines += [f"## {title}", "", *_listed(_all_said(of_runs)), ""]
    if report.figures:
        lines += ["## Curves and fronts", ""]
        lines += [f"![{one.title}](figures/{one.name}.svg)" for one in report.figures]
        lines += ["", "Numbers in the plots are those of the runs."] if len(report.names) > 1 else []
        lines.append("")
    measures = [(one.title, f"`{one.formula}` {one.description}") for one, _ in report.measures]
    lines += ["## Measures", "", *_listed(measures), ""]
    if report.shared:
        lines += ["## Settings that all share, other than the defaults", "", *_listed(report.shared), ""]
    if report.environment:
        lines += ["## Environment", "", *_listed(report.environment), ""]
    return "\n".join(lines)


def report_zip(report: Report) -> bytes:
    """`report.md` with its figures, zipped."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.md", report_markdown(report))
        for one in report.figures:
            archive.writestr(f"figures/{one.name}.svg", one.svg)
    return content.getvalue()


def _said(text: str) -> str:
    """What a person wrote, in one line and without HTML."""
    return " ".join(text.split()).replace("<", "&lt;")


def _all_said(facts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(_said(name), _said(value)) for name, value in facts]


def _listed(facts: list[tuple[str, str]]) -> list[str]:
    return [f"- **{name}**: {' '.join(value.split())}" for name, value in facts]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
