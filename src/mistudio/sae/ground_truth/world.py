"""Synthetic activations made of known features.

x = Σ aᵢ·fᵢ + b over the features i that fire: fᵢ unit directions, more of them than dimensions; firing rates
by Zipf's law, correlated through a Gaussian copula of low rank, within a hierarchy; magnitudes aᵢ normal,
cut at 0. The model and its parameters are those of SynthSAEBench (arXiv 2602.14687, §3 and appendix).

Sample number n is always the same, whatever is asked for before or with it: samples are drawn in blocks of
256 from a counter-based generator (Philox) keyed by seed and block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from mistudio.sae import kernels
from mistudio.sae.errors import SAEError
from mistudio.sae.ground_truth.hierarchy import Floats, Hierarchy, HierarchyConfig, Ints
from mistudio.sae.latents import Latents, row_offsets

HELD_OUT = 2**40
"""Where samples for evaluation start: no training gets that far."""

_BLOCK = 256
_SETUP = 2**62
"""Block numbers from here on draw the world itself."""
_COARSE = 65_536


class WorldConfig(BaseModel):
    """What a world is like. The defaults keep the proportions of SynthSAEBench-16k at an eighth of its size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_features: int = Field(default=2048, ge=1, title="Features", description="True features.")
    d: int = Field(default=192, ge=2, title="Width", description="Width of the activations.")
    spreading_steps: int = Field(
        default=100,
        ge=0,
        title="Spreading steps",
        description="Steps that turn random directions away from each other. 0 leaves them random.",
    )
    zipf_exponent: float = Field(default=0.5, gt=0, title="Zipf exponent")
    max_rate: float = Field(default=0.4, gt=0, le=1, title="Rate of the most frequent feature")
    min_rate: float = Field(default=5e-4, gt=0, le=1, title="Rate of the rarest feature")
    hierarchy: HierarchyConfig | None = Field(default=HierarchyConfig(), title="Hierarchy")
    correlation_rank: int = Field(
        default=25, ge=0, title="Correlation rank", description="0: features fire independently."
    )
    correlation_scale: float = Field(
        default=0.1,
        ge=0,
        title="Correlation scale",
        description="Standard deviation of the factor loadings; √rank times it is the share of a feature's "
        "latent normal that it has in common with others.",
    )
    mean_magnitude: tuple[float, float] = Field(
        default=(5.0, 4.0),
        title="Mean magnitudes",
        description="Of the most frequent and the rarest feature; linear between.",
    )
    magnitude_spread: tuple[float, float] = Field(
        default=(0.5, 0.5),
        title="Spread of magnitudes",
        description="Each feature's standard deviation is |normal| with this mean and standard deviation.",
    )
    bias_norm: float = Field(default=0.5, ge=0, title="Norm of the bias")
    seed: int = Field(default=0, ge=0, lt=2**63, title="Seed")

    @model_validator(mode="after")
    def _ranges(self) -> "WorldConfig":
        if self.min_rate >= self.max_rate and self.n_features > 1:
            raise ValueError(f"min_rate ({self.min_rate}) must lie below max_rate ({self.max_rate})")
        if min(self.mean_magnitude) <= 0 or min(self.magnitude_spread) < 0:
            raise ValueError("magnitudes must be positive, and their spread must not be negative")
        return self

    @staticmethod
    def synthsaebench_16k(seed: int = 42) -> "WorldConfig":
        """A world drawn like SynthSAEBench-16k (not the published draw itself)."""
        return WorldConfig(n_features=16_384, d=768, hierarchy=HierarchyConfig(roots=128), seed=seed)


@dataclass(frozen=True)
class WorldSample:
    """Activations and what they are made of."""

    x: Tensor
    """[N, d] float32"""
    features: Latents
    """true features that fire, with their magnitudes; `d_sae` is the number of features"""


class World:
    """A drawn world: its features and as many samples as wanted."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        n, seed = config.n_features, config.seed
        self.directions: Tensor = _spread(_normal_tensor(seed, 0, n, config.d), config.spreading_steps)
        """[n_features, d]: unit rows"""
        bias = _normal_tensor(seed, 1, 1, config.d)[0]
        self.bias: Tensor = bias / bias.norm() * config.bias_norm
        """[d]"""
        order = _Draws(seed, _SETUP + 2).uniform(n)
        self.hierarchy: Hierarchy = Hierarchy.grow(config.hierarchy, n, order)
        self.target_rates: NDArray[np.float64] = _zipf(config)
        """[n_features]: rates meant; hierarchy and cut magnitudes leave slightly less"""
        raise_rates = config.hierarchy is not None and config.hierarchy.compensate_rates
        drawn = self.hierarchy.compensated(self.target_rates) if raise_rates else self.target_rates
        self._means: Floats = np.linspace(*config.mean_magnitude, n).astype(np.float32)
        mean, spread = config.magnitude_spread
        self._spreads: Floats = np.abs(mean + spread * _Draws(seed, _SETUP + 3).normal(n)).astype(np.float32)

        # a feature's latent normal is loadings·common + √(1 - ‖loadings‖²)·own, and it fires above a threshold;
        # given the common part it fires with probability Φ(slopes·common - offsets)
        loadings = _normal_tensor(seed, 4, n, config.correlation_rank) * config.correlation_scale
        shared = loadings.square().sum(1, keepdim=True)
        loadings *= (0.99 / shared.clamp_min(0.99)).sqrt()
        own = (1 - loadings.square().sum(1)).sqrt()
        thresholds = -torch.special.ndtri(torch.from_numpy(drawn)).float()
        self._slopes = loadings / own[:, None]
        self._offsets = thresholds / own
        self._top = np.flatnonzero(self.hierarchy.parent < 0)
        top = torch.from_numpy(self._top)
        self._top_slopes, self._top_offsets = self._slopes[top].T.contiguous(), self._offsets[top]

    @property
    def d(self) -> int:
        """Width of the activations."""
        return self.config.d

    @property
    def n_features(self) -> int:
        """Number of true features."""
        return self.config.n_features

    def sample(self, n: int, start: int = 0) -> WorldSample:
        """Samples start … start + n - 1."""
        if n < 1 or start < 0:
            raise SAEError(f"A sample needs n of at least 1 and start of at least 0; got {n} and {start}.")
        first, last = start // _BLOCK, (start + n - 1) // _BLOCK
        blocks = [self._block(number) for number in range(first, last + 1)]
        rows = np.concatenate([r + i * _BLOCK for i, (r, _, _) in enumerate(blocks)]) - start % _BLOCK
        wanted = (rows >= 0) & (rows < n)
        features = Latents(
            torch.from_numpy(np.concatenate([v for _, _, v in blocks])[wanted]),
            torch.from_numpy(np.concatenate([f for _, f, _ in blocks])[wanted]),
            row_offsets(torch.from_numpy(np.bincount(rows[wanted], minlength=n))),
            self.n_features,
        )
        return WorldSample(kernels.decode(features, self.directions) + self.bias, features)

    def batches(self, batch_size: int, total: int, start: int = 0) -> Iterator[Tensor]:
        """Activations [batch_size, d] of `total` samples; the last batch may be smaller."""
        for first in range(start, start + total, batch_size):
            yield self.sample(min(batch_size, start + total - first), first).x

    def superposition(self) -> float:
        """Mean over features of the largest |cosine| with another: 0 where all are orthogonal."""
        largest = torch.zeros(self.n_features)
        for first in range(0, self.n_features, 1024):
            part = (self.directions[first : first + 1024] @ self.directions.T).abs_()
            part.diagonal(first).zero_()
            largest[first : first + 1024] = part.amax(1)
        return float(largest.mean())

    def _block(self, number: int) -> tuple[Ints, Ints, Floats]:
        """Rows, features and values (> 0) of block `number`, in the order of rows, then features.

        Features without parent are drawn first, then, level by level, the children of those that fire: the
        many that could not fire anyway cost nothing.
        """
        draws = _Draws(self.config.seed, number)
        common = torch.from_numpy(draws.normal((_BLOCK, self.config.correlation_rank)).astype(np.float32))
        fired = [self._with_values(draws, *self._draw_top(draws, common))]
        while fired[-1][0].shape[0]:
            fired.append(self._draw_children(draws, common, *fired[-1]))
        rows = np.concatenate([r for r, _, _ in fired])
        features = np.concatenate([f for _, f, _ in fired])
        values = np.concatenate([v for _, _, v in fired])
        order = (rows * self.n_features + features).argsort()
        return rows[order], features[order], values[order]

    def _draw_top(self, draws: "_Draws", common: Tensor) -> tuple[Ints, Ints]:
        """Rows and indices of the features without parent that fire."""
        scores = torch.addmm(self._top_offsets, common, self._top_slopes, beta=-1)
        # The 16 leading bits of each uniform number decide nearly everywhere that a feature does not fire
        # (its highest probability in this block lies below); the rest is drawn only where they do not.
        highest = torch.special.ndtr(scores.amax(0).double()).numpy()
        leading = draws.uint16((_BLOCK, self._top.shape[0]))
        candidates = np.flatnonzero(leading <= np.minimum(highest * _COARSE, _COARSE - 1).astype(np.uint16))
        probability = torch.special.ndtr(scores.flatten()[torch.from_numpy(candidates)].double()).numpy()
        uniform = (leading.reshape(-1)[candidates] + draws.uniform(candidates.shape[0])) / _COARSE
        fires = candidates[uniform < probability]
        return fires // self._top.shape[0], self._top[fires % self._top.shape[0]]

    def _draw_children(
        self, draws: "_Draws", common: Tensor, rows: Ints, features: Ints, values: Floats
    ) -> tuple[Ints, Ints, Floats]:
        """What fires one level below features that do."""
        places, children = self.hierarchy.children(features)
        index = torch.from_numpy(children)
        shared = torch.linalg.vecdot(common[torch.from_numpy(rows[places])], self._slopes[index])
        probability = torch.special.ndtr((shared - self._offsets[index]).double()).numpy()
        fires = draws.uniform(children.shape[0]) < probability
        places, children = places[fires], children[fires]
        scaled = self.hierarchy.scale_by_parent
        strength = (values / self._means[features])[places] if scaled else 1.0
        places, children, values = self._with_values(draws, places, children, strength)
        rows = rows[places]
        stays = self.hierarchy.settle(rows, children, draws.uniform(children.shape[0]))
        return rows[stays], children[stays], values[stays]

    def _with_values(
        self, draws: "_Draws", where: Ints, features: Ints, strength: Floats | float = 1.0
    ) -> tuple[Ints, Ints, Floats]:
        """The same with magnitudes (times `strength`); those that are not positive do not fire."""
        deviations = draws.normal(features.shape[0]).astype(np.float32)
        values = (self._means[features] + self._spreads[features] * deviations) * strength
        values = values.astype(np.float32, copy=False)
        positive = values > 0
        return where[positive], features[positive], values[positive]


class _Draws:
    """Random numbers from raw Philox output: NumPy keeps that stream the same in all of its releases."""

    def __init__(self, seed: int, block: int) -> None:
        self._bits = np.random.Philox(key=np.array([seed, block], dtype=np.uint64))

    def uint16(self, shape: tuple[int, int]) -> NDArray[np.uint16]:
        """Uniform integers below 65,536."""
        size = shape[0] * shape[1]
        words = np.asarray(self._bits.random_raw(-(-size // 4)), dtype="<u8")
        return words.view("<u2")[:size].reshape(shape)

    def uniform(self, shape: int | tuple[int, int]) -> NDArray[np.float64]:
        """Uniform on (0, 1)."""
        size = int(np.prod(shape))
        words = np.asarray(self._bits.random_raw(size), dtype=np.uint64)
        return (((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53).reshape(shape)

    def normal(self, shape: int | tuple[int, int]) -> NDArray[np.float64]:
        """Standard normal."""
        return torch.special.ndtri(torch.from_numpy(self.uniform(shape))).numpy()


def _normal_tensor(seed: int, stream: int, rows: int, columns: int) -> Tensor:
    return torch.from_numpy(_Draws(seed, _SETUP + stream).normal((rows, columns)).astype(np.float32))


def _spread(directions: Tensor, steps: int) -> Tensor:
    """Unit rows, after gradient descent on Σ cos²(fᵢ, fⱼ) over i ≠ j."""
    directions = directions / directions.norm(dim=1, keepdim=True)
    for _ in range(steps):
        gram = directions.T @ directions
        rate = 0.5 / float(torch.linalg.matrix_norm(gram, ord=2))
        directions = directions - rate * (directions @ gram)
        directions = directions / directions.norm(dim=1, keepdim=True)
    return directions


def _zipf(config: WorldConfig) -> NDArray[np.float64]:
    """Rates falling with a power of the rank, stretched to run from max_rate to min_rate."""
    if config.n_features == 1:
        return np.array([config.max_rate])
    power = np.arange(1, config.n_features + 1, dtype=np.float64) ** -config.zipf_exponent
    share = (power - power[-1]) / (power[0] - power[-1])
    return config.min_rate + (config.max_rate - config.min_rate) * share
