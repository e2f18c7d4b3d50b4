"""Faster float32 products on CPUs: weights laid out once for oneDNN instead of in every pass.

A pass over activations multiplies thousands of rows by the same weights again and again. oneDNN's own layout of the
weights saves laying them out in each product, and its products can end in SiLU and a multiplication, which is what
the gated MLP of most current models does between its products. The results are those of the plain layers up to
rounding (2e-6 of the activations' standard deviation after seven blocks of a 135M model).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MIN_ROWS = 512
"""Rows of a pass below which laying out costs more than it saves."""
MAX_BYTES = 1 << 30
"""Weights are held twice: not more than this."""

_Layout = tuple[int, int, Tensor]


class PackedLayers:
    """The layouts of one model's linear layers; made when they are first used, and again when a weight changes."""

    def __init__(self) -> None:
        self._layouts: dict[nn.Linear, _Layout] = {}

    @contextmanager
    def over(self, blocks: nn.ModuleList | Sequence[nn.Module], rows: int) -> Generator[None]:
        """Let the linear layers of `blocks` use their layouts within the block of code, where that pays."""
        layers: list[Any] = [m for block in blocks for m in block.modules() if isinstance(m, nn.Linear)]
        changed: list[Any] = []
        try:
            if rows >= MIN_ROWS and _possible(layers):
                for layer in layers:
                    layer.forward = self._linear(layer)
                    changed.append(layer)
                for mlp in (m for block in blocks for m in block.modules() if _gated(m)):
                    mlp.forward = self._mlp(mlp)
                    changed.append(mlp)
            yield
        finally:
            for module in changed:
                del module.forward

    def _layout(self, layer: nn.Linear) -> Tensor:
        weight = layer.weight
        found = self._layouts.get(layer)
        if found is None or found[:2] != (weight.data_ptr(), weight._version):
            layout = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 2048)
            found = self._layouts[layer] = (weight.data_ptr(), weight._version, layout)
        return found[2]

    def _linear(self, layer: nn.Linear) -> Callable[[Tensor], Tensor]:
        layout, bias = self._layout(layer), layer.bias
        return lambda x: torch.ops.mkldnn._linear_pointwise(x, layout, bias, "none", [], "")

    def _mlp(self, mlp: Any) -> Callable[[Tensor], Tensor]:
        gate, up = self._layout(mlp.gate_proj), self._layout(mlp.up_proj)
        gate_bias, up_bias = mlp.gate_proj.bias, mlp.up_proj.bias

        def forward(x: Tensor) -> Tensor:
            gated = torch.ops.mkldnn._linear_pointwise(x, gate, gate_bias, "swish", [], "")
            both = torch.ops.mkldnn._linear_pointwise.binary(x, gated, up, up_bias, "mul")
            return mlp.down_proj(both)

        return forward


def _possible(layers: Sequence[nn.Linear]) -> bool:
    """Whether all weights are plain float32 on a CPU whose PyTorch has oneDNN, and few enough to be held twice."""
    operators = torch.ops.mkldnn
    return (
        bool(layers)
        and torch.backends.mkldnn.is_available()
        and all(hasattr(operators, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
        and all(
            type(layer) is nn.Linear
            and layer.weight.device.type == "cpu"
            and layer.weight.dtype == torch.float32
            for layer in layers
        )
        and sum(layer.weight.nbytes for layer in layers) <= MAX_BYTES
    )


def _gated(module: Any) -> bool:
    """Whether this is an MLP `down(silu(gate(x)) · up(x))` in whose parts nobody looks."""
    parts = {"gate_proj", "up_proj", "down_proj", "act_fn"}
    children = dict(module.named_children())
    if set(children) != parts or type(children["act_fn"]).__name__ not in ("SiLU", "SiLUActivation"):
        return False
    return not any(
        part._forward_hooks or part._forward_pre_hooks
        for name, part in children.items()
        if name != "down_proj"
    )
