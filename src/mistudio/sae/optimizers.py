"""How gradients become updates: Adam, Muon, signum; and a running mean of the weights."""

from abc import ABC, abstractmethod
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from mistudio.sae.config import AdamConfig, MuonConfig, OptimizerConfig, SignumConfig
from mistudio.sae.distributed import Ranks

Parameters = dict[str, nn.Parameter]

_PIECE_ROWS = 1024
"""Rows of a matrix worked on at once, so that temporaries stay small and in cache."""
_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan et al. 2024 ("Muon: an optimizer for hidden layers"), steepest at 0."""


class Optimizer(ABC):
    """Moves named weights along their gradients; matrices may decay, biases and thresholds never do."""

    @abstractmethod
    def step(self, gradients: dict[str, Tensor], rate: float) -> None:
        """One update. Gradients may be overwritten, and are kept until the next step's replace them: freeing them
        first would hand their memory back to the system and fault it in again, which costs as much as computing
        them."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Its moments by name, empty before the first step: what a checkpoint must hold."""

    @abstractmethod
    def expect(self, steps_done: int) -> None:
        """Be as after `steps_done` steps, with moments of 0 for a checkpoint to fill in."""

    def forget(self, rows: Tensor, names: Collection[str]) -> None:
        """Set the moments of some rows [n] of the named weights to 0."""
        for key, moment in self.state().items():
            if key.split(".")[1] in names:
                moment[rows] = 0


class Adam(Optimizer):
    """AdamW in one fused pass: what torch.optim.AdamW calls, without that class, whose making imports PyTorch's
    compiler and so puts off the first step of a training by seconds."""

    moments = ("exp_avg", "exp_avg_sq")

    def __init__(self, parameters: Parameters, config: AdamConfig) -> None:
        self._parameters, self._config = parameters, config
        self._fused = next(iter(parameters.values())).device.type in ("cpu", "cuda")
        self._state: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        """by weight: both moments, and the steps that they are old"""

    def step(self, gradients: dict[str, Tensor], rate: float) -> None:
        """One update."""
        config = self._config
        if not self._state:
            self.expect(0, begin=True)
        with torch.no_grad():
            for matrices in (True, False):
                names = [name for name, p in self._parameters.items() if (p.ndim == 2) == matrices]
                found = [self._state[name] for name in names]
                adamw(
                    [self._parameters[name] for name in names],
                    [gradients[name] for name in names],
                    [moments[0] for moments in found],
                    [moments[1] for moments in found],
                    [],
                    [moments[2] for moments in found],
                    fused=self._fused,
                    amsgrad=False,
                    beta1=config.beta1,
                    beta2=config.beta2,
                    lr=rate,
                    weight_decay=config.weight_decay if matrices else 0.0,
                    eps=config.eps,
                    maximize=False,
                )

    def state(self) -> dict[str, Tensor]:
        """Both moments of every weight."""
        return {
            f"adam.{name}.{kind}": moment
            for name, moments in self._state.items()
            for kind, moment in zip(self.moments, moments, strict=False)
        }

    def expect(self, steps_done: int, *, begin: bool = False) -> None:
        """Zero moments, counted as `steps_done` steps old; none before the first step, unless it is to `begin`."""
        self._state = {}
        for name, p in self._parameters.items() if steps_done or begin else ():
            count = torch.tensor(float(steps_done), dtype=torch.float32, device=p.device)
            self._state[name] = (torch.zeros_like(p), torch.zeros_like(p), count)


class Signum(Optimizer):
    """p ← p·(1 − η·decay) − η·sign(v), v the running mean of gradients (Bernstein et al. 2018, arXiv 1802.04434)."""

    def __init__(self, parameters: Parameters, config: SignumConfig) -> None:
        self._parameters, self._config = parameters, config
        self._momentum: dict[str, Tensor] = {}

    def step(self, gradients: dict[str, Tensor], rate: float) -> None:
        """One update."""
        for name, parameter in self._parameters.items():
            momentum = _follow(self._momentum, name, gradients[name], self._config.momentum)
            if parameter.ndim == 2 and self._config.weight_decay:
                parameter.data.mul_(1 - rate * self._config.weight_decay)
            for p, v in zip(parameter.data.split(_PIECE_ROWS), momentum.split(_PIECE_ROWS), strict=True):
                p.add_(v.sign(), alpha=-rate)

    def state(self) -> dict[str, Tensor]:
        """The running mean of every weight's gradients."""
        return {f"signum.{name}.momentum": v for name, v in self._momentum.items()}

    def expect(self, steps_done: int) -> None:
        """Zero moments after the first step, none before."""
        self._momentum = {n: torch.zeros_like(p) for n, p in self._parameters.items()} if steps_done else {}


class Muon(Optimizer):
    """Matrices W ← W·(1 − η·decay) − η·0.2·√(larger side)·orthogonal(v), v the running mean of gradients; the factor
    gives updates the root mean square that Adam's have (Liu et al. 2025, arXiv 2502.16982). Vectors are Adam's.

    A matrix whose rows are spread over ranks is made orthogonal as a whole, at the cost of one [d, d] sum.
    """

    def __init__(
        self, parameters: Parameters, config: MuonConfig, shards: Ranks, by_latent: Collection[str]
    ) -> None:
        self._matrices = {name: p for name, p in parameters.items() if p.ndim == 2}
        self._config, self._shards, self._by_latent = config, shards, by_latent
        self._momentum: dict[str, Tensor] = {}
        self._vectors = Adam({name: p for name, p in parameters.items() if p.ndim != 2}, AdamConfig())

    def step(self, gradients: dict[str, Tensor], rate: float) -> None:
        """One update."""
        for name, parameter in self._matrices.items():
            gradient = gradients[name]
            momentum = _follow(self._momentum, name, gradient, self._config.momentum)
            direction = gradient.lerp_(momentum, self._config.momentum) if self._config.nesterov else momentum
            if self._config.weight_decay:
                parameter.data.mul_(1 - rate * self._config.weight_decay)
            shards = self._shards if name in self._by_latent else None
            self._move(parameter.data, direction, rate, shards)
        self._vectors.step(gradients, rate)

    def _move(self, weights: Tensor, direction: Tensor, rate: float, shards: Ranks | None) -> None:
        rows, columns = direction.shape
        tall = rows >= columns
        if shards is not None and shards.size > 1:
            rows = sum(shards.counts(rows, direction.device))
            tall = True
        gram = direction.T @ direction if tall else direction @ direction.T
        if shards is not None:
            shards.sum(gram)
        factor = orthogonaliser(gram, self._config.newton_schulz_steps)
        alpha = -rate * 0.2 * max(rows, columns) ** 0.5
        if tall:
            weights.addmm_(direction, factor, alpha=alpha)
        else:
            weights.addmm_(factor, direction, alpha=alpha)

    def state(self) -> dict[str, Tensor]:
        """The running mean of matrices' gradients, and Adam's moments of vectors."""
        return {f"muon.{name}.momentum": v for name, v in self._momentum.items()} | self._vectors.state()

    def expect(self, steps_done: int) -> None:
        """Zero moments after the first step, none before."""
        self._momentum = {n: torch.zeros_like(p) for n, p in self._matrices.items()} if steps_done else {}
        self._vectors.expect(steps_done)


def orthogonaliser(gram: Tensor, steps: int) -> Tensor:
    """The matrix Q [d, d] with X·Q ≈ X·(XᵀX)^(−1/2), all singular values near 1, from gram = XᵀX.

    Newton–Schulz steps X ← X·(a + b·A + c·A²), A = XᵀX, started at X/‖X‖, commute with A: all of them are done on
    [d, d] matrices, and X itself is touched once instead of twice a step.
    """
    a, b, c = _QUINTIC
    size = gram.diagonal().sum().sqrt().clamp_min(torch.finfo(gram.dtype).tiny)
    inner = gram / size.square().clamp_min(torch.finfo(gram.dtype).tiny)
    eye = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
    whole = eye / size
    for _ in range(steps):
        one = a * eye + b * inner + c * (inner @ inner)
        whole = whole @ one
        inner = one @ inner @ one
        inner = (inner + inner.T) / 2
    return whole


def build(
    config: OptimizerConfig, parameters: Parameters, shards: Ranks, by_latent: Collection[str]
) -> Optimizer:
    """The optimiser that a configuration names; `by_latent` are the weights with a row for each latent."""
    match config:
        case AdamConfig():
            return Adam(parameters, config)
        case MuonConfig():
            return Muon(parameters, config, shards, by_latent)
        case SignumConfig():
            return Signum(parameters, config)


class WeightAverage:
    """A running mean of weights: after each step w̄ ← β·w̄ + (1 − β)·w, with β no more than (t + 1)/(t + 10) after t
    steps, so that the starting weights are soon forgotten."""

    def __init__(self, parameters: Parameters, decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.weights = {name: p.detach().clone() for name, p in parameters.items()}

    def update(self, steps_done: int) -> None:
        """Take in the weights after `steps_done` steps."""
        decay = min(self._decay, (steps_done + 1) / (steps_done + 10))
        for name, parameter in self._parameters.items():
            self.weights[name].lerp_(parameter.detach(), 1 - decay)

    def restart(self, rows: Tensor | None = None, names: Collection[str] | None = None) -> None:
        """Take the weights as they are now, all of them or some rows [n] of the named ones."""
        for name in self._parameters if names is None else names:
            if rows is None:
                self.weights[name].copy_(self._parameters[name].detach())
            else:
                self.weights[name][rows] = self._parameters[name].detach()[rows]


def _follow(means: dict[str, Tensor], name: str, gradient: Tensor, momentum: float) -> Tensor:
    """Take a gradient into the running mean of that name, which starts at 0."""
    if name not in means:
        means[name] = torch.zeros_like(gradient)
    return means[name].lerp_(gradient, 1 - momentum)
