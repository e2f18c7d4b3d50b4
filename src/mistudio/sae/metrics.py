"""How good a dictionary is, by the formulae of `metric_info.METRICS`.

All functions take x and x̂ [N, d] in the model's own units and return a scalar tensor of x's precision.
`Evaluation` gives the same numbers for any amount of tokens, in float64 and constant memory.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEError
from mistudio.sae.latents import Latents


def l0(latents: Latents) -> float:
    """Σ count(zᵢ > 0) / N: mean active latents per token."""
    return latents.values.shape[0] / latents.n_tokens


def mse(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Σ‖x − x̂‖² / (N·d): mean squared error per entry."""
    return (x - reconstruction).square().mean()


def fvu(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Σ‖x − x̂‖² / Σ‖x − x̄‖²: fraction of variance unexplained; exactly 1 for x̂ = x̄.

    Where x does not vary: 0 for a perfect reconstruction, else infinite.
    """
    error = (x - reconstruction).square().sum()
    variance = (x - x.mean(0)).square().sum()
    return torch.where(error == 0, error, error / variance)


def explained_variance(x: Tensor, reconstruction: Tensor) -> Tensor:
    """1 − Σ‖x − x̂‖² / Σ‖x − x̄‖²: exactly 0 for x̂ = x̄."""
    return 1 - fvu(x, reconstruction)


def cosine(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Σ ⟨x, x̂⟩ / (‖x‖·‖x̂‖) / N: mean cosine similarity; a zero vector counts as 0."""
    return functional.cosine_similarity(x, reconstruction, dim=1, eps=torch.finfo(x.dtype).tiny).mean()


def dead_latents(latents: Latents) -> int:
    """Count of i with zᵢ = 0 on every token."""
    return latents.d_sae - int(latents.fired().sum())


@dataclass(frozen=True)
class EvaluationResult:
    """A dictionary's metrics over `n_tokens` tokens; each field but the first is a key of METRICS."""

    n_tokens: int
    l0: float
    fvu: float
    explained_variance: float
    mse: float
    cosine: float
    dead_latents: int
    dead_fraction: float

    def as_dict(self) -> dict[str, float | int]:
        """The same as a plain dictionary."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Evaluation:
    """Accumulates metrics batch by batch; the order and size of batches do not matter (to 1e-12).

    The mean that explained variance refers to is that of all tokens seen, gathered in one pass by
    merging batch means and spreads (Chan, Golub & LeVeque 1983).
    """

    def __init__(self) -> None:
        self.n_tokens = 0
        self._active = 0
        self._error = 0.0
        self._cosine = 0.0
        self._spread = 0.0
        self._mean = torch.zeros(0, dtype=torch.float64)
        self._counts = torch.zeros(0, dtype=torch.int64)

    @property
    def frequency(self) -> Tensor:
        """[d_sae] float64: share of tokens on which each latent is active."""
        self._require_tokens()
        return self._counts.double() / self.n_tokens

    @torch.no_grad()
    def update(self, x: Tensor, sae: SAE) -> None:
        """Encode and decode activations x [N, d_in] with `sae`, and count the result in."""
        x = sae.check(x)
        latents = sae.encode(x)
        self.update_with(x, latents, sae.decode(latents))

    @torch.no_grad()
    def update_with(self, x: Tensor, latents: Latents, reconstruction: Tensor) -> None:
        """Count in activations whose latents and reconstruction are known already."""
        n = x.shape[0]
        if n == 0:
            return
        if self.n_tokens == 0:
            self._mean = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
            self._counts = torch.zeros(latents.d_sae, dtype=torch.int64, device=x.device)
        wide, wide_reconstruction = x.double(), reconstruction.double()
        self._error += float((wide - wide_reconstruction).square().sum())
        self._cosine += float(cosine(wide, wide_reconstruction)) * n
        mean = wide.mean(0)
        shift = mean - self._mean
        total = self.n_tokens + n
        self._spread += float((wide - mean).square().sum())
        self._spread += float(shift.square().sum()) * self.n_tokens * n / total
        self._mean = self._mean + shift * (n / total)
        self._counts += torch.bincount(latents.indices, minlength=latents.d_sae)
        self._active += latents.values.shape[0]
        self.n_tokens = total

    def result(self) -> EvaluationResult:
        """Metrics over everything counted in so far."""
        self._require_tokens()
        unexplained = 0.0
        if self._error > 0:
            unexplained = self._error / self._spread if self._spread > 0 else math.inf
        dead = int((self._counts == 0).sum())
        return EvaluationResult(
            n_tokens=self.n_tokens,
            l0=self._active / self.n_tokens,
            fvu=unexplained,
            explained_variance=1 - unexplained,
            mse=self._error / (self.n_tokens * self._mean.shape[0]),
            cosine=self._cosine / self.n_tokens,
            dead_latents=dead,
            dead_fraction=dead / self._counts.shape[0],
        )

    def _require_tokens(self) -> None:
        if self.n_tokens == 0:
            raise SAEError("There is nothing to evaluate: no tokens were counted in.")
