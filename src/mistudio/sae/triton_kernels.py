"""The sparse products of `kernels` for GPUs, in Triton. Importable without Triton and without a GPU.

One program makes one block of one row of the result and reads what it needs in order: no atomics, so results are
the same every time. Sums are in float32 whatever the precision of the rows.
"""

# pyright: basic, reportInvalidTypeForm=false

import importlib
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

triton: Any = None
tl: Any = None
# not on a CPU build of PyTorch, where importing it only takes time
_wanted = torch.version.cuda is not None or os.environ.get("TRITON_INTERPRET") == "1"
if _wanted and importlib.util.find_spec("triton") is not None:
    triton, tl = importlib.import_module("triton"), importlib.import_module("triton.language")

constexpr: Any = Any if tl is None else tl.constexpr

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_ENTRIES = 16
"""Active entries read at once: enough to hide the latency of their rows."""
_WIDEST = 256
"""Columns per program at most."""


def serves(rows: Tensor) -> bool:
    """Whether the kernels are there for tensors like this one."""
    return triton is not None and rows.device.type == "cuda" and rows.dtype in _DTYPES


def _jit(kernel: Any) -> Any:
    return kernel if triton is None else triton.jit(kernel)


@_jit
def _weighted_sums(
    offsets,
    indices,
    order,
    weights,
    rows,
    out,
    width,
    ORDERED: constexpr,
    E: constexpr,
    C: constexpr,
):
    """out[r] = Σₑ weights[order[e]]·rows[indices[e]] over the entries e of row r."""
    r = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * C + tl.arange(0, C)
    inside = columns < width
    start = tl.load(offsets + r)
    stop = tl.load(offsets + r + 1)
    total = tl.zeros([C], tl.float32)
    for first in range(start, stop, E):
        at = first + tl.arange(0, E)
        there = at < stop
        row = tl.load(indices + at, mask=there, other=0)
        place = at
        if ORDERED:
            place = tl.load(order + at, mask=there, other=0)
        weight = tl.load(weights + place, mask=there, other=0.0).to(tl.float32)
        some = tl.load(
            rows + row[:, None] * width + columns[None, :], mask=there[:, None] & inside[None, :], other=0.0
        )
        total += tl.sum(some.to(tl.float32) * weight[:, None], axis=0)
    tl.store(out + r * width + columns, total.to(out.dtype.element_ty), mask=inside)


@_jit
def _products(offsets, indices, rows, weights, out, width, E: constexpr, C: constexpr):
    """out[e] = ⟨rows[r], weights[indices[e]]⟩ for the entries e of row r."""
    r = tl.program_id(0).to(tl.int64)
    start = tl.load(offsets + r)
    stop = tl.load(offsets + r + 1)
    for first in range(start, stop, E):
        at = first + tl.arange(0, E)
        there = at < stop
        index = tl.load(indices + at, mask=there, other=0)
        total = tl.zeros([E], tl.float32)
        for column in range(0, width, C):
            columns = column + tl.arange(0, C)
            inside = columns < width
            row = tl.load(rows + r * width + columns, mask=inside, other=0.0).to(tl.float32)
            some = tl.load(
                weights + index[:, None] * width + columns[None, :],
                mask=there[:, None] & inside[None, :],
                other=0.0,
            )
            total += tl.sum(some.to(tl.float32) * row[None, :], axis=1)
        tl.store(out + at, total.to(out.dtype.element_ty), mask=there)


def weighted_sums(
    offsets: Tensor, indices: Tensor, weights: Tensor, rows: Tensor, order: Tensor | None = None
) -> Tensor:
    """Σₑ weights[e]·rows[indices[e]] over the entries of each compressed row: [n, d].

    `offsets` [n + 1], `indices` [nnz], `rows` [·, d]. With `order` [nnz], entry e's weight is weights[order[e]].
    With latents by token and W_dec this decodes; with latents grouped by latent and activations or residual
    gradients it is a weight's gradient.
    """
    rows = rows.contiguous()
    n, width = offsets.shape[0] - 1, rows.shape[1]
    out = rows.new_empty(n, width)
    columns = _columns(width)
    if n:
        _weighted_sums[(n, triton.cdiv(width, columns))](
            offsets,
            indices,
            indices if order is None else order,
            weights,
            rows,
            out,
            width,
            ORDERED=order is not None,
            E=_ENTRIES,
            C=columns,
        )
    return out


def products(offsets: Tensor, indices: Tensor, rows: Tensor, W: Tensor) -> Tensor:
    """⟨rows[n], W[i]⟩ for every entry i of each compressed row n: [nnz]. `rows` [N, d], `W` [m, d]."""
    rows, W = rows.contiguous(), W.contiguous()
    out = rows.new_empty(indices.shape)
    if rows.shape[0]:
        width = rows.shape[1]
        _products[(rows.shape[0],)](offsets, indices, rows, W, out, width, E=_ENTRIES, C=_columns(width))
    return out


def _columns(width: int) -> int:
    return min(_WIDEST, max(16, 1 << (width - 1).bit_length()))
