"""What a training recorded of itself beside its curves, as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from mistudio.engine.recordings.environment import read_environments
from mistudio.engine.recordings.frames import HISTOGRAMS, Frames, read_frames
from mistudio.engine.recordings.looks import LEFT_OUT, MOST_ASKED, ask_for, asked_for, list_looks, read_look
from mistudio.errors import NotFound, StudioError
from mistudio.models.library import open_tokenizer
from mistudio.settings import Settings
from mistudio.training.tables import Training
from mistudio.training.views import get_training, training_folder

_LEAST_BINS = 24
"""Shown of an axis where fewer are used, so that what is narrow looks narrow."""


class HistogramSeries(BaseModel):
    """One quantity of all latents over the steps of a training, F frames of B bins."""

    name: str
    title: str
    unit: str
    formula: str
    description: str
    scale: str = Field(description="`log`, or `symlog` where values may be negative.")
    edges: list[float] = Field(description="B + 1 edges; values beyond are counted in the outermost bins.")
    counts: list[list[int]] = Field(description="Latents in each bin, frame by frame.")
    none: list[int] = Field(description="Latents that the axis has no place for.")
    none_words: str = Field(description="Which these are; empty where there are none.")


class Histograms(BaseModel):
    """The histograms of a training; frame `i` was taken after `steps[i]`."""

    steps: list[int]
    tokens: list[int]
    window_tokens: list[int] = Field(
        description="Tokens over which frequencies were counted, up to the frame."
    )
    histograms: list[HistogramSeries]


class LookExample(BaseModel):
    """Where in the buffer a latent is strongly active, and the tokens around."""

    sequence: int
    position: int
    start: int = Field(description="Position of the first token shown.")
    mark: int = Field(description="Which of the tokens shown is the strongest.")
    strongest: float
    token_ids: list[int] = Field(description="-1 where a token does not count (a special one).")
    tokens: list[str]
    activations: list[float | None]


class LookedAt(BaseModel):
    """One latent in an early look."""

    latent: int
    chosen: str = Field(description="`spread` over frequency, or `asked` for.")
    count: int = Field(description="Tokens of the sample on which it is active.")
    frequency: float
    maximum: float
    examples: list[LookExample]


class Look(BaseModel):
    """What some latents fire on at one step of the training."""

    step: int
    tokens: int
    sample_tokens: int = Field(description="Tokens of the buffer that were looked at.")
    latents: list[LookedAt]


class Looks(BaseModel):
    """The early looks of a training, and one of them."""

    steps: list[int]
    asked: list[int] = Field(description="Latents that were asked for.")
    look: Look | None


class LooksAsked(BaseModel):
    """Latents to have in every look from now on."""

    model_config = ConfigDict(extra="forbid")

    latents: list[int] = Field(
        max_length=MOST_ASKED,
        title="Latents",
        description="Indices of latents, in place of those asked for before. A running training looks within seconds.",
    )


class Environment(BaseModel):
    """What an attempt ran in; recorded when it began to train."""

    model_config = ConfigDict(extra="allow")

    started_at: datetime
    mistudio: str
    python: str
    python_build: str
    system: str
    cpu: str
    memory_bytes: int
    device: str
    seed: int
    order_seed: int
    threads: dict[str, int]
    variables: dict[str, str]
    gpus: list[dict[str, Any]]
    git: dict[str, Any] | None
    packages: dict[str, str]
    attempt: int | None = None
    settings: dict[str, Any] | None = Field(
        default=None, description="The studio's settings, without secrets."
    )


def histograms(
    session: Session, settings: Settings, training_id: str, names: list[str] | None = None
) -> Histograms:
    """Its histograms over time, cut to the bins that were ever used. Raises NotFound, StudioError."""
    folder = training_folder(settings, get_training(session, training_id).id)
    found = read_frames(folder)
    unknown = sorted(set(names or ()) - HISTOGRAMS.keys())
    if unknown:
        raise StudioError(
            "histogram_unknown",
            f"There is no histogram “{unknown[0]}”.",
            hint=f"There are {', '.join(HISTOGRAMS)}.",
            fields={"names": "unknown"},
        )
    first = next(iter(found.values()), None)
    if first is None or not len(first.steps):
        return Histograms(steps=[], tokens=[], window_tokens=[], histograms=[])
    return Histograms(
        steps=first.steps.tolist(),
        tokens=first.tokens.tolist(),
        window_tokens=first.window_tokens.tolist(),
        histograms=[_series(name, one) for name, one in found.items() if names is None or name in names],
    )


def _series(name: str, frames: Frames) -> HistogramSeries:
    info = HISTOGRAMS[name]
    used = np.flatnonzero(frames.counts.sum(0))
    first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
    missing = max(0, _LEAST_BINS - (last - first))
    first = max(0, first - (missing + 1) // 2)
    last = min(frames.counts.shape[1], max(last + missing // 2, first + _LEAST_BINS))
    return HistogramSeries(
        name=name,
        title=info.title,
        unit=info.unit,
        formula=info.formula,
        description=info.description,
        scale=info.scale,
        edges=info.edges[first : last + 1].tolist(),
        counts=frames.counts[:, first:last].tolist(),
        none=frames.none.tolist(),
        none_words=info.none,
    )


def looks(session: Session, settings: Settings, training_id: str, step: int | None = None) -> Looks:
    """The steps of its looks, and the newest or the one of this step. Raises NotFound."""
    training = get_training(session, training_id)
    folder = training_folder(settings, training.id)
    steps = list_looks(folder)
    if step is not None and step not in steps:
        raise NotFound("look", str(step))
    found = read_look(folder, steps[-1] if step is None else step) if steps else None
    return Looks(
        steps=steps, asked=asked_for(folder), look=None if found is None else _look(settings, training, found)
    )


def ask_looks(session: Session, settings: Settings, training_id: str, request: LooksAsked) -> None:
    """Have these latents looked at. Raises NotFound, or StudioError naming a latent that the dictionary lacks."""
    training = get_training(session, training_id)
    d_sae = int(training.config["d_sae"])
    for latent in request.latents:
        if not 0 <= latent < d_sae:
            raise StudioError(
                "latent_unknown",
                f"There is no latent {latent}: this dictionary has {d_sae:,}, from 0 to {d_sae - 1:,}.",
                fields={"latents": f"{latent} is not one of 0 to {d_sae - 1}"},
            )
    folder = training_folder(settings, training.id)
    folder.mkdir(parents=True, exist_ok=True)
    ask_for(folder, request.latents)


def environments(session: Session, settings: Settings, training_id: str) -> list[Environment]:
    """What its attempts ran in, the newest first. Raises NotFound."""
    folder = training_folder(settings, get_training(session, training_id).id)
    return [Environment.model_validate(found) for found in reversed(read_environments(folder))]


def _look(settings: Settings, training: Training, found: dict[str, Any]) -> Look:
    known = {LEFT_OUT: "⋯"}
    try:
        text_of = open_tokenizer(settings, training.sweep.model_id).text_of
    except StudioError:  # the model's files are gone
        text_of = "‹{}›".format
    for one in found["latents"]:
        for example in one["examples"]:
            for id in example["tokens"]:
                if id not in known:
                    known[id] = text_of(id)
    n = int(found["sample_tokens"])
    return Look(
        step=found["step"],
        tokens=found["tokens"],
        sample_tokens=n,
        latents=[
            LookedAt(
                latent=one["latent"],
                chosen=one["chosen"],
                count=one["count"],
                frequency=one["count"] / n,
                maximum=one["maximum"],
                examples=[
                    LookExample(
                        **{k: v for k, v in example.items() if k != "tokens"},
                        token_ids=example["tokens"],
                        tokens=[known[id] for id in example["tokens"]],
                    )
                    for example in one["examples"]
                ],
            )
            for one in found["latents"]
        ],
    )
