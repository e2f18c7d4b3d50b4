"""The curves of a training as the web reads them, and their archive when it has ended."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from mistudio.engine.changes import read_changes
from mistudio.engine.run_folder import METRICS_FILE
from mistudio.errors import StudioError
from mistudio.settings import Settings
from mistudio.store import MetricCurve, archive_metrics, metric_curve, read_metrics
from mistudio.training.control import change_out
from mistudio.training.control_schemas import ChangeOut
from mistudio.training.views import training_folder

_CSV_ROWS = 5_000
_FIXED = ("step", "tokens", "time")


class MetricSeries(BaseModel):
    """Metric points as columns of equal length; `step`, `tokens` and `time` (seconds since 1970) among them.

    What was not measured at a point, and what is not finite, is null.
    """

    columns: dict[str, list[float | None]]
    total_points: int = Field(description="Points recorded so far, whether asked for or not.")
    last_step: int = Field(description="Step of the newest point; 0 when there is none.")
    changes: list[ChangeOut] = Field(description="What was changed while it trained, in order.")


def metric_series(
    settings: Settings,
    training_id: str,
    *,
    columns: Sequence[str] | None = None,
    max_points: int = 2_000,
    after_step: int = 0,
    up_to_step: int | None = None,
) -> dict[str, Any]:
    """The training's points in (after_step, up_to_step], thinned out to about `max_points` (minima and maxima kept).

    Plain values for `MetricSeries`. Raises StudioError for a metric that it does not record.
    """
    folder = training_folder(settings, training_id)
    changes = [change_out(change).model_dump() for change in read_changes(folder)]
    path = folder / METRICS_FILE
    if not path.exists():
        found = MetricCurve({}, 0, 0)
    else:
        try:
            found = metric_curve(path, max_points, columns, after_step, up_to_step)
        except KeyError as unknown:
            raise _unknown(unknown.args[0], metric_curve(path, 4).columns) from None
    return {
        "columns": {name: _plain(values) for name, values in found.columns.items()},
        "total_points": found.total,
        "last_step": found.last_step,
        "changes": changes,
    }


def metrics_csv(
    settings: Settings, training_id: str, columns: Sequence[str] | None = None
) -> Generator[str, None, None]:
    """Every point with every digit: step, tokens, time and the metrics, as lines of CSV in pieces.

    Raises StudioError for a metric that it does not record, before the first piece.
    """
    path = training_folder(settings, training_id) / METRICS_FILE
    points = read_metrics(path) if path.exists() else {}
    for name in columns or ():
        if name not in points:
            raise _unknown(name, points)
    names = [name for name in points if columns is None or name in _FIXED or name in columns]
    return _lines({name: points[name] for name in names or _FIXED if name in points})


def recorded_speeds(settings: Settings, training_id: str) -> list[float]:
    """Tokens a second at each point that was recorded so far; NaN where nothing was before it."""
    path = training_folder(settings, training_id) / METRICS_FILE
    return read_metrics(path)["tokens_per_second"].tolist() if path.exists() else []


def archive_curves(settings: Settings, training_ids: Iterable[str]) -> None:
    """Compress the logs of trainings that have ended, without loss. Raises `DiskFull`; the logs then stay."""
    for training_id in training_ids:
        path = training_folder(settings, training_id) / METRICS_FILE
        if path.exists():
            archive_metrics(path)


def _lines(points: dict[str, Any]) -> Generator[str, None, None]:
    yield ",".join(points or _FIXED) + "\r\n"
    rows = len(points.get("step", ()))
    for start in range(0, rows, _CSV_ROWS):
        part = [_text(values[start : start + _CSV_ROWS]) for values in points.values()]
        yield "".join(",".join(row) + "\r\n" for row in zip(*part, strict=True))


def _text(values: Any) -> list[str]:
    return ["" if value != value else repr(value) for value in values.tolist()]


def _unknown(name: str, known: Iterable[str]) -> StudioError:
    return StudioError(
        "metric_unknown",
        f"This training records no metric “{name}”.",
        hint=f"It records {', '.join(known)}.",
        status=422,
    )


def _plain(values: Any) -> list[float | None]:
    if values.dtype.kind == "i" or (finite := np.isfinite(values)).all():
        return values.tolist()
    return [value if ok else None for value, ok in zip(values.tolist(), finite.tolist(), strict=True)]
