"""The curves of a training as the web reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mistudio.engine.run_folder import METRICS_FILE
from mistudio.errors import StudioError
from mistudio.settings import Settings
from mistudio.store import downsample, read_metrics
from mistudio.training.schemas import MetricSeries
from mistudio.training.tables import Training
from mistudio.training.views import training_folder


def metric_series(
    settings: Settings, training: Training, *, columns: Sequence[str] | None, max_points: int, after_step: int
) -> MetricSeries:
    """The training's points after a step, downsampled to about `max_points` (minima and maxima kept)."""
    path = training_folder(settings, training.id) / METRICS_FILE
    if not path.exists():
        return MetricSeries(columns={}, total_points=0, last_step=0)
    points = read_metrics(path)
    total, last = len(points["step"]), int(points["step"][-1]) if len(points["step"]) else 0
    kept = points["step"] > after_step
    wanted = {"step", "tokens", "time", *(columns if columns is not None else points)}
    unknown = sorted(wanted - set(points))
    if unknown:
        raise StudioError(
            "metric_unknown",
            f"This training records no metric “{unknown[0]}”.",
            hint=f"It records {', '.join(points)}.",
            status=422,
        )
    chosen = {name: values[kept] for name, values in points.items() if name in wanted}
    if len(chosen["step"]) > max_points:
        chosen = downsample(chosen, max_points)
    return MetricSeries(
        columns={name: _plain(values) for name, values in chosen.items()}, total_points=total, last_step=last
    )


def _plain(values: Any) -> list[float | None]:
    finite = np.isfinite(values)
    return [value if ok else None for value, ok in zip(values.tolist(), finite.tolist(), strict=True)]
