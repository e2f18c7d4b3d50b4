"""How well a dictionary found the features of a world where they are known.

Definitions are SAELens' (SynthSAEBench, arXiv 2602.14687, §4), so figures can be compared with published ones:

- MCC: latents and features are matched one to one so that Σ|cos| of decoder and feature directions is
  largest (Hungarian algorithm); the mean |cos| of the matches (arXiv 2505.20254).
- F1, precision, recall, accuracy: every latent is taken as a detector of the feature that its decoder
  direction is closest to (by |cos|; several latents may share one); undefined ratios count as 0; means over
  all latents, dead ones included.
- uniqueness: share of latents whose closest feature differs, over the number of latents.
- explained variance: 1 - E‖x − x̂‖² / E‖x − E[x]‖².
- shrinkage: mean ‖x̂‖ / ‖x‖.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mistudio.sae.errors import SAEError
from mistudio.sae.ground_truth.world import HELD_OUT, World
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE

_SMALLEST_NORM = 1e-8
_SMALLEST_INPUT = 1e-6


@dataclass(frozen=True)
class GroundTruthScores:
    """A dictionary held against the truth."""

    f1: float
    precision: float
    recall: float
    accuracy: float
    mcc: float
    uniqueness: float
    explained_variance: float
    shrinkage: float
    """1: reconstructions are as long as what they reconstruct"""
    l0: float
    true_l0: float
    dead: int
    """latents that never fired"""
    n_samples: int


def mean_matched_cosine(directions: Tensor, features: Tensor) -> float:
    """MCC of decoder `directions` [m, d] and true `features` [n, d]: in [0, 1]."""
    from scipy.optimize import linear_sum_assignment  # takes half a second to import

    cosines = _cosines(directions, features).numpy()
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return float(np.mean(cosines[rows, columns]))


def uniqueness(directions: Tensor, features: Tensor) -> float:
    """Share of `directions` [m, d] left when those with the same closest of the `features` [n, d] count once."""
    return len(_closest(directions, features).unique()) / directions.shape[0]


class Scoring:
    """Scores of one dictionary, gathered over batches.

    `directions` [m, d] are its decoder's rows, `features` [n, d] the true directions.
    """

    def __init__(self, directions: Tensor, features: Tensor) -> None:
        if directions.shape[1] != features.shape[1]:
            raise SAEError(
                f"The dictionary decodes to width {directions.shape[1]}, but the true features have width "
                f"{features.shape[1]}.",
                hint="Score a dictionary in the world that it was trained in.",
            )
        self._directions = directions.detach().float().cpu()
        self._features = features.detach().float().cpu()
        self._closest = _closest(self._directions, self._features)
        m = self._directions.shape[0]
        self._hits, self._fired = torch.zeros(m, dtype=torch.int64), torch.zeros(m, dtype=torch.int64)
        self._true = torch.zeros(self._features.shape[0], dtype=torch.int64)
        self._sum_x = torch.zeros(self._features.shape[1], dtype=torch.float64)
        self._energy = self._error = self._shrinkage = 0.0
        self._samples = self._shrinkage_samples = 0

    def update(self, x: Tensor, reconstruction: Tensor, latents: Latents, truth: Latents) -> None:
        """Count one batch: activations and reconstructions [N, d], latents and the features that fired."""
        x, reconstruction = x.detach().float().cpu(), reconstruction.detach().float().cpu()
        latents, truth = latents.to("cpu"), truth.to("cpu")
        n_features = self._features.shape[0]
        if latents.d_sae != self._fired.shape[0] or truth.d_sae != n_features:
            raise SAEError(
                f"Expected {self._fired.shape[0]} latents and {n_features} features; "
                f"got {latents.d_sae} and {truth.d_sae}."
            )
        fires = torch.zeros(x.shape[0], n_features, dtype=torch.bool)
        fires[truth.tokens, truth.indices] = True
        hit = fires[latents.tokens, self._closest[latents.indices]]
        self._fired += torch.bincount(latents.indices, minlength=latents.d_sae)
        self._hits += torch.bincount(latents.indices[hit], minlength=latents.d_sae)
        self._true += torch.bincount(truth.indices, minlength=n_features)

        self._sum_x += x.sum(0, dtype=torch.float64)
        self._energy += float(x.double().square().sum())
        self._error += float((x - reconstruction).double().square().sum())
        norms = x.norm(dim=1)
        long = norms > _SMALLEST_INPUT
        self._shrinkage += float((reconstruction.norm(dim=1)[long] / norms[long]).double().sum())
        self._shrinkage_samples += int(long.sum())
        self._samples += x.shape[0]

    def result(self) -> GroundTruthScores:
        """The scores over all batches so far."""
        if not self._samples:
            raise SAEError("There is nothing to score yet: give at least one batch.")
        n, hits, fired = self._samples, self._hits.double(), self._fired.double()
        true = self._true[self._closest].double()
        precision, recall = _ratio(hits, fired), _ratio(hits, true)
        variance = self._energy / n - float((self._sum_x / n).square().sum())
        error = self._error / n
        return GroundTruthScores(
            f1=float(_ratio(2 * precision * recall, precision + recall).mean()),
            precision=float(precision.mean()),
            recall=float(recall.mean()),
            accuracy=float(1 - (fired + true - 2 * hits).mean() / n),
            mcc=mean_matched_cosine(self._directions, self._features),
            uniqueness=len(self._closest.unique()) / self._fired.shape[0],
            explained_variance=1 - error / variance if variance > 0 else float(error == 0),
            shrinkage=self._shrinkage / max(self._shrinkage_samples, 1),
            l0=float(fired.sum()) / n,
            true_l0=float(self._true.sum()) / n,
            dead=int((self._fired == 0).sum()),
            n_samples=n,
        )


@torch.no_grad()
def score(
    sae: "SAE", world: World, n_samples: int = 100_000, *, batch_size: int = 4096, start: int = HELD_OUT
) -> GroundTruthScores:
    """Scores of a dictionary on samples of a world that no training has seen (from number `start` on)."""
    scoring = Scoring(sae.W_dec, world.directions)
    for first in range(start, start + n_samples, batch_size):
        sample = world.sample(min(batch_size, start + n_samples - first), first)
        x = sample.x.to(sae.device)
        latents = sae.encode(x)
        scoring.update(x, sae.decode(latents), latents, sample.features)
    return scoring.result()


def _cosines(directions: Tensor, features: Tensor) -> Tensor:
    """|cos| of every pair: [m, n]; a zero vector has 0 with all."""
    a, b = directions.detach().float().cpu(), features.detach().float().cpu()
    a = a / a.norm(dim=1, keepdim=True).clamp_min(_SMALLEST_NORM)
    b = b / b.norm(dim=1, keepdim=True).clamp_min(_SMALLEST_NORM)
    return (a @ b.T).abs_()


def _closest(directions: Tensor, features: Tensor) -> Tensor:
    """[m]: the feature with the largest |cos| to each direction."""
    return _cosines(directions, features).argmax(1)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, 0 where that is undefined."""
    return torch.where(whole > 0, part / whole.clamp_min(torch.finfo(whole.dtype).tiny), 0.0)
