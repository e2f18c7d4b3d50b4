"""Finds a transformer's blocks and what in them reads and writes the residual stream, by looking.

There is no table of architectures. The stack of blocks is the module list that is as long as the model is
deep. What a block's parts are for is found by running four tokens through one block of each shape and
comparing tensors bit by bit: the attention's contribution is the child output `a` for which a later child
reads exactly `x + a`; the MLP's is the child output `m` for which the block returns exactly `x + a + m`.
So a hook point exists only where the model was seen to compute it, whatever its modules are called, and a
post-norm (Gemma), a parallel block (GPT-NeoX, Phi) or a missing pre-norm (OLMo 2) needs no special case.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mistudio.lm.errors import ModelLoadError
from mistudio.lm.hooks import BlockKind


class ForwardStopped(Exception):
    """Raised inside a forward pass to leave it once everything wanted has been seen."""


@dataclass(frozen=True)
class BlockAnatomy:
    """Names of a block's children by what they do; None where the block has no such place."""

    attn_write: str | None
    mid_reader: str | None
    mlp: str | None
    mlp_write: str | None
    parallel: bool
    mixer: str | None = None
    """The matrix W_O (path inside the block): what it reads are the heads' outputs, side by side."""
    mixer_width: int = 0

    @property
    def kinds(self) -> tuple[BlockKind, ...]:
        """The kinds of hook point that the block has, in the order in which it computes them."""
        kinds: list[BlockKind] = ["resid_pre"]
        if self.mixer is not None:
            kinds.append("attn_z")
        if self.attn_write is not None:
            kinds.append("attn_out")
        if self.mid_reader is not None:
            kinds.append("resid_mid")
        if self.mlp is not None:
            kinds.append("mlp_in")
        if self.mlp_write is not None:
            kinds.append("mlp_out")
        return (*kinds, "resid_post")


@dataclass
class _Seen:
    """One child's call during the probe."""

    name: str
    reads: Tensor
    writes: Tensor


def first_tensor(value: Any) -> Tensor | None:
    """The tensor itself, or the first tensor of a module's tuple output."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)):
        return next((item for item in value if isinstance(item, Tensor)), None)
    return None


def input_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The hidden states that a module was called with, positionally or by name."""
    if args and isinstance(args[0], Tensor):
        return args[0]
    named = kwargs.get("hidden_states")
    return named if isinstance(named, Tensor) else first_tensor(list(kwargs.values()))


def find_blocks(decoder: nn.Module, n_layers: int, architecture: str) -> nn.ModuleList:
    """The decoder's stack of blocks: its outermost module list of length `n_layers`."""
    stacks = [m for m in decoder.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if not stacks:
        raise ModelLoadError(
            "unsupported_architecture",
            f"No stack of {n_layers} transformer blocks was found inside {architecture}.",
            "Only decoder-only transformers whose blocks stand in one list are supported.",
        )
    return stacks[0]


def find_final_norm(decoder: nn.Module, d_model: int) -> nn.Module:
    """The norm between the last block and the unembedding: the decoder's last child that holds only vectors of the
    model's width, or a norm that has nothing to learn (OLMo); the identity where there is neither."""
    for child in reversed(list(decoder.children())):
        shapes = [tuple(p.shape) for p in child.parameters()]
        if shapes and all(shape == (d_model,) for shape in shapes):
            return child
        if not shapes and type(child).__name__.endswith("Norm"):
            return child
    return nn.Identity()


def norm_gain(norm: nn.Module, d_model: int) -> Tensor:
    """What a norm multiplies each of the `d_model` values by, `[d_model]` (or `[]` for the identity)."""
    if next(norm.parameters(), None) is None:
        return torch.ones(())
    if isinstance(norm, nn.LayerNorm):
        return norm.weight
    # An RMS norm returns its gain for a vector of ones, however it stores it (Gemma keeps gain - 1).
    device = next(norm.parameters()).device
    return norm(torch.ones(1, d_model, device=device, dtype=torch.float32))[0]


def find_anatomies(
    decoder: nn.Module, blocks: nn.ModuleList, device: torch.device, n_heads: int
) -> list[BlockAnatomy]:
    """The anatomy of every block, seen on four tokens through one block of each distinct shape.

    The pass stops at the last block that has to be looked at, usually the first one.
    """
    shapes = [tuple((name, type(child)) for name, child in block.named_children()) for block in blocks]
    looked_at = sorted({shape: index for index, shape in reversed(list(enumerate(shapes)))}.values())
    found: dict[tuple[tuple[str, type[nn.Module]], ...], BlockAnatomy] = {}
    handles: list[Any] = []

    def look(index: int) -> None:
        block = blocks[index]
        seen: list[_Seen] = []
        inside: list[_Seen] = []
        entry: list[Tensor] = []

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            tensor = input_tensor(args, kwargs)
            if tensor is not None:
                entry.append(tensor)

        def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            left = first_tensor(output)
            if not entry or left is None:
                raise ForwardStopped
            found[shapes[index]] = _with_mixer(
                _read(block, seen, entry[0], left), block, seen, inside, n_heads
            )
            if index == looked_at[-1]:
                raise ForwardStopped

        def called(name: str, calls: list[_Seen]) -> Any:
            def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
                reads, writes = input_tensor(args, kwargs), first_tensor(output)
                if reads is not None and writes is not None:
                    calls.append(_Seen(name, reads, writes))

            return record

        handles.append(block.register_forward_pre_hook(before, with_kwargs=True))
        for name, child in block.named_children():
            handles.append(child.register_forward_hook(called(name, seen), with_kwargs=True))
        for path, module in block.named_modules():
            if _is_matrix(module):
                handles.append(module.register_forward_hook(called(path, inside), with_kwargs=True))
        handles.append(block.register_forward_hook(after, with_kwargs=True))

    for index in looked_at:
        look(index)
    try:
        with torch.no_grad():
            decoder(input_ids=torch.arange(4, device=device).unsqueeze(0), use_cache=False)
    except ForwardStopped:
        pass
    finally:
        for handle in handles:
            handle.remove()
    unseen = BlockAnatomy(None, None, None, None, parallel=False)
    return [found.get(shape, unseen) for shape in shapes]


def _is_matrix(module: nn.Module) -> bool:
    return any(p.ndim == 2 for p in module.parameters(recurse=False))


def _with_mixer(
    anatomy: BlockAnatomy, block: nn.Module, seen: list[_Seen], inside: list[_Seen], n_heads: int
) -> BlockAnatomy:
    """The anatomy with attention's W_O: the last matrix in it whose output is bit by bit the attention's own and
    whose input splits into heads."""
    if anatomy.attn_write is None:
        return anatomy
    children = dict(block.named_children())
    attention = next(c for c in seen if any(p.ndim >= 2 for p in children[c.name].parameters()))
    for call in reversed(inside):
        in_attention = call.name.startswith(f"{attention.name}.") and call.reads.ndim == 3
        splits = call.reads.shape[-1] % n_heads == 0
        if in_attention and splits and torch.equal(call.writes, attention.writes):
            return replace(anatomy, mixer=call.name, mixer_width=call.reads.shape[-1])
    return anatomy


def _read(block: nn.Module, seen: list[_Seen], x: Tensor, y: Tensor) -> BlockAnatomy:
    children = dict(block.named_children())
    # Attention and MLP are the children that hold matrices; norms hold vectors, dropouts nothing.
    heavy = [i for i, call in enumerate(seen) if any(p.ndim >= 2 for p in children[call.name].parameters())]
    if len(heavy) < 2:
        return BlockAnatomy(None, None, None, None, parallel=False)
    attention, mlp = heavy[0], heavy[-1]
    mlp_name = seen[mlp].name

    for a in range(attention, mlp):
        middle = x + seen[a].writes
        if torch.equal(middle, x):
            continue
        reader = next((call.name for call in seen[a + 1 :] if torch.equal(call.reads, middle)), None)
        if reader is None:
            continue
        for m in range(mlp, len(seen)):
            if torch.equal(middle + seen[m].writes, y):
                return BlockAnatomy(seen[a].name, reader, mlp_name, seen[m].name, parallel=False)
    for a in range(attention, len(seen)):
        for m in range(mlp, len(seen)):
            left, right = seen[a].writes, seen[m].writes
            if a != m and left.shape == x.shape and right.shape == x.shape:
                sums = (left + right + x, x + left + right, x + right + left)
                if any(torch.equal(total, y) for total in sums):
                    return BlockAnatomy(seen[a].name, None, mlp_name, seen[m].name, parallel=True)
    return BlockAnatomy(None, None, mlp_name, None, parallel=False)
