"""The command of `mistudio train …` for the curves of trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mistudio.console import open_console
from mistudio.store import atomic_file
from mistudio.training import metrics as curves
from mistudio.training import views

_TABLE = ["step", "loss", "fvu", "l0", "dead_latents", "tokens_per_second"]


def metrics(
    training: Annotated[str, typer.Argument(metavar="TRAINING", help="Training (tr_…).")],
    column: Annotated[list[str] | None, typer.Option(help="A metric; may be repeated. Default: all.")] = None,
    points: Annotated[int, typer.Option(min=2, max=100_000, help="Points at most.")] = 20,
    csv: Annotated[
        Path | None, typer.Option(help="Write every point to this CSV file instead; - for stdout.")
    ] = None,
) -> None:
    """Print its curves, thinned out so that minima and maxima stay; or write all points as CSV."""
    with open_console() as console:
        with console.reading() as session:
            views.get_training(session, training)
        if csv is not None:
            pieces = curves.metrics_csv(console.settings, training, column)
            if str(csv) == "-":
                for piece in pieces:
                    typer.echo(piece, nl=False)
                return
            with atomic_file(csv) as file:
                for piece in pieces:
                    file.write(piece.encode())
            console.say(f"Written to {csv}.")
            return
        found = curves.metric_series(console.settings, training, columns=column, max_points=points)
        if console.as_json:
            console.emit(found)
            return
        columns = found["columns"]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        shown = ["step", *column] if column else [name for name in _TABLE if name in columns]
        console.emit(rows, table=shown)
