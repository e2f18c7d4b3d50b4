"""The products of a sparse dictionary, at a cost proportional to active latents.

Both weight matrices are stored as rows per latent [m, d]. With latents A [N, m] (sparse), a reconstruction
is A·W_dec, the gradient of W_dec is Aᵀ·g for residual gradients g [N, d], and the gradient of an active
value is ⟨g[n], W_dec[i]⟩: none of them needs the dense [N, m] matrix. Only the encoder's forward product is
dense, and it is done in blocks of tokens so that pre-activations stay in cache and memory stays flat.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from mistudio.sae import native, triton_kernels
from mistudio.sae.latents import Latents, row_offsets
from mistudio.sae.sizes import SEARCH_BLOCK_BYTES

# torch warns once per process that CSR tensors are in beta; the tests compare every result with dense autograd
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)

_BLOCK_BYTES = {"cpu": SEARCH_BLOCK_BYTES}
_BLOCK_BYTES_ELSEWHERE = 2**30


def block_rows(d_sae: int, device: torch.device, element_size: int) -> int:
    """Tokens per block of pre-activations: about 24 MB on CPU (cache, and no fresh pages), 1 GB elsewhere."""
    budget = _BLOCK_BYTES.get(device.type, _BLOCK_BYTES_ELSEWHERE)
    rows = budget // (d_sae * element_size)
    return max(16, 1 << max(0, rows.bit_length() - 1))


def pre_activations(x: Tensor, W_enc: Tensor, b_enc: Tensor) -> Iterator[Tensor]:
    """Yield x @ W_encᵀ + b_enc in blocks of tokens [n, m].

    Every block is the same memory: use it up before taking the next.
    """
    rows = block_rows(W_enc.shape[0], x.device, x.element_size())
    out = x.new_empty(min(rows, x.shape[0]), W_enc.shape[0])
    for block in x.split(rows):
        yield torch.addmm(b_enc, block, W_enc.T, out=out[: block.shape[0]])


def encode_blocks(x: Tensor, W_enc: Tensor, b_enc: Tensor, select: Callable[[Tensor], Latents]) -> Latents:
    """Pre-activations of x [N, d], turned into latents block by block with `select`."""
    return Latents.concatenate([select(pre) for pre in pre_activations(x, W_enc, b_enc)])


def top_k(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row of pre [n, m], unordered: values and indices [n, k]. Exact;
    bfloat16 values come back as float32.

    On CPU in two stages: the k largest of a row lie within the k groups of columns whose maxima are
    largest, so only those groups' members are ranked. With groups of √(m/k) both rankings are short.
    """
    n, m = pre.shape
    size = int((m / k) ** 0.5)
    wide = torch.promote_types(pre.dtype, torch.float32)  # PyTorch ranks bfloat16 more slowly
    if pre.device.type != "cpu" or size < 4:
        values, indices = pre.topk(k, dim=1, sorted=False)
        return values.to(wide), indices
    groups = m // size
    # group c holds columns c, c + groups, c + 2·groups …, so that maxima are taken over contiguous rows
    maxima = pre[:, : groups * size].unflatten(1, (size, groups)).amax(1).to(wide)
    best = maxima.topk(k, dim=1, sorted=False).indices
    steps = torch.arange(0, groups * size, groups)
    candidates = (best[:, None, :] + steps[None, :, None]).flatten(1)
    if groups * size < m:
        rest = torch.arange(groups * size, m).expand(n, -1)
        candidates = torch.cat([candidates, rest], dim=1)
    values, places = pre.gather(1, candidates).to(wide).topk(k, dim=1, sorted=False)
    return values, candidates.gather(1, places)


def decode(latents: Latents, W_dec: Tensor) -> Tensor:
    """Σᵢ zᵢ·W_dec[i] per token: [N, d]."""
    if triton_kernels.serves(W_dec):
        return triton_kernels.weighted_sums(latents.offsets, latents.indices, latents.values, W_dec)
    return functional.embedding_bag(
        latents.indices,
        W_dec,
        latents.offsets,
        per_sample_weights=latents.values.to(W_dec.dtype),
        mode="sum",
        include_last_offset=True,
    )


def products(latents: Latents, rows: Tensor, W: Tensor) -> Tensor:
    """⟨rows[n], W[i]⟩ for every active latent i of token n: [nnz], in the order of `latents.values`.

    With residual gradients g and W_dec these are the gradients of the active values.
    """
    if native.serves(rows, W):
        return native.products(latents, rows, W)
    if triton_kernels.serves(W):
        return triton_kernels.products(latents.offsets, latents.indices, rows, W)
    if rows.dtype == torch.bfloat16:  # PyTorch samples no bfloat16 products
        return products(replace(latents, values=latents.values.float()), rows.float(), W.float())
    pattern = torch.sparse_csr_tensor(
        latents.offsets,
        latents.indices,
        torch.zeros_like(latents.values),
        (latents.n_tokens, latents.d_sae),
        check_invariants=False,
    )
    return torch.sparse.sampled_addmm(pattern, rows, W.T, beta=0.0).values()


@dataclass(frozen=True)
class ByLatent:
    """The same active entries as a `Latents`, grouped by latent instead of by token."""

    order: Tensor
    """[nnz] int64: positions in `Latents.values`, sorted by latent, then token"""
    tokens: Tensor
    """[nnz] int64: the token of each entry, in that order"""
    offsets: Tensor
    """[m + 1] int64: where each latent's entries start"""

    @staticmethod
    def of(latents: Latents) -> "ByLatent":
        """Group by one stable sort of the indices."""
        order = latents.indices.to(torch.int32).argsort(stable=True)
        counts = torch.bincount(latents.indices, minlength=latents.d_sae)
        return ByLatent(order, latents.tokens[order], row_offsets(counts))

    def weight_gradients(self, values: Tensor, rows: Tensor) -> Tensor:
        """Aᵀ·rows, where A [N, m] holds `values` [nnz] (in the order of the latents): [m, d]."""
        if triton_kernels.serves(rows):
            return triton_kernels.weighted_sums(self.offsets, self.tokens, values, rows, self.order)
        return functional.embedding_bag(
            self.tokens,
            rows,
            self.offsets,
            per_sample_weights=values[self.order].to(rows.dtype),
            mode="sum",
            include_last_offset=True,
        )

    def sums(self, values: Tensor) -> Tensor:
        """Sum of `values` [nnz] per latent: [m]."""
        return torch.segment_reduce(values[self.order], "sum", offsets=self.offsets, initial=0)
