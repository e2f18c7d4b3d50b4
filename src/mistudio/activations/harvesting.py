"""Where the application's caches are, and how it reads a tokenization: see `mistudio.engine` for what it reads.

Needs PyTorch: import it only in jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mistudio.activations.schemas import HarvestSettings
from mistudio.activations.tables import ActivationCache as CacheRow
from mistudio.engine.reading import ActivationChunk, read_activations
from mistudio.engine.sequences import TokenSequences, sequence_order
from mistudio.settings import Settings
from mistudio.store import ActivationCache, owner_folder

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel


def cache_folder(settings: Settings, cache_id: str) -> Path:
    """Where a cache's activations are."""
    return owner_folder(settings.data_dir, "activations", cache_id)


def open_cache(settings: Settings, cache: CacheRow | str) -> ActivationCache:
    """The activations of a finished cache. Raises `TornFile`."""
    return ActivationCache(cache_folder(settings, cache if isinstance(cache, str) else cache.id))


def stream_activations(
    model: LanguageModel,
    tokens: TokenSequences,
    hooks: Sequence[str],
    settings: HarvestSettings,
    *,
    start: int = 0,
) -> Iterator[ActivationChunk]:
    """Activations of one pass over the tokens, in the settings' order, from the `start`-th sequence of it on.

    `settings.n_tokens` is the caller's to count. Raises HookNotFound before the first chunk, TokensRefused,
    ActivationsRefused.
    """
    return read_activations(model, tokens, hooks, settings, sequence_order(tokens, settings), start)
