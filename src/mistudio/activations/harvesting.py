"""Reading a tokenization through a model: the one place that decides which activations count, in which order.

A cache is filled with it, and a training without a cache reads it directly. Needs PyTorch: import it only in jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mistudio.activations.schemas import HarvestSettings
from mistudio.activations.tables import ActivationCache as CacheRow
from mistudio.settings import Settings
from mistudio.store import ActivationCache, TokenStore, owner_folder

if TYPE_CHECKING:
    from torch import Tensor

    from mistudio.lm import LanguageModel

# Sequences are read from the store in groups of about this many tokens: sorted by length inside a group there is
# little padding, and a resumed harvest begins at a group.
GROUP_TOKENS = 16_384


@dataclass
class HarvestCounts:
    """What was seen and what was left out, in tokens."""

    seen: int = 0
    special: int = 0
    padding: int = 0
    outlier: int = 0
    kept: int = 0


@dataclass(frozen=True)
class ActivationChunk:
    """The activations that count of one group of sequences.

    activations: per hook `[n, d]` float32, on the model's device.
    sequences, positions, tokens: `[n]` int64 on the CPU: where each row comes from.
    next_group: the group with which to go on after this one.
    """

    activations: dict[str, Tensor]
    sequences: Tensor
    positions: Tensor
    tokens: Tensor
    next_group: int
    counts: HarvestCounts = field(default_factory=HarvestCounts)


def cache_folder(settings: Settings, cache_id: str) -> Path:
    """Where a cache's activations are."""
    return owner_folder(settings.data_dir, "activations", cache_id)


def open_cache(settings: Settings, cache: CacheRow | str) -> ActivationCache:
    """The activations of a finished cache. Raises `TornFile`."""
    return ActivationCache(cache_folder(settings, cache if isinstance(cache, str) else cache.id))


def sequence_order(
    n_sequences: int, settings: HarvestSettings, epoch: int = 0
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The order in which sequences are read: `[n_sequences]`. Each epoch of a shuffled reading has its own."""
    if settings.order == "sequential":
        return np.arange(n_sequences)
    return np.random.default_rng([settings.seed, epoch]).permutation(n_sequences)


def group_sequences(tokens: TokenStore, settings: HarvestSettings) -> int:
    """Sequences in a group: whole forward passes, about `GROUP_TOKENS` tokens."""
    passes = max(1, GROUP_TOKENS // (tokens.context * settings.batch_sequences))
    return passes * settings.batch_sequences


def stream_activations(
    model: LanguageModel,
    tokens: TokenStore,
    hooks: Sequence[str],
    settings: HarvestSettings,
    *,
    start_group: int = 0,
    epoch: int = 0,
    exclude: np.ndarray[Any, np.dtype[np.int64]] | None = None,
) -> Iterator[ActivationChunk]:
    """Activations of one pass over the tokens, group by group, from `start_group` on, without sequences `exclude`.

    The order depends on the settings and the epoch only, so a reader that stopped goes on exactly where it was.
    `settings.n_tokens` is the caller's to count. Raises HookNotFound before the first chunk, TokensRefused.
    """
    order = sequence_order(tokens.n_sequences, settings, epoch)
    if exclude is not None:
        order = order[~np.isin(order, exclude)]
    size = group_sequences(tokens, settings)
    for name in hooks:
        model.hook_point(name)
    for group in range(start_group, -(-len(order) // size)):
        yield harvest_sequences(
            model, tokens, list(hooks), settings, order[group * size : (group + 1) * size], group
        )


def harvest_sequences(
    model: LanguageModel,
    tokens: TokenStore,
    hooks: list[str],
    settings: HarvestSettings,
    chosen: np.ndarray[Any, np.dtype[np.int64]],
    group: int = 0,
) -> ActivationChunk:
    """The activations that count of the chosen sequences, all in memory at once."""
    import torch

    from mistudio.lm import harvest

    ids, lengths = tokens.take(chosen)
    rows = [torch.from_numpy(ids[i, : int(length)].astype(np.int64)) for i, length in enumerate(lengths)]
    counts = HarvestCounts(seen=int(lengths.sum()))
    special = torch.tensor(sorted(model.special_ids), dtype=torch.long)
    parts: dict[str, list[Tensor]] = {hook: [] for hook in hooks}
    sequences: list[Tensor] = []
    positions: list[Tensor] = []
    kept_ids: list[Tensor] = []
    for batch in harvest(
        model,
        rows,
        hooks,
        batch_size=settings.batch_sequences,
        skip_special=settings.skip_special_tokens,
        outlier_norm_multiple=settings.outlier_multiple,
    ):
        mask = batch.mask.cpu()
        real = torch.arange(batch.tokens.shape[1]) < batch.lengths.unsqueeze(1)
        counts.padding += int((~real).sum())
        unwanted = torch.zeros_like(mask)
        if settings.skip_special_tokens:
            unwanted = torch.isin(batch.tokens, special) & real
        if settings.skip_bos and tokens.bos_id is not None:
            unwanted[:, 0] |= batch.tokens[:, 0] == tokens.bos_id
        counts.special += int(unwanted.sum())
        counts.outlier += int((real & ~unwanted & ~mask).sum())
        mask = mask & ~unwanted
        where = mask.to(model.device)
        for hook in hooks:
            parts[hook].append(batch.activations[hook][where].float())
        which, place = mask.nonzero(as_tuple=True)
        sequences.append(torch.from_numpy(chosen)[batch.sequence_index[which]])
        positions.append(place)
        kept_ids.append(batch.tokens[mask])
    joined = {hook: torch.cat(found) for hook, found in parts.items()}
    counts.kept = len(joined[hooks[0]])
    return ActivationChunk(
        joined, torch.cat(sequences), torch.cat(positions), torch.cat(kept_ids), group + 1, counts
    )
