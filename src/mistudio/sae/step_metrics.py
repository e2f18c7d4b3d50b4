"""What one training step measured, and whether the training is still sound."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mistudio.sae.architectures import StepGradients
from mistudio.sae.errors import TrainingDiverged

_EXPLODED = 1000.0
"""A squared error this many times the activations' own energy is an explosion, not a bad start."""

_DIVERGED_HINT = (
    "The weights of the step before are kept. Lower the learning rate, lengthen its warm-up, or keep "
    "gradient clipping on."
)


@dataclass(frozen=True)
class NormalisedBatch:
    """A batch as the dictionary in training knows it."""

    x: Tensor
    """[N, d_in]"""
    y: Tensor
    """[N, d_out]: x itself, but for transcoders"""
    unit: Tensor
    """what brings differences in y back to the model's own units: a scalar, [d_out] or [N, 1]"""


@dataclass(frozen=True)
class StepMetrics:
    """What one step measured, before its update; `row()` has METRICS' names, for logs and curves."""

    step: int
    """1 for the first step"""
    tokens: int
    """tokens seen up to and including this step"""
    loss: float
    terms: dict[str, float]
    l0: float
    mse: float
    fvu: float
    explained_variance: float
    cosine: float
    dead_latents: int
    dead_fraction: float
    learning_rate: float
    grad_norm: float

    def row(self) -> dict[str, float | int]:
        """One flat row."""
        flat: dict[str, float | int] = {k: v for k, v in vars(self).items() if k != "terms"}
        return flat | self.terms


@torch.no_grad()
def measure_step(
    batch: NormalisedBatch,
    outcome: StepGradients,
    *,
    step: int,
    tokens: int,
    dead: Tensor,
    learning_rate: float,
) -> StepMetrics:
    """Metrics of a step, in the model's own units.

    One transfer from the device. Raises TrainingDiverged when the loss or the gradients are not finite, or
    the error has exploded.
    """
    y, reconstruction = batch.y, outcome.reconstruction
    y_norms = y.norm(dim=1)
    lengths = (y_norms * reconstruction.norm(dim=1)).clamp_min(torch.finfo(y.dtype).tiny)
    error, spread = reconstruction - y, y - y.mean(0)
    if batch.unit.ndim:
        # where parts have units of their own, shares of variance depend on them
        error, spread = error * batch.unit, spread * batch.unit
        if batch.unit.ndim == 2:
            spread -= spread.mean(0)
        unit, size = 1.0, (y * batch.unit).norm()
    else:
        unit, size = float(batch.unit), y_norms.norm()
    numbers = [
        error.norm(),
        spread.norm(),
        size,
        (torch.linalg.vecdot(y, reconstruction) / lengths).mean(),
        outcome.l0,
        dead.sum(),
        torch.nn.utils.get_total_norm(list(outcome.gradients.values())),
        *outcome.terms.values(),
    ]
    error_norm, spread_norm, size, cosine, l0, n_dead, grad_norm, *terms = torch.stack(
        [n.double() for n in numbers]
    ).tolist()
    loss = sum(terms)
    if not math.isfinite(loss):
        refuse_unusable(batch.x, step)
        refuse_unusable(y, step)
        raise TrainingDiverged(f"The loss became {loss} at step {step}.", step=step, hint=_DIVERGED_HINT)
    if not math.isfinite(grad_norm):
        raise TrainingDiverged(
            f"The gradients stopped being finite at step {step}.", step=step, hint=_DIVERGED_HINT
        )
    if size > 0 and error_norm**2 > _EXPLODED * size**2:
        raise TrainingDiverged(
            f"The loss exploded at step {step}: the error is {error_norm**2 / size**2:.0f} times as large as "
            "the activations.",
            step=step,
            hint=_DIVERGED_HINT,
        )
    unexplained = 0.0
    if error_norm > 0:
        unexplained = (error_norm / spread_norm) ** 2 if spread_norm > 0 else math.inf
    return StepMetrics(
        step=step,
        tokens=tokens,
        loss=loss,
        terms=dict(zip(outcome.terms, terms, strict=True)),
        l0=l0,
        mse=(error_norm * unit) ** 2 / y.numel(),
        fvu=unexplained,
        explained_variance=1 - unexplained,
        cosine=cosine,
        dead_latents=int(n_dead),
        dead_fraction=n_dead / dead.shape[0],
        learning_rate=learning_rate,
        grad_norm=grad_norm,
    )


def refuse_unusable(x: Tensor, step: int) -> None:
    """Raise when activations are not finite: the fault then lies with them, not with the training."""
    if not bool(torch.isfinite(x).all()):
        raise TrainingDiverged(
            f"The activations given to step {step} contain NaN or infinite values.",
            step=step,
            hint="Check the model's precision (float16 overflows in some models) and the data.",
        )
