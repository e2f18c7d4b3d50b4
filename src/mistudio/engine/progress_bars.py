"""Progress drawn for whoever looks: a bar for each stage, in a terminal or in a notebook. Imports no PyTorch."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from html import escape
from importlib import import_module

from mistudio.engine.progress import OnProgress, Progress

_REDRAW_SECONDS = 0.2


@contextmanager
def progress_bar(shown: bool | OnProgress | None = None) -> Generator[OnProgress | None]:
    """A receiver of reports that draws a bar in a terminal or a notebook.

    shown: False draws nothing, True draws whatever the output is, None only where a person looks (a terminal or a
    notebook); a function of your own is used as it is.
    """
    if callable(shown):
        yield shown
        return
    in_notebook = "ipykernel" in sys.modules
    if not (shown or (shown is None and (in_notebook or sys.stderr.isatty()))):
        yield None
        return
    with _notebook_bars() if in_notebook else _terminal_bars() as receive:
        yield receive


@contextmanager
def _terminal_bars() -> Generator[OnProgress]:
    """Bars on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def receive(report: Progress) -> None:
            if report.stage not in tasks:
                tasks[report.stage] = bars.add_task(report.stage, total=report.total, amount="", note="")
            rate = f" · {report.rate:,.0f}/s" if report.rate else ""
            bars.update(
                tasks[report.stage],
                completed=report.done,
                total=report.total,
                amount=f"{report.done:,} {report.unit}{rate}",
                note=report.doing or report.note,
            )

        yield receive


@contextmanager
def _notebook_bars() -> Generator[OnProgress]:
    """Bars in one output of the cell, drawn anew.

    As HTML and not as widgets: those need ipywidgets, and are gone when the notebook is opened again.
    """
    display = import_module("IPython.display").display
    newest: dict[str, Progress] = {}
    handle = None
    drawn = 0.0

    def draw() -> None:
        nonlocal handle, drawn
        drawn = time.monotonic()
        shown = {
            "text/plain": "\n".join(f"{one.stage}: {_said(one)}" for one in newest.values()),
            "text/html": "".join(_html(one) for one in newest.values()),
        }
        if handle is None:
            handle = display(shown, raw=True, display_id=True)
        else:
            handle.update(shown, raw=True)

    def receive(report: Progress) -> None:
        newest[report.stage] = report
        if time.monotonic() - drawn >= _REDRAW_SECONDS:
            draw()

    try:
        yield receive
    finally:
        if newest:
            draw()


def _said(report: Progress) -> str:
    """How far, how fast, for how long still, and the note or what is being done."""
    total = "" if report.total is None else f" of {report.total:,}"
    parts = [f"{report.done:,}{total} {report.unit}"]
    if report.rate:
        parts.append(f"{report.rate:,.0f}/s")
    if report.seconds_left:
        parts.append(f"{timedelta(seconds=round(report.seconds_left))} left")
    if said := report.doing or report.note:
        parts.append(said)
    return " · ".join(parts)


def _html(report: Progress) -> str:
    value = "" if report.total is None else f' value="{report.done}" max="{max(report.total, 1)}"'
    return f"<div>{escape(report.stage)} <progress{value}></progress> {escape(_said(report))}</div>"
