"""Names of the places in a transformer where activations are read and changed.

The field's names are understood and stored (`blocks.6.hook_resid_post`). This module needs no PyTorch:
forms, tables and the web process may parse names with it.

| kind        | what it is, for one block                                                        |
|-------------|----------------------------------------------------------------------------------|
| resid_pre   | the residual stream that enters the block                                        |
| attn_z      | the heads' outputs side by side, `[…, n_heads * d_head]`, before W_O mixes them  |
| attn_out    | what attention adds to the residual stream (after a post-norm, where there is one)|
| resid_mid   | the residual stream between attention and MLP; absent when the two run in parallel|
| mlp_in      | what the MLP module itself reads (after its norm)                                |
| mlp_out     | what the MLP adds to the residual stream (after a post-norm, where there is one) |
| resid_post  | the residual stream that leaves the block                                        |

`attn_z` is written `blocks.6.attn.hook_z`, the field's name for it (TransformerLens; SAELens trains on it flat, as it
stands here): head `h` of `H` is the slice `[h * d_head : (h + 1) * d_head]`. `blocks.6.attn.hook_z[3]` is head 3
alone, `[…, d_head]`; SAELens stores the same as `hook_name` and `hook_head_index`. The other kinds are written
`blocks.6.hook_<kind>`.

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

BlockKind = Literal["resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_in", "mlp_out", "resid_post"]
HookKind = Literal[
    "resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_in", "mlp_out", "resid_post", "module"
]
# In the order in which a block computes them.
BLOCK_KINDS: tuple[BlockKind, ...] = get_args(BlockKind)

_NAME = re.compile(r"blocks\.(?P<layer>\d+)\.(?P<place>hook_\w+|attn\.hook_z)(?:\[(?P<head>\d+)\])?")


@dataclass(frozen=True)
class HookName:
    """A parsed hook name: a kind within a block (of `attn_z` perhaps one head), or the path of a module."""

    kind: HookKind
    layer: int | None = None
    module: str | None = None
    side: Literal["in", "out"] = "out"
    head: int | None = None

    def __str__(self) -> str:
        if self.layer is not None:
            return format_hook(self.layer, self.kind) + ("" if self.head is None else f"[{self.head}]")
        return f"{self.module}:in" if self.side == "in" else str(self.module)


@dataclass(frozen=True)
class HookPoint:
    """A hook point that a model really has. `d` is the width of its activations.

    `n_heads`: at `attn_z`, how many heads those `d` numbers belong to, `d / n_heads` neighbours each; else None.
    """

    name: str
    layer: int | None
    kind: HookKind
    d: int
    n_heads: int | None = None


def format_hook(layer: int, kind: str) -> str:
    """`(6, "resid_post")` → `blocks.6.hook_resid_post`; `(6, "attn_z")` → `blocks.6.attn.hook_z`."""
    return f"blocks.{layer}.{place_of(kind)}"


def place_of(kind: str) -> str:
    """How a kind is written behind its block: `hook_resid_post`, `attn.hook_z`."""
    return "attn.hook_z" if kind == "attn_z" else f"hook_{kind}"


_PLACES: dict[str, BlockKind] = {place_of(kind): kind for kind in BLOCK_KINDS}


def parse_hook(name: str) -> HookName:
    """Parse a hook name. Raises HookNotFound when it cannot name anything in any model.

    Whether a given model has the hook is a question for `LanguageModel.hook_point`.
    """
    text = name.strip()
    match = _NAME.fullmatch(text)
    if match is not None:
        layer, place, head = int(match["layer"]), match["place"], match["head"]
        kind = _PLACES.get(place)
        if kind is None:
            # TransformerLens' z without its `attn.`, and the kind's own name, are the likeliest slips for it.
            wanted = "attn.hook_z" if place in ("hook_z", "hook_attn_z") else place
            close = get_close_matches(wanted, _PLACES, n=1)
            raise HookNotFound(
                f"'{text}' is not a hook point: there is no kind '{place}'.",
                (f"Did you mean 'blocks.{layer}.{close[0]}'? " if close else "")
                + f"Kinds are {', '.join(_PLACES)}.",
            )
        if head is not None and kind != "attn_z":
            raise HookNotFound(
                f"'{text}' is not a hook point: only attn.hook_z has heads.",
                f"Name '{format_hook(layer, kind)}' as a whole, or '{format_hook(layer, 'attn_z')}[{head}]'.",
            )
        return HookName(kind=kind, layer=layer, head=None if head is None else int(head))
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
    existing = [place_of(kind) for kind in BLOCK_KINDS if kind in set(kinds)]
    return HookNotFound(
        f"This model has no hook point '{name}'{': ' + why if why else ''}.",
        f"It has blocks.0 to blocks.{n_layers - 1}, each with {', '.join(existing)}.",
    )


def head_not_found(hook: HookName, n_heads: int) -> HookNotFound:
    """The error for a head that a block lacks."""
    return HookNotFound(
        f"This model has no hook point '{hook}': its blocks have {n_heads} heads, counted from 0.",
        f"Name one from '{format_hook(hook.layer or 0, hook.kind)}[0]' to '[{n_heads - 1}]'.",
    )


def depth_of(name: str) -> tuple[int, int]:
    """Sorts names of hook points into the order in which a model computes them (modules behind the rest)."""
    hook = parse_hook(name)
    return (hook.layer or 0, BLOCK_KINDS.index(hook.kind) if hook.kind != "module" else len(BLOCK_KINDS))
