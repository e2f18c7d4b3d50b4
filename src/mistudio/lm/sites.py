"""Hooks on a module's input or output: seeing the hidden states there, and putting others in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mistudio.lm.anatomy import first_tensor, input_tensor
from mistudio.lm.interventions import same_shape

Change = Callable[[Tensor], Tensor]


def watch(module: nn.Module, side: str, see: Callable[[Tensor | None], None]) -> Any:
    """Registers a hook that shows the module's input (`side` "in") or output to `see`; returns its handle."""
    if side == "in":
        return module.register_forward_pre_hook(
            lambda _, args, kwargs: see(input_tensor(args, kwargs)), with_kwargs=True
        )
    return module.register_forward_hook(lambda _, args, output: see(first_tensor(output)))


def replace_at(module: nn.Module, side: str, change: Change, name: str) -> Any:
    """Registers a hook that puts `change`d activations where the module's input or output was."""

    def on_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        old = input_tensor(args, kwargs)
        if old is None:
            return None
        new = same_shape(change(old), old, name)
        return tuple(new if a is old else a for a in args), {
            k: new if v is old else v for k, v in kwargs.items()
        }

    def on_output(_: nn.Module, args: Any, output: Any) -> Any:
        old = first_tensor(output)
        if old is None:
            return None
        new = same_shape(change(old), old, name)
        if isinstance(output, Tensor):
            return new
        return type(output)(new if item is old else item for item in output)

    if side == "in":
        return module.register_forward_pre_hook(on_input, with_kwargs=True)
    return module.register_forward_hook(on_output)


def replace_between(block: nn.Module, write: nn.Module, change: Change, name: str) -> list[Any]:
    """Registers hooks that change the sum of a block's input and what `write` adds to it, by changing what it adds."""
    entering: list[Tensor] = []

    def enter(tensor: Tensor | None) -> None:
        if tensor is not None:
            entering[:] = [tensor]

    def moved(contribution: Tensor) -> Tensor:
        middle = entering[0] + contribution
        return contribution + (same_shape(change(middle), middle, name) - middle)

    return [watch(block, "in", enter), replace_at(write, "out", moved, name)]


def only_in(part: slice, change: Change, name: str) -> Change:
    """The change of some of the numbers at a site, those of one head; the others stay."""

    def moved(heads: Tensor) -> Tensor:
        new = heads.clone()
        new[..., part] = same_shape(change(heads[..., part]), heads[..., part], name)
        return new

    return moved
