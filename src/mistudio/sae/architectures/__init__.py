"""One file per architecture, behind the interface of `base`."""

from typing import Any

from mistudio.sae.architectures.abs_topk import AbsTopK
from mistudio.sae.architectures.base import Architecture, StepContext, StepGradients, reference_gradients
from mistudio.sae.architectures.batch_topk import BatchTopK
from mistudio.sae.architectures.gated import Gated
from mistudio.sae.architectures.jump_relu import JumpReLU
from mistudio.sae.architectures.matching_pursuit import MatchingPursuit
from mistudio.sae.architectures.matryoshka import Matryoshka
from mistudio.sae.architectures.standard import Standard
from mistudio.sae.architectures.temporal import Temporal
from mistudio.sae.architectures.topk import TopK
from mistudio.sae.config import ArchitectureConfig

ARCHITECTURES: dict[str, type[Architecture[Any]]] = {
    "topk": TopK,
    "batch_topk": BatchTopK,
    "matryoshka": Matryoshka,
    "jump_relu": JumpReLU,
    "gated": Gated,
    "standard": Standard,
    "abs_topk": AbsTopK,
    "matching_pursuit": MatchingPursuit,
    "temporal": Temporal,
}


def build(config: ArchitectureConfig) -> Architecture[Any]:
    """The architecture that a configuration names."""
    return ARCHITECTURES[config.kind](config)


__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "StepContext",
    "StepGradients",
    "build",
    "reference_gradients",
]
