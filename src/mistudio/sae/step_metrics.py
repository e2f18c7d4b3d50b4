"""What one training step measured, and whether the training is still sound."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mistudio.sae.architectures import StepGradients
from mistudio.sae.dictionary import SAE
from mistudio.sae.distributed import ALONE, Ranks
from mistudio.sae.errors import TrainingDiverged
from mistudio.sae.metrics import DENSE
from mistudio.sae.normalise import NormalisedBatch

_EXPLODED = 1000.0
"""A squared error this many times the activations' own energy is an explosion, not a bad start."""

_PIECE_TOKENS = 512
_PIECE_TOKENS_ELSEWHERE = 65_536

_DIVERGED_HINT = (
    "The weights of the step before are kept. Lower the learning rate, lengthen its warm-up, or keep "
    "gradient clipping on."
)


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
    dense_latents: int
    learning_rate: float
    sparsity_coefficient: float | None
    """None where the loss has no sparsity term"""
    grad_norm: float

    def row(self) -> dict[str, float | int]:
        """One flat row; what this training does not have is left out."""
        flat = {k: v for k, v in vars(self).items() if k != "terms" and v is not None}
        return flat | self.terms


@torch.no_grad()
def measure_step(
    batch: NormalisedBatch,
    outcome: StepGradients,
    sae: SAE,
    ranks: Ranks = ALONE,
    *,
    step: int,
    tokens: int,
    dead: Tensor,
    learning_rate: float,
    sparsity_coefficient: float | None = None,
) -> StepMetrics:
    """Metrics of a step, in the model's own units, over the tokens and latents of all ranks.

    `outcome` is that of the whole batch, but for its reconstruction, which is of this rank's tokens. One transfer
    from the device. Raises TrainingDiverged when the loss or the gradients are not finite, or the error has exploded.
    """
    sums = _sums(batch, outcome.reconstruction, ranks)
    numbers = [
        *sums,
        outcome.l0,
        sae.shards.sum(dead.sum()),
        sae.shards.sum((outcome.active > DENSE * sums[0]).sum()),
        _gradient_norm(outcome.gradients, sae),
        *outcome.terms.values(),
    ]
    count, error, spread, energy, cosines, l0, n_dead, n_dense, grad_norm, *terms = torch.stack(
        [n.double() for n in numbers]
    ).tolist()
    loss = sum(terms)
    if not math.isfinite(loss):
        refuse_unusable(batch.x, step)
        refuse_unusable(batch.y, step)
        raise TrainingDiverged(f"The loss became {loss} at step {step}.", step=step, hint=_DIVERGED_HINT)
    if not math.isfinite(grad_norm):
        raise TrainingDiverged(
            f"The gradients stopped being finite at step {step}.", step=step, hint=_DIVERGED_HINT
        )
    if energy > 0 and error > _EXPLODED * energy:
        raise TrainingDiverged(
            f"The loss exploded at step {step}: the error is {error / energy:.0f} times as large as "
            "the activations.",
            step=step,
            hint=_DIVERGED_HINT,
        )
    unexplained = 0.0
    if error > 0:
        unexplained = error / spread if spread > 0 else math.inf
    return StepMetrics(
        step=step,
        tokens=tokens,
        loss=loss,
        terms=dict(zip(outcome.terms, terms, strict=True)),
        l0=l0,
        mse=error / (count * batch.y.shape[1]),
        fvu=unexplained,
        explained_variance=1 - unexplained,
        cosine=cosines / count,
        dead_latents=int(n_dead),
        dead_fraction=n_dead / sum(sae.shards.counts(dead.shape[0], dead.device)),
        dense_latents=int(n_dense),
        learning_rate=learning_rate,
        sparsity_coefficient=sparsity_coefficient,
        grad_norm=grad_norm,
    )


def _sums(batch: NormalisedBatch, reconstruction: Tensor, ranks: Ranks) -> Tensor:
    """[5] float64: N, Σ‖error‖², Σ‖y − ȳ‖², Σ‖y‖² in the model's own units, and Σ of cosines.

    In pieces of tokens, so that temporaries stay small.
    """
    y, wide = batch.y, torch.promote_types(batch.y.dtype, torch.float32)
    tiny = torch.finfo(wide).tiny
    scalar = batch.unit.ndim == 0
    size = _PIECE_TOKENS if y.device.type == "cpu" else _PIECE_TOKENS_ELSEWHERE
    pieces = [(start, batch.rows(start, start + size)) for start in range(0, y.shape[0], size)]

    def own(piece: NormalisedBatch, values: Tensor) -> Tensor:
        scaled = values if scalar else values * piece.unit
        return scaled if piece.shift is None else scaled + piece.shift

    total = torch.stack([own(piece, piece.y).sum(0, dtype=wide) for _, piece in pieces]).sum(0)
    count = ranks.sum(torch.tensor(float(y.shape[0]), dtype=torch.float64, device=y.device))
    mean = ranks.sum(total) / count.to(wide)
    sums = torch.zeros(4, dtype=torch.float64, device=y.device)
    for start, piece in pieces:
        written = reconstruction[start : start + size].to(wide)
        error, raw = written - piece.y, own(piece, piece.y)
        lengths = (piece.y.norm(dim=1) * written.norm(dim=1)).clamp_min(tiny)
        cosines = (torch.linalg.vecdot(piece.y, written) / lengths).sum()
        norms = [error if scalar else error * piece.unit, raw - mean, raw]
        squares = torch.stack([n.norm() for n in norms]).double().square()
        sums += torch.cat([squares, cosines.double()[None]])
    ranks.sum(sums)
    if scalar:
        sums[:3] *= batch.unit.double().square()
    return torch.cat([count[None], sums])


def _gradient_norm(gradients: dict[str, Tensor], sae: SAE) -> Tensor:
    """The norm of all gradients: scalar."""
    if sae.shards.size == 1:
        return torch.nn.utils.get_total_norm(list(gradients.values()))
    parts = [g for name, g in gradients.items() if name in sae.latent_weights]
    squares = sae.shards.sum(torch.nn.utils.get_total_norm(parts).double().square())
    rest = [g for name, g in gradients.items() if name not in sae.latent_weights]
    return (squares + torch.nn.utils.get_total_norm(rest).double().square()).sqrt()


def refuse_unusable(x: Tensor, step: int) -> None:
    """Raise when activations are not finite: the fault then lies with them, not with the training."""
    if not bool(torch.isfinite(x).all()):
        raise TrainingDiverged(
            f"The activations given to step {step} contain NaN or infinite values.",
            step=step,
            hint="Check the model's precision (float16 overflows in some models) and the data.",
        )
