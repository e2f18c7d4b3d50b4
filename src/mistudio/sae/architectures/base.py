"""What an architecture must say: which latents are active, its loss, and that loss's gradients.

A new architecture is one file with one class and one configuration. It gives its loss twice: `terms` in
plain dense autograd, which is the definition, and `gradients` in the fast form that training uses; the
tests hold the second against the first in float64.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from mistudio.sae import kernels
from mistudio.sae.config import StandardConfig, TopKConfig
from mistudio.sae.kernels import ByLatent
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE

ConfigT = TypeVar("ConfigT", TopKConfig, StandardConfig)


@dataclass(frozen=True)
class StepContext:
    """What a loss may depend on besides weights and batch."""

    step: int
    """steps done before this one"""
    dead: Tensor
    """[m] bool: latents that count as dead now"""


@dataclass
class StepGradients:
    """One step's loss terms and their gradients."""

    terms: dict[str, Tensor]
    """scalars that add up to the loss, by their names in METRICS"""
    gradients: dict[str, Tensor]
    """by parameter name of the SAE"""
    reconstruction: Tensor
    """x̂ [N, d]"""
    l0: Tensor
    """scalar: mean active latents per token"""
    fired: Tensor
    """[m] bool"""


class Architecture(ABC, Generic[ConfigT]):
    """How pre-activations become latents, and what is minimised.

    Everywhere, `norms` [m] are decoder norms when those are free, and None when they are 1.
    """

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @abstractmethod
    def encode(self, centred: Tensor, W_enc: Tensor, b_enc: Tensor, norms: Tensor | None) -> Latents:
        """Sparse latents of what the encoder sees, [N, d]."""

    @abstractmethod
    def activate(self, pre: Tensor, norms: Tensor | None) -> Tensor:
        """Latents of pre-activations [n, m], densely and differentiably: [n, m]."""

    @abstractmethod
    def terms(self, sae: "SAE", x: Tensor, context: StepContext) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The loss by definition: its terms, latents [N, m] and x̂ [N, d], in dense autograd."""

    @abstractmethod
    def gradients(self, sae: "SAE", x: Tensor, context: StepContext) -> StepGradients:
        """The same loss with its gradients, in the fast form."""


def reference_gradients(
    architecture: Architecture[ConfigT], sae: "SAE", x: Tensor, context: StepContext
) -> StepGradients:
    """Gradients of `architecture.terms` by autograd: slow, plain, and what the fast form must equal."""
    parameters = dict(sae.named_parameters())
    flags = {name: p.requires_grad for name, p in parameters.items()}
    for p in parameters.values():
        p.requires_grad_(True)
    try:
        with torch.enable_grad():
            terms, z, reconstruction = architecture.terms(sae, x, context)
            loss = torch.stack(list(terms.values())).sum()
            grads = torch.autograd.grad(loss, list(parameters.values()))
    finally:
        for name, p in parameters.items():
            p.requires_grad_(flags[name])
    z = z.detach()
    return StepGradients(
        {name: t.detach() for name, t in terms.items()},
        dict(zip(parameters, grads, strict=True)),
        reconstruction.detach(),
        (z > 0).sum() / z.shape[0],
        (z > 0).any(0),
    )


def squared_error(error: Tensor) -> Tensor:
    """Σ‖error‖² / N of errors [N, d]: a scalar, without a temporary of that size."""
    flat = error.reshape(-1)
    return torch.dot(flat, flat) / error.shape[0]


def sparse_gradients(
    sae: "SAE",
    centred: Tensor,
    latents: Latents,
    by_latent: ByLatent,
    g: Tensor,
    penalty: Tensor | None = None,
) -> dict[str, Tensor]:
    """Gradients of W_enc, W_dec and b_enc through active latents only.

    `centred` [N, d] is what the encoder saw, `g` [N, d] the gradient of x̂, and `penalty` [nnz] is added to
    the gradient of the active values.
    """
    dv = kernels.products(latents, g, sae.W_dec)
    if penalty is not None:
        dv += penalty
    return {
        "W_enc": by_latent.weight_gradients(dv, centred),
        "W_dec": by_latent.weight_gradients(latents.values, g),
        "b_enc": by_latent.sums(dv),
    }


def decoder_bias_gradient(sae: "SAE", g: Tensor, b_enc_gradient: Tensor) -> Tensor:
    """∂b_dec: through the output, and through the encoder's input where that is centred: [d]."""
    total = g.sum(0)
    if sae.apply_b_dec_to_input:
        total -= b_enc_gradient @ sae.W_enc
    return total
