"""What an architecture must say: which latents are active, its loss, and that loss's gradients.

A new architecture is one file with one class and one configuration. It gives its loss twice: `terms` in
plain dense autograd, which is the definition, and `gradients` in the fast form that training uses; the
tests hold the second against the first in float64.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from mistudio.sae.config.architectures import Config
from mistudio.sae.distributed import ALONE, Ranks
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE

ConfigT = TypeVar("ConfigT", bound=Config)


@dataclass(frozen=True)
class StepContext:
    """What a loss may depend on besides weights and batch."""

    step: int
    """steps done before this one"""
    dead: Tensor
    """[m] bool: latents that count as dead now"""
    progress: float = 0.0
    """share of the training that is done, 0 to 1"""
    ranks: Ranks = ALONE
    """the processes over which this batch is spread"""
    share: float = 1.0
    """share of the batch's tokens that this process has"""


@dataclass
class StepGradients:
    """One step's loss terms and their gradients."""

    terms: dict[str, Tensor]
    """scalars that add up to the loss, by their names in METRICS"""
    gradients: dict[str, Tensor]
    """by parameter name of the SAE"""
    reconstruction: Tensor
    """ŷ [N, d_out]"""
    l0: Tensor
    """scalar: mean active latents per token"""
    active: Tensor
    """[m] int64: on how many of the batch's tokens each latent is active"""
    observed: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """scalars that `Architecture.observe` keeps track of"""


class Architecture(ABC, Generic[ConfigT]):
    """How what the encoder sees becomes latents, and what is minimised.

    `x` and `y` [N, d_in] and [N, d_out] are activations as the dictionary knows them (normalised);
    `seen` [N, d_in] is what its encoder sees of x (`SAE.centre`).
    """

    latent_parameters: ClassVar[tuple[str, ...]] = ()
    """names of trained weights [m] beside the encoder's bias"""
    state_names: ClassVar[tuple[str, ...]] = ()
    """names of scalars that are kept but not trained"""
    latent_terms: ClassVar[tuple[str, ...]] = ()
    """names of loss terms that are sums over latents, so that each part of a dictionary has its own"""
    ranks_latents: ClassVar[bool] = False
    """whether latents compete for a number of places"""

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @abstractmethod
    def encode(self, sae: "SAE", seen: Tensor) -> Latents:
        """Latents at inference, sparse."""

    @abstractmethod
    def activate(self, sae: "SAE", seen: Tensor) -> Tensor:
        """The same as a matrix [N, m], densely and differentiably."""

    def start(self, sae: "SAE", seen: Tensor) -> None:
        """Set what this architecture adds to the weights, for a start on a sample [N, d_in] of what the encoder sees.

        Called again when the encoder has been scaled to the data.
        """

    def restart(self, sae: "SAE", latents: Tensor, seen: Tensor) -> None:
        """The same for some latents [n] that start anew."""
        for name in self.latent_parameters:
            sae.get_parameter(name)[latents] = 0

    def terms(
        self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The loss by definition: its terms, latents [N, m] and ŷ [N, d_out], in dense autograd."""
        raise NotImplementedError(f"{type(self).__name__} dictionaries are read, not trained")

    def gradients(self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext) -> StepGradients:
        """The same loss with its gradients, in the fast form."""
        return reference_gradients(self, sae, x, y, context)

    def sparsity_coefficient(self, sae: "SAE", step: int) -> float | None:
        """The weight of the sparsity term at the given step (counted from 0); None where the loss has none."""
        return None

    def constrain(self, sae: "SAE") -> None:
        """Bring weights back to where they must be, after an update."""

    def observe(self, sae: "SAE", outcome: StepGradients, context: StepContext) -> None:
        """Update the state kept beside the weights from what a step saw."""

    def scale_latents(self, sae: "SAE", factors: Tensor) -> None:
        """Make latent i larger by factors[i] > 0 at inference, active on the same tokens as before."""
        sae.W_enc.mul_(factors[:, None])
        sae.b_enc.mul_(factors)


def reference_gradients(
    architecture: Architecture[Any], sae: "SAE", x: Tensor, y: Tensor, context: StepContext
) -> StepGradients:
    """Gradients of `architecture.terms` by autograd: slow, plain, and what the fast form must equal."""
    parameters = dict(sae.named_parameters())
    flags = {name: p.requires_grad for name, p in parameters.items()}
    for p in parameters.values():
        p.requires_grad_(True)
    try:
        with torch.enable_grad():
            terms, z, reconstruction = architecture.terms(sae, x, y, context)
            loss = torch.stack(list(terms.values())).sum()
            found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    finally:
        for name, p in parameters.items():
            p.requires_grad_(flags[name])
    z = z.detach()
    return StepGradients(
        {name: t.detach() for name, t in terms.items()},
        dict(zip(parameters, found, strict=True)),
        reconstruction.detach(),
        (z != 0).sum().double() / z.shape[0],
        (z != 0).sum(0),
    )


def reconstruct(sae: "SAE", z: Tensor, x: Tensor) -> Tensor:
    """ŷ [N, d_out] of dense latents z [N, m] in normalised units; differentiable."""
    out = sae.shards.summed(z @ sae.W_dec) + sae.b_dec
    return out if sae.W_skip is None else out + x @ sae.W_skip.T


def squared_error(error: Tensor) -> Tensor:
    """Σ‖error‖² / N of errors [N, d]: a scalar, without a temporary of that size, in float32 at least."""
    if error.dtype == torch.bfloat16:
        return torch.linalg.vector_norm(error, dtype=torch.float32).square() / error.shape[0]
    flat = error.reshape(-1)
    return torch.dot(flat, flat) / error.shape[0]


def warmed_up(weight: float, step: int, warmup_steps: int) -> float:
    """A weight that grows linearly from 0 over `warmup_steps`, at the given step (counted from 0)."""
    return weight * (min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0)
