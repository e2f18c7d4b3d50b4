"""The result of an evaluation as plain data that goes to JSON and back. Imports no PyTorch."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from mistudio.engine.evaluation.settings import EvaluationSettings


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


Number = Annotated[float, PlainSerializer(_finite, return_type=float | None, when_used="json")]


class Histogram(BaseModel):
    """Counts between edges: `len(edges) == len(counts) + 1`."""

    edges: list[float]
    counts: list[int]


class LetterAbsorption(BaseModel):
    """One letter of the spelling task."""

    letter: str
    probe_f1: float = Field(description="Of the probe on activations, on unseen words.")
    words: int = Field(description="Unseen words of this letter that the probe finds.")
    main_latents: list[int]
    full: float = Field(description="Share of these words with full absorption.")
    fraction: float = Field(description="Mean absorption fraction of these words.")
    evaluated: bool = Field(description="Whether the probe is good enough for the letter to count.")


class ProbeSetResult(BaseModel):
    """Accuracies on one set of labelled texts, mean over its classes."""

    name: str
    classes: list[str]
    latents: dict[int, float] = Field(description="By number of latents.")
    channels: dict[int, float] = Field(description="By number of entries of x.")
    all_channels: float


class Report(BaseModel):
    """What was measured of one SAE. `metrics` are explained, by name, in `EVALUATION_METRICS`."""

    model_config = ConfigDict(frozen=True)

    name: str
    model: str
    reads: list[str] = Field(description="Hook points that it reads.")
    writes: list[str] = Field(description="Hook points that it reconstructs or predicts.")
    architecture: str
    d_in: int
    d_out: int
    d_sae: int
    tokens: int = Field(description="Tokens measured.")
    spliced_tokens: int = Field(description="Tokens over which KL is a mean.")
    metrics: dict[str, Number | None]
    histograms: dict[str, Histogram] = Field(
        description="`log_frequency` (log₁₀, of latents that were ever active), `max_decoder_cosine`, "
        "`encoder_decoder_cosine`."
    )
    letters: list[LetterAbsorption] = []
    probe_sets: list[ProbeSetResult] = []
    notes: list[str] = Field(default=[], description="What could not be measured, and why.")
    settings: EvaluationSettings
    seconds: dict[str, float] = Field(
        default={}, description="By part. Parts that several SAEs shared are given in full to each."
    )

    def __repr__(self) -> str:
        shown = [
            f"{n} {self.metrics[n]:.3g}"
            for n in ("fvu", "l0", "ce_loss_score")
            if self.metrics.get(n) is not None
        ]
        return (
            f"<Report {self.name}: {', '.join(shown)}; {len(self.metrics)} metrics on {self.tokens:,} tokens>"
        )

    __str__ = __repr__

    def scalars(self) -> dict[str, float]:
        """The metrics that are finite numbers."""
        return {n: float(v) for n, v in self.metrics.items() if v is not None and math.isfinite(v)}

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data; what is not finite is None."""
        return self.model_dump(mode="json")
