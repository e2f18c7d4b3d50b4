"""The active latents of each token, without the whole encoder product in full precision.

The encoder's forward product is what a sparse step cannot avoid, and most of its time. But all of its
precision is wasted except on the few entries that win. Where the processor multiplies bfloat16 natively,
candidates are found with a bfloat16 product at half the cost and then computed in float32. The result is
exact: rounding errors are bounded for every token. For the k strongest of a token (`encode_top_k`), one for
which the bound leaves room for a better latent outside its candidates is done again in float32; for all
entries above a threshold (`encode_above`), whatever the bound cannot rule out is a candidate; and the
strongest of a whole batch (`encode_batch_top_k`) are the strongest of those above a threshold that lets
through slightly more than are wanted.
"""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from mistudio.sae import kernels, native
from mistudio.sae.latents import Latents, row_offsets
from mistudio.sae.sizes import SPARSE_PAYS_BELOW

_CANDIDATES_PER_LATENT = 2
_SMALLEST_GAIN = 16
"""Below this many dictionary columns per candidate, ranking costs more than the product saves."""
_ROUNDING = 2.0**-8
"""bfloat16's relative rounding error is at most half of this."""
_GIVE_UP_ABOVE = 0.25
"""Share of uncertain tokens in the first block from which the rest is done in float32 straight away."""
_CANDIDATES_PAY_BELOW = 1 / 32
"""Share of candidates among all entries above which computing them one by one costs more than the product."""
_PROBE_TOKENS = 128
"""Tokens looked at first, to see how dense a batch is before a whole block is done."""
_SAMPLE_TOKENS = 256
"""Tokens from which the threshold of a whole batch is estimated."""
_MARGIN = 1.1
"""Entries let through for every one wanted, so that an estimated threshold rarely is too high."""


def encode_top_k(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int, norms: Tensor | None = None) -> Latents:
    """The k largest positive entries of x @ W_encᵀ + b_enc for each token of x [N, d].

    With `norms` [m], entries are ranked by value times norm.
    """
    worth_it = W_enc.shape[0] >= _SMALLEST_GAIN * _CANDIDATES_PER_LATENT * k
    if worth_it and searches_in_bfloat16(x.device, x.dtype):
        if norms is None:
            return _search(x, W_enc, b_enc, k)
        found = _search(x, W_enc * norms[:, None], b_enc * norms, k)
        return replace(found, values=found.values / norms[found.indices])
    return kernels.encode_blocks(x, W_enc, b_enc, lambda pre: _select(pre, k, norms))


def encode_batch_top_k(
    x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int, norms: Tensor | None = None
) -> Latents:
    """The N·k largest positive entries of the whole matrix x @ W_encᵀ + b_enc [N, m], x being [N, d].

    With `norms` [m], entries are ranked by value times norm; the values returned are without it. Fewer come
    back when fewer are positive; of equal entries, those of earlier tokens. Memory stays that of a block of
    tokens plus a few times N·k. `smallest_ranked` gives the value that separated them from the rest.
    """
    wanted = x.shape[0] * k
    finder = _Finder(x, W_enc, b_enc, norms)
    margin = _MARGIN
    while True:
        threshold = finder.estimate(k * margin)
        found = _strongest_above(finder, threshold, wanted)
        count = found.values.shape[0]
        if count >= wanted or threshold <= 0:
            return found
        margin *= max(2.0, _MARGIN * wanted / max(count, 1))


def smallest_ranked(latents: Latents, norms: Tensor | None = None) -> Tensor:
    """The least value (times norm, when given) among active latents: a scalar, 0 when none is active."""
    if not latents.values.shape[0]:
        return latents.values.new_zeros(())
    ranked = latents.values if norms is None else latents.values * norms[latents.indices]
    return ranked.min()


def encode_above(
    x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: float | Tensor, norms: Tensor | None = None
) -> Latents:
    """All entries of x @ W_encᵀ + b_enc [N, m] greater than `threshold`, x being [N, d].

    The threshold is one number or one per latent [m]; 0 gives a ReLU. With `norms` [m] it is value times
    norm that must exceed it; the values returned are without it. Below a negative threshold, values may be
    negative too.
    """
    found = _above(_Finder(x, W_enc, b_enc, norms), threshold, None)
    assert found is not None
    return found


def encode_above_if_sparse(
    x: Tensor,
    W_enc: Tensor,
    b_enc: Tensor,
    threshold: float | Tensor,
    norms: Tensor | None = None,
    most: float = SPARSE_PAYS_BELOW,
) -> Latents | None:
    """`encode_above`, or None as soon as a share of entries larger than `most` turns out to be active.

    It is found out on a few tokens first, so a dense batch costs almost nothing extra.
    """
    return _above(_Finder(x, W_enc, b_enc, norms), threshold, most)


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
    rough = _Rough(x, W_enc)
    b_low = b_enc.bfloat16()
    slack = rough.slack + _bias_slack(b_enc, b_low)
    settle = _settle_natively if native.serves(x, W_enc, b_enc) else _settle
    values, indices = x.new_empty(n, k), torch.empty(n, k, dtype=torch.int64)
    uncertain: list[Tensor] = []
    rows = kernels.block_rows(m, x.device, b_low.element_size())
    out = b_low.new_empty(min(rows, n), m)
    for start in range(0, n, rows):
        part = slice(start, min(start + rows, n))
        pre = torch.addmm(b_low, rough.x[part], rough.W.T, out=out[: part.stop - start])
        sure = settle(pre, slack[part], x[part], W_enc, b_enc, values[part], indices[part])
        uncertain.append((~sure).nonzero()[:, 0] + start)
        if start == 0 and uncertain[0].shape[0] > _GIVE_UP_ABOVE * part.stop:
            uncertain = [torch.arange(n)]
            break
    again = torch.cat(uncertain) if uncertain else torch.empty(0, dtype=torch.int64)
    if again.shape[0]:
        done = 0
        for pre in kernels.pre_activations(x[again], W_enc, b_enc):
            part = again[done : done + pre.shape[0]]
            values[part], indices[part] = kernels.top_k(pre, k)
            done += pre.shape[0]
    return Latents.from_top_k(values, indices, m)


def _settle(
    pre: Tensor, slack: Tensor, x: Tensor, W_enc: Tensor, b_enc: Tensor, values: Tensor, indices: Tensor
) -> Tensor:
    """The top k of a block into `values` and `indices` [n, k]; returns which tokens [n] they are certain for."""
    k = values.shape[1]
    rough, found = kernels.top_k(pre, _CANDIDATES_PER_LATENT * k)
    exact = _exact(x, W_enc, found) + b_enc[found]
    best, places = exact.topk(k, dim=1, sorted=False)
    values.copy_(best)
    torch.gather(found, 1, places, out=indices)
    last = rough.amin(1).float()
    outside = last + slack + last.abs() * _ROUNDING
    # a NaN on either side makes the comparison false, and the token is done again
    return (best.amin(1) >= outside) | (outside <= 0)


def _settle_natively(
    pre: Tensor, slack: Tensor, x: Tensor, W_enc: Tensor, b_enc: Tensor, values: Tensor, indices: Tensor
) -> Tensor:
    """`_settle` with as many candidates as each token needs, and so always certain where the slack is known."""
    computed = native.settle_top_k(pre, slack, x, W_enc, b_enc, values, indices)
    few = computed <= _CANDIDATES_PAY_BELOW * pre.numel() + values.numel()
    return slack.isfinite() & few


class _Rough:
    """x [N, d] and W_enc [m, d] in bfloat16, and how far their products [N, m] may be off for each token.

    With x = x' + δ and w = w' + ε, |⟨x, w⟩ − ⟨x', w'⟩| ≤ ‖δ‖·‖w‖ + ‖x'‖·‖ε‖ (Cauchy–Schwarz). Added to that is
    what summing d products in float32 may lose. `slack` [N] bounds it; biases are for the caller to add.
    """

    def __init__(self, x: Tensor, W_enc: Tensor) -> None:
        self.x, x_norm, x_error = _rounded(x)
        self.W, W_norms, W_errors = _rounded(W_enc)
        W_norm, W_error = W_norms.max(), W_errors.max()
        summing = 2 * x.shape[1] * torch.finfo(torch.float32).eps
        self.slack = x_error * W_norm + x_norm * (1 + _ROUNDING) * (W_error + summing * W_norm)


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """rows [n, d] in bfloat16, their lengths [n] and those of what rounding dropped [n]."""
    if native.serves(rows):
        return native.round_rows(rows)
    low = rows.bfloat16()
    pieces = zip(rows.split(1024), low.split(1024), strict=True)  # they stay in cache
    return low, rows.norm(dim=1), torch.cat([(a - b).norm(dim=1) for a, b in pieces])


def _bias_slack(b_enc: Tensor, b_low: Tensor) -> Tensor:
    return (b_enc - b_low).abs().max() + b_enc.abs().max() * _ROUNDING


def _exact(x: Tensor, W_enc: Tensor, found: Tensor) -> Tensor:
    """⟨x[n], W_enc[i]⟩ in float32 for the candidates i of each token: [n, c]."""
    n, c = found.shape
    offsets = torch.arange(0, n * c + 1, c)
    some = Latents(x.new_zeros(n * c), found.reshape(-1), offsets, W_enc.shape[0])
    return kernels.products(some, x, W_enc).view(n, c)


class _Finder:
    """Entries above a threshold among the pre-activations of x [N, d], some tokens at a time."""

    def __init__(self, x: Tensor, W_enc: Tensor, b_enc: Tensor, norms: Tensor | None) -> None:
        self.x, self.W_enc, self.b_enc, self.norms = x, W_enc, b_enc, norms
        self.n_tokens, self.d_sae = x.shape[0], W_enc.shape[0]
        self.in_bfloat16 = x.shape[0] > 0 and searches_in_bfloat16(x.device, x.dtype)
        if self.in_bfloat16:
            self.rough = _Rough(x, W_enc)
            # without a bound, everything would be a candidate
            self.in_bfloat16 = bool(self.rough.slack.isfinite().all())
        element_size = 2 if self.in_bfloat16 else x.element_size()
        self.rows = kernels.block_rows(self.d_sae, x.device, element_size)
        self._out = torch.empty(0)
        self._mask = torch.empty(0)

    def above(self, start: int, stop: int, threshold: float | Tensor) -> Latents:
        """Entries of tokens start … stop whose value (times norm) exceeds the threshold, exactly."""
        if self.in_bfloat16:
            found = self._above_by_candidates(start, stop, threshold)
            if found is not None:
                return found
            self.in_bfloat16 = False  # so dense, or so close to the threshold, that candidates do not pay
            self._out = torch.empty(0)
            self.rows = kernels.block_rows(self.d_sae, self.x.device, self.x.element_size())
        parts: list[Latents] = []
        for first in range(start, max(stop, start + 1), self.rows):
            part = self.x[first : min(first + self.rows, stop)]
            pre = torch.addmm(self.b_enc, part, self.W_enc.T, out=self._block(part))
            ranked = pre if self.norms is None else pre * self.norms
            tokens, indices = (ranked > threshold).nonzero(as_tuple=True)
            parts.append(_rows(pre[tokens, indices], tokens, indices, part.shape[0], self.d_sae))
        return Latents.concatenate(parts)

    def estimate(self, per_token: float) -> float:
        """Roughly the threshold that `per_token` entries of a token exceed on average; never negative.

        From a sample of tokens spread over the batch, and from the maxima of small groups of latents: the
        n-th largest maximum is an entry, so it is never above the n-th largest entry.
        """
        if per_token >= self.d_sae or not self.n_tokens:
            return 0.0
        step = max(1, self.n_tokens // _SAMPLE_TOKENS)
        if self.in_bfloat16:
            pre = torch.addmm(self.b_enc.bfloat16(), self.rough.x[::step], self.rough.W.T).float()
        else:
            pre = torch.addmm(self.b_enc, self.x[::step], self.W_enc.T)
        if self.norms is not None:
            pre *= self.norms
        size = max(1, min(16, int(self.d_sae / per_token / 8)))
        groups = self.d_sae // size
        maxima = pre[:, : groups * size].unflatten(1, (size, groups)).amax(1).flatten()
        wanted = min(maxima.shape[0], -int(-per_token * pre.shape[0] // 1))
        least = float(maxima.topk(wanted, sorted=False).values.min())
        return max(least, 0.0) if least == least else 0.0

    def _above_by_candidates(self, start: int, stop: int, threshold: float | Tensor) -> Latents | None:
        """`above`, or None where there are so many candidates that they do not pay.

        The bias is shifted so that the bound of every token lies at or above zero: there, bfloat16 numbers
        compare like the integers of the same bits, which is faster (and counts a NaN as a candidate).
        """
        limit = threshold if self.norms is None else threshold / self.norms
        shifted = self.b_enc - limit
        largest = self.b_enc.abs().max() + (limit.abs().max() if isinstance(limit, Tensor) else abs(limit))
        slack = self.rough.slack[start:stop] + largest * (4 * torch.finfo(torch.float32).eps)
        raised = (slack.max() + _bias_slack(shifted, shifted.bfloat16())) * 1.05
        shifted = shifted + raised
        low = shifted.bfloat16()
        bound = (raised - slack - _bias_slack(shifted, low)).bfloat16()
        part = self.rough.x[start:stop]
        pre = torch.addmm(low, part, self.rough.W.T, out=self._block(part))
        most = int(_CANDIDATES_PAY_BELOW * pre.numel())
        x = self.x[start:stop]
        if native.serves(x, self.W_enc, self.b_enc):
            limits = torch.as_tensor(threshold, dtype=x.dtype).reshape(-1)
            return native.settle_above(
                pre, bound.float(), x, self.W_enc, self.b_enc, self.norms, limits, most
            )
        if self._mask.shape[0] < pre.shape[0]:
            self._mask = torch.empty(pre.shape, dtype=torch.bool)
        mask = self._mask[: pre.shape[0]]
        torch.ge(pre.view(torch.int16), bound.view(torch.int16)[:, None], out=mask)
        tokens, indices = _true_entries(mask)
        if tokens.shape[0] > most:
            return None
        found = _rows(x.new_zeros(tokens.shape), tokens, indices, stop - start, self.d_sae)
        values = kernels.products(found, x, self.W_enc) + self.b_enc[indices]
        limits = threshold[indices] if isinstance(threshold, Tensor) and threshold.ndim else threshold
        ranked = values if self.norms is None else values * self.norms[indices]
        return _keep(found, values, ranked > limits)

    def _block(self, part: Tensor) -> Tensor:
        """Memory for the pre-activations of a block, the same every time."""
        if self._out.shape[0] < part.shape[0]:
            self._out = part.new_empty(part.shape[0], self.d_sae)
        return self._out[: part.shape[0]]


def _above(finder: _Finder, threshold: float | Tensor, most: float | None) -> Latents | None:
    parts: list[Latents] = []
    start = 0
    while not parts or start < finder.n_tokens:
        probing = most is not None and not parts
        stop = min(start + (_PROBE_TOKENS if probing else finder.rows), finder.n_tokens)
        part = finder.above(start, stop, threshold)
        if most is not None and part.values.shape[0] > most * (stop - start) * finder.d_sae:
            return None
        parts.append(part)
        start = stop
    return Latents.concatenate(parts)


def _strongest_above(finder: _Finder, threshold: float, wanted: int) -> Latents:
    """The `wanted` strongest entries above a threshold, or all of them when they are fewer."""
    parts: list[Latents] = []
    waiting = 0
    for start in range(0, max(finder.n_tokens, 1), finder.rows):
        stop = min(start + finder.rows, finder.n_tokens)
        parts.append(finder.above(start, stop, threshold))
        waiting += parts[-1].values.shape[0]
        if waiting > 2 * wanted:  # the estimate was too low: what cannot be among them goes now
            parts = [_strongest(Latents.concatenate(parts), wanted, finder.norms)]
            threshold, waiting = float(smallest_ranked(parts[0], finder.norms)), wanted
    return _strongest(Latents.concatenate(parts), wanted, finder.norms)


def _strongest(latents: Latents, wanted: int, norms: Tensor | None) -> Latents:
    if latents.values.shape[0] <= wanted:
        return latents
    ranked = latents.values if norms is None else latents.values * norms[latents.indices]
    least = ranked.topk(wanted, sorted=False).values.min()
    keep = ranked > least
    equal = (ranked == least).nonzero()[:, 0]
    keep[equal[: wanted - int(keep.sum())]] = True
    return _keep(latents, latents.values, keep)


def _keep(latents: Latents, values: Tensor, keep: Tensor) -> Latents:
    tokens = latents.tokens[keep]
    return _rows(values[keep], tokens, latents.indices[keep], latents.n_tokens, latents.d_sae)


def _rows(values: Tensor, tokens: Tensor, indices: Tensor, n_tokens: int, d_sae: int) -> Latents:
    counts = torch.bincount(tokens, minlength=n_tokens)
    return Latents(values, indices, row_offsets(counts), d_sae)


def _true_entries(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of what is true in a sparse mask [n, m], in order: eight at a glance where m allows."""
    if mask.shape[1] % 8:
        rows, columns = mask.nonzero(as_tuple=True)
        return rows, columns
    words = mask.view(-1).view(torch.int64).nonzero()[:, 0]
    place, lane = mask.view(-1, 8)[words].nonzero(as_tuple=True)
    flat = words[place] * 8 + lane
    rows = torch.div(flat, mask.shape[1], rounding_mode="floor")
    return rows, flat - rows * mask.shape[1]
