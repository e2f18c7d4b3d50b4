"""Which latents are active, where several ranks look for them: every rank finds the strongest that it has, the ranks
exchange how strong those are, and each keeps its own among the winners. Exact, like the search of one process."""

from collections.abc import Callable

import torch
from torch import Tensor

from mistudio.sae import search
from mistudio.sae.distributed import Ranks
from mistudio.sae.latents import Latents, row_offsets

_MARGIN = 1.25
"""Candidates of a rank for every one of a batch's winners that it has on average."""


def of_tokens(found: Latents, norms: Tensor | None, k: int, shards: Ranks) -> Latents:
    """The entries of `found` that belong to the k strongest of their token over all shards, of which each has found
    its own k strongest."""
    if shards.size == 1:
        return found
    places = torch.arange(found.values.shape[0], device=found.values.device) - found.offsets[found.tokens]
    width = int(places.max()) + 1 if places.shape[0] else 0
    table = found.values.new_zeros(width, found.n_tokens)
    table[places, found.tokens] = _strengths(found, norms)
    tables = shards.gather(table)
    everyone = torch.cat(tables)
    if everyone.shape[0] <= k:
        return found
    winners = torch.zeros_like(everyone, dtype=torch.bool)
    winners.scatter_(0, everyone.topk(k, dim=0, sorted=False).indices, True)
    first = sum(t.shape[0] for t in tables[: shards.rank])
    return _keep(found, winners[first + places, found.tokens])


def of_batch(
    find: Callable[[int], Latents], norms: Tensor | None, tokens: int, wanted: int, ranks: Ranks
) -> tuple[Latents, Tensor]:
    """This rank's entries among the `wanted` strongest over all ranks, and the strength of the weakest of all those:
    a scalar, 0 when there are none.

    `find(n)` gives the n · `tokens` strongest that this rank has, `tokens` being those that it looks at.
    """
    if ranks.size == 1:
        found = find(wanted // tokens)
        return found, search.smallest_ranked(found, norms)
    enough = -(-wanted // tokens)
    per_token = min(enough, int(_MARGIN * wanted / ranks.size / tokens) + 1)
    while True:
        found = find(per_token)
        mine = _strengths(found, norms)
        parts = ranks.gather(mine)
        everyone = torch.cat(parts)
        if everyone.shape[0] <= wanted:
            least = everyone.min() if everyone.shape[0] else mine.new_zeros(())
            cut = mine.new_zeros(())
        else:
            cut = least = everyone.topk(wanted, sorted=False).values.min()
        # of a full list, what was left out may be as strong as its weakest
        full = mine.shape[0] == per_token * tokens
        if not ranks.any(full and bool(mine.min() > cut) and per_token < enough):
            break
        per_token = enough
    keep = mine > cut
    spare = wanted - int((everyone > cut).sum())
    spare -= sum(int((part == cut).sum()) for part in parts[: ranks.rank])
    equal = (mine == cut).nonzero()[:, 0]
    keep[equal[: max(0, spare)]] = True
    return _keep(found, keep), least


def _strengths(latents: Latents, norms: Tensor | None) -> Tensor:
    return latents.values if norms is None else latents.values * norms[latents.indices]


def _keep(latents: Latents, keep: Tensor) -> Latents:
    counts = torch.bincount(latents.tokens[keep], minlength=latents.n_tokens)
    return Latents(latents.values[keep], latents.indices[keep], row_offsets(counts), latents.d_sae)
