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

DENSE, FREQUENT = 0.1, 0.01
_SMALL_NORM = 1e-4


def l0(latents: Latents) -> float:
    """Σ count(zᵢ ≠ 0) / N: mean active latents per token."""
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
    l1: float
    fvu: float
    explained_variance: float
    explained_variance_legacy: float
    explained_variance_about_zero: float
    explained_variance_sae_bench: float
    mse: float
    mse_per_token: float
    cosine: float
    l2_norm_in: float
    l2_norm_out: float
    l2_ratio: float
    relative_reconstruction_bias: float
    projection: float
    dead_latents: int
    dead_fraction: float
    dense_latents: int
    dense_fraction: float
    frequent_fraction: float

    def as_dict(self) -> dict[str, float | int]:
        """The same as a plain dictionary."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Evaluation:
    """Accumulates metrics batch by batch; the order and size of batches do not matter (to 1e-12).

    Only `explained_variance_legacy` depends on them, by its definition. The mean that explained variance
    refers to is that of all tokens seen, gathered in one pass by merging batch means and spreads (Chan,
    Golub & LeVeque 1983).
    """

    def __init__(self) -> None:
        self.n_tokens = 0
        self._active = 0
        self._sums: dict[str, float] = dict.fromkeys(
            ("z", "error", "cosine", "legacy", "x", "y", "ratio", "xx", "yy", "xy", "spread"), 0.0
        )
        self._mean = torch.zeros(0, dtype=torch.float64)
        self._counts = torch.zeros(0, dtype=torch.int64)

    @property
    def frequency(self) -> Tensor:
        """[d_sae] float64: share of tokens on which each latent is active."""
        self._require_tokens()
        return self._counts.double() / self.n_tokens

    @property
    def mean(self) -> Tensor:
        """x̄ [d] float64: the mean of the activations that were to be reconstructed."""
        self._require_tokens()
        return self._mean

    @torch.no_grad()
    def update(self, x: Tensor, sae: SAE, target: Tensor | None = None) -> None:
        """Encode activations x [N, d_in] with `sae`, decode, and count the result in.

        `target` [N, d_out] is what is to be reconstructed where that is not x itself (transcoders).
        """
        x = sae.check(x)
        latents = sae.encode(x)
        self.update_with(x if target is None else target, latents, sae.decode(latents, x))

    @torch.no_grad()
    def update_with(self, x: Tensor, latents: Latents, reconstruction: Tensor) -> None:
        """Count in activations whose latents and reconstruction are known already."""
        n = x.shape[0]
        if n == 0:
            return
        if self.n_tokens == 0:
            self._mean = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
            self._counts = torch.zeros(latents.d_sae, dtype=torch.int64, device=latents.indices.device)
        x, y = x.double(), reconstruction.to(x.device).double()
        mean = x.mean(0)
        error, spread = (x - y).square().sum(1), (x - mean).square().sum(1)
        norm_in, norm_out, product = x.norm(dim=1), y.norm(dim=1), (x * y).sum(1)
        shift, total = mean - self._mean, self.n_tokens + n
        moved = float(shift.square().sum()) * self.n_tokens * n / total
        added = {
            "z": latents.values.abs().sum(dtype=torch.float64),
            "error": error.sum(),
            "cosine": (product / (norm_in * norm_out).clamp_min(torch.finfo(x.dtype).tiny)).sum(),
            "legacy": (1 - torch.where(error == 0, error, error / spread)).sum(),
            "x": norm_in.sum(),
            "y": norm_out.sum(),
            "ratio": (norm_out / torch.where(norm_in < _SMALL_NORM, 1.0, norm_in)).sum(),
            "xx": norm_in.square().sum(),
            "yy": norm_out.square().sum(),
            "xy": product.sum(),
            "spread": spread.sum() + moved,
        }
        for name, value in zip(added, torch.stack(list(added.values())).tolist(), strict=True):
            self._sums[name] += value
        self._mean = self._mean + shift * (n / total)
        self._counts += torch.bincount(latents.indices, minlength=latents.d_sae)
        self._active += latents.values.shape[0]
        self.n_tokens = total

    def result(self) -> EvaluationResult:
        """Metrics over everything counted in so far. A ratio whose denominator is 0 is infinite (or 0 for 0/0)."""
        self._require_tokens()
        s, n, d = self._sums, self.n_tokens, self._mean.shape[0]
        d_sae = self._counts.shape[0]
        unexplained = _ratio(s["error"], s["spread"])
        dead = int((self._counts == 0).sum())
        dense = int((self._counts > DENSE * n).sum())
        return EvaluationResult(
            n_tokens=n,
            l0=self._active / n,
            l1=s["z"] / n,
            fvu=unexplained,
            explained_variance=1 - unexplained,
            explained_variance_legacy=s["legacy"] / n,
            explained_variance_about_zero=1 - _ratio(s["error"], s["xx"]),
            explained_variance_sae_bench=1 - _ratio(s["error"], s["xx"] - n * (s["xx"] / (n * d)) ** 2),
            mse=s["error"] / (n * d),
            mse_per_token=s["error"] / n,
            cosine=s["cosine"] / n,
            l2_norm_in=s["x"] / n,
            l2_norm_out=s["y"] / n,
            l2_ratio=s["ratio"] / n,
            relative_reconstruction_bias=_ratio(s["yy"], s["xy"]),
            projection=_ratio(s["xy"], s["xx"]),
            dead_latents=dead,
            dead_fraction=dead / d_sae,
            dense_latents=dense,
            dense_fraction=dense / d_sae,
            frequent_fraction=int((self._counts > FREQUENT * n).sum()) / d_sae,
        )

    def _require_tokens(self) -> None:
        if self.n_tokens == 0:
            raise SAEError("There is nothing to evaluate: no tokens were counted in.")


def _ratio(part: float, whole: float) -> float:
    if whole == 0:
        return math.inf if part > 0 else 0.0
    return part / whole
