"""The k strongest latents of each token, without the whole encoder product in full precision.

The encoder's forward product is what a TopK step cannot avoid, and most of its time. But all of its
precision is wasted except on the few entries that win. Where the processor multiplies bfloat16 natively,
candidates are found with a bfloat16 product at half the cost and then computed in float32. The result is
exact: rounding errors are bounded for every token, and a token for which the bound leaves room for a better
latent outside its candidates is done again in float32.
"""

from functools import cache

import torch
from torch import Tensor

from mistudio.sae import kernels
from mistudio.sae.latents import Latents

_CANDIDATES_PER_LATENT = 2
_SMALLEST_GAIN = 16
"""Below this many dictionary columns per candidate, ranking costs more than the product saves."""
_ROUNDING = 2.0**-8
"""bfloat16's relative rounding error is at most half of this."""
_GIVE_UP_ABOVE = 0.25
"""Share of uncertain tokens in the first block from which the rest is done in float32 straight away."""


def encode_top_k(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int, norms: Tensor | None = None) -> Latents:
    """The k largest positive entries of x @ W_encᵀ + b_enc for each token of x [N, d].

    With `norms` [m], entries are ranked by value times norm.
    """
    worth_it = W_enc.shape[0] >= _SMALLEST_GAIN * _CANDIDATES_PER_LATENT * k
    if norms is None and worth_it and searches_in_bfloat16(x.device, x.dtype):
        return _search(x, W_enc, b_enc, k)
    return kernels.encode_blocks(x, W_enc, b_enc, lambda pre: _select(pre, k, norms))


@cache
def searches_in_bfloat16(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a search in bfloat16 pays: on CPUs that multiply it natively.

    It depends on the machine only, never on the load or a measurement, so that runs stay reproducible.
    """
    if device.type != "cpu" or dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return False
    # older PyTorch releases cannot tell: then the plain product is used
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _select(pre: Tensor, k: int, norms: Tensor | None) -> Latents:
    if norms is None:
        values, indices = kernels.top_k(pre, k)
    else:
        ranked, indices = kernels.top_k(pre.mul_(norms), k)
        values = ranked / norms[indices]
    return Latents.from_top_k(values, indices, pre.shape[1])


def _search(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> Latents:
    """`encode_top_k` by candidates, in blocks of tokens."""
    n, m = x.shape[0], W_enc.shape[0]
    candidates = _CANDIDATES_PER_LATENT * k
    W_low, b_low, x_low = W_enc.bfloat16(), b_enc.bfloat16(), x.bfloat16()
    slack = _slack(x, x_low, W_enc, W_low, b_enc, b_low)
    values = x.new_empty(n, k)
    indices = torch.empty(n, k, dtype=torch.int64)
    uncertain: list[Tensor] = []
    rows = kernels.block_rows(m, x.device, x_low.element_size())
    out = x_low.new_empty(min(rows, n), m)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        part = slice(start, stop)
        pre = torch.addmm(b_low, x_low[part], W_low.T, out=out[: stop - start])
        rough, found = kernels.top_k(pre, candidates)
        exact = _exact(x[part], W_enc, found) + b_enc[found]
        best, places = exact.topk(k, dim=1, sorted=False)
        values[part], indices[part] = best, found.gather(1, places)
        last = rough.amin(1).float()
        outside = last + slack[part] + last.abs() * _ROUNDING
        # a NaN on either side makes the comparison false, and the token is done again
        sure = (best.amin(1) >= outside) | (outside <= 0)
        uncertain.append((~sure).nonzero()[:, 0] + start)
        if start == 0 and uncertain[0].shape[0] > _GIVE_UP_ABOVE * stop:
            uncertain = [torch.arange(n)]
            break
    again = torch.cat(uncertain)
    if again.shape[0]:
        done = 0
        for pre in kernels.pre_activations(x[again], W_enc, b_enc):
            part = again[done : done + pre.shape[0]]
            values[part], indices[part] = kernels.top_k(pre, k)
            done += pre.shape[0]
    return Latents.from_top_k(values, indices, m)


def _slack(x: Tensor, x_low: Tensor, W_enc: Tensor, W_low: Tensor, b_enc: Tensor, b_low: Tensor) -> Tensor:
    """How far a bfloat16 pre-activation may fall short of the float32 one, per token: [N].

    With x = x' + δ and w = w' + ε, |⟨x, w⟩ − ⟨x', w'⟩| ≤ ‖δ‖·‖w‖ + ‖x'‖·‖ε‖ (Cauchy–Schwarz). Added to that:
    the bias's rounding, and what summing d products in float32 may lose.
    """
    W_norm = W_enc.norm(dim=1).max()
    pairs = zip(W_enc.split(1024), W_low.split(1024), strict=True)  # pieces that stay in cache
    W_error = torch.stack([(a - b).norm(dim=1).max() for a, b in pairs]).max()
    b_error = (b_enc - b_low).abs().max() + b_enc.abs().max() * _ROUNDING
    x_norm = x.norm(dim=1) * (1 + _ROUNDING)
    summing = 2 * x.shape[1] * torch.finfo(torch.float32).eps
    return (x - x_low).norm(dim=1) * W_norm + x_norm * (W_error + summing * W_norm) + b_error


def _exact(x: Tensor, W_enc: Tensor, found: Tensor) -> Tensor:
    """⟨x[n], W_enc[i]⟩ in float32 for the candidates i of each token: [n, c]."""
    n, c = found.shape
    offsets = torch.arange(0, n * c + 1, c)
    some = Latents(x.new_zeros(n * c), found.reshape(-1), offsets, W_enc.shape[0])
    return kernels.products(some, x, W_enc).view(n, c)
