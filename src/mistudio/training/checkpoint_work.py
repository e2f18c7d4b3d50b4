"""What the jobs about checkpoints do. They load one or two dictionaries and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mistudio.engine.checkpoints import Checkpoint
from mistudio.engine.runs import stored_settings
from mistudio.jobs import JobContext
from mistudio.sae.config.live import flat_settings
from mistudio.saes.library import register_sae
from mistudio.training import checkpoints
from mistudio.training.control_schemas import (
    CheckpointComparison,
    CheckpointComparisonOut,
    CheckpointSaeJob,
    CosineHistogram,
    SettingDifference,
)
from mistudio.training.tables import Training

if TYPE_CHECKING:
    from torch import Tensor

_SHOWN = ("fvu", "l0", "dead_latents", "dead_fraction", "dense_latents", "loss", "ce_recovered")


def make_sae(context: JobContext, params: CheckpointSaeJob) -> dict[str, Any]:
    """Register the dictionary of a checkpoint as an SAE; its figures are those of the checkpoint."""
    from mistudio.engine.comparing import open_checkpoint

    with context.database.reading() as session:
        training, found = checkpoints.find(session, context.settings, params.training_id, params.step)
        model_id = training.sweep.model_id
    context.progress(0, 1, "SAEs", stage="Open the checkpoint")
    sae = open_checkpoint(found)
    with context.database.session() as session:
        made = register_sae(
            session,
            context.settings,
            sae,
            name=params.name or f"{training.name} · step {params.step:,}",
            training_id=training.id,
            model_id=model_id,
            hook=training.hook,
            metrics=found.metrics,
            origin={"kind": "trained", "checkpoint": params.step, "tokens": found.tokens},
        )
        sae_id = made.id
    context.progress(1, 1, "SAEs")
    context.publish("saes", "changed", {"id": sae_id})
    return {"sae_id": sae_id}


def compare(context: JobContext, params: CheckpointComparison) -> dict[str, Any]:
    """Figures, settings and decoder directions of two checkpoints, side by side."""
    from mistudio.engine.comparing import likeness, open_checkpoint

    with context.database.reading() as session:
        pair = [
            checkpoints.find(session, context.settings, one.training_id, one.step)
            for one in (params.before, params.after)
        ]
    saes = []
    for number, (_, found) in enumerate(pair):
        context.progress(number, 3, "steps", stage="Open the checkpoints")
        saes.append(open_checkpoint(found))
    context.progress(2, 3, "steps", stage="Match their directions")
    alike = likeness(*saes)
    views = [
        next(v for v in checkpoints.views_of(context.settings, training) if v.step == found.step)
        for training, found in pair
    ]
    return CheckpointComparisonOut(
        before=views[0],
        after=views[1],
        metrics={
            name: [one.metrics.get(name) for one in views]
            for name in _SHOWN
            if any(name in one.metrics for one in views)
        },
        settings=_differences(pair),
        d_sae=[sae.d_sae for sae in saes],
        compared=len(alike.matched),
        matched=_histogram(alike.matched),
        same=None if alike.same is None else _histogram(alike.same),
        moved=alike.moved,
    ).model_dump(mode="json")


def _differences(pair: list[tuple[Training, Checkpoint]]) -> list[SettingDifference]:
    """Settings as they were at the checkpoints, and the hook points."""
    flats: list[dict[str, Any]] = []
    for training, found in pair:
        config = found.config if found.said else stored_settings(training.config)
        flats.append({"hook": training.hook, **flat_settings(config)})
    before, after = flats
    return [
        SettingDifference(name=name, before=before.get(name), after=after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _histogram(cosines: Tensor) -> CosineHistogram:
    from mistudio.engine.comparing import BINS

    values = cosines.double().numpy()
    low = -1.0 if len(values) and values.min() < 0 else 0.0
    counts, edges = np.histogram(values, bins=BINS, range=(low, 1.0))
    return CosineHistogram(
        edges=edges.tolist(),
        counts=counts.tolist(),
        median=float(np.median(values)) if len(values) else None,
        mean=float(values.mean()) if len(values) else None,
    )
