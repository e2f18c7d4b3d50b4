"""Names of the places in a transformer where activations are read and changed.

The field's names are understood and stored (`blocks.6.hook_resid_post`). This module needs no PyTorch:
forms, tables and the web process may parse names with it.

| kind        | what it is, for one block                                                        |
|-------------|----------------------------------------------------------------------------------|
| resid_pre   | the residual stream that enters the block                                        |
| attn_out    | what attention adds to the residual stream (after a post-norm, where there is one)|
| resid_mid   | the residual stream between attention and MLP; absent when the two run in parallel|
| mlp_in      | what the MLP module itself reads (after its norm)                                |
| mlp_out     | what the MLP adds to the residual stream (after a post-norm, where there is one) |
| resid_post  | the residual stream that leaves the block                                        |

Anything else is taken as the path of a module of the Transformers model (`model.layers.3.mlp.act_fn`): its
output, or with `:in` behind it its input. It is of kind `module`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, get_args

from mistudio.lm.errors import HookNotFound

BlockKind = Literal["resid_pre", "attn_out", "resid_mid", "mlp_in", "mlp_out", "resid_post"]
HookKind = Literal["resid_pre", "attn_out", "resid_mid", "mlp_in", "mlp_out", "resid_post", "module"]
# In the order in which a block computes them.
BLOCK_KINDS: tuple[BlockKind, ...] = get_args(BlockKind)

_NAME = re.compile(r"blocks\.(?P<layer>\d+)\.hook_(?P<kind>\w+)")


@dataclass(frozen=True)
class HookName:
    """A parsed hook name: a kind within a block, or the path of a module."""

    kind: HookKind
    layer: int | None = None
    module: str | None = None
    side: Literal["in", "out"] = "out"

    def __str__(self) -> str:
        if self.layer is not None:
            return format_hook(self.layer, self.kind)
        return f"{self.module}:in" if self.side == "in" else str(self.module)


@dataclass(frozen=True)
class HookPoint:
    """A hook point that a model really has. `d` is the width of its activations."""

    name: str
    layer: int | None
    kind: HookKind
    d: int


def format_hook(layer: int, kind: str) -> str:
    """`(6, "resid_post")` → `blocks.6.hook_resid_post`."""
    return f"blocks.{layer}.hook_{kind}"


def parse_hook(name: str) -> HookName:
    """Parse a hook name. Raises HookNotFound when it cannot name anything in any model.

    Whether a given model has the hook is a question for `LanguageModel.hook_point`.
    """
    text = name.strip()
    match = _NAME.fullmatch(text)
    if match is not None:
        kind = match["kind"]
        for known in BLOCK_KINDS:
            if kind == known:
                return HookName(kind=known, layer=int(match["layer"]))
        close = get_close_matches(kind, BLOCK_KINDS, n=1)
        raise HookNotFound(
            f"'{text}' is not a hook point: there is no kind 'hook_{kind}'.",
            (f"Did you mean '{format_hook(int(match['layer']), close[0])}'? " if close else "")
            + f"Kinds are {', '.join('hook_' + k for k in BLOCK_KINDS)}.",
        )
    module, _, side = text.partition(":")
    if not module or side not in ("", "in", "out") or re.search(r"\s", module) or text.startswith("blocks."):
        raise HookNotFound(
            f"'{name}' is not the name of a hook point.",
            "Write it like 'blocks.6.hook_resid_post', or give the path of a module of the model, with ':in' "
            "behind it for the module's input.",
        )
    return HookName(kind="module", module=module, side="in" if side == "in" else "out")


def hook_not_found(name: str, n_layers: int, kinds: Iterable[str], why: str = "") -> HookNotFound:
    """The error for a well-formed name that a model lacks: says why and lists what exists."""
    existing = [kind for kind in BLOCK_KINDS if kind in set(kinds)]
    return HookNotFound(
        f"This model has no hook point '{name}'{': ' + why if why else ''}.",
        f"It has blocks.0 to blocks.{n_layers - 1}, each with {', '.join('hook_' + k for k in existing)}.",
    )
