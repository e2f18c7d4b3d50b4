"""Random passages of the text that an extraction read, with the features that fire in each.

Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from mistudio.activations.harvesting import open_cache
from mistudio.datasets.tokenize import open_tokens
from mistudio.features.schemas import ExtractionSettings
from mistudio.features.streams import Batch, from_cache, from_model
from mistudio.labels.contrast import Corpus
from mistudio.labels.evidence import SilentContexts
from mistudio.labels.words import passage, token_texts
from mistudio.models.tokenizer import ModelTokenizer
from mistudio.settings import Settings
from mistudio.store import ActivationCache, StoreError, TokenStore

if TYPE_CHECKING:
    from mistudio.features.tables import Extraction
    from mistudio.lm import LanguageModel
    from mistudio.sae import SAE

_CORPUS_TOKENS = 200_000


def read_silent_contexts(
    settings: Settings,
    extraction: Extraction,
    sae: SAE,
    hook: str,
    tokenizer: ModelTokenizer,
    indices: Sequence[int],
    *,
    n_passages: int,
    seed: int,
    model: Callable[[], LanguageModel],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> SilentContexts:
    """`n_passages` random windows as long as the extraction's examples, and which of the features fire in each.

    From the extraction's activation cache if it still has one; else the model (loaded by `model`) reads the text. The
    same tokens are left out as in the extraction. Raises `TornFile`, HookNotFound, TokensRefused.
    """
    made = ExtractionSettings.model_validate(extraction.settings)
    tokens = open_tokens(settings, str(extraction.tokenization_id))
    window = min(made.window, tokens.context)
    wanted = n_passages * window
    columns = {index: column for column, index in enumerate(indices)}
    column_of = torch.full((sae.d_sae,), -1, dtype=torch.int64, device=sae.device)
    column_of[list(columns)] = torch.arange(len(columns), device=sae.device)

    where: list[tuple[int, int]] = []
    rows: list[np.ndarray] = []
    for batch in _batches(settings, extraction, tokens, hook, made, wanted, seed, model, sae.device):
        latents = sae.encode(batch.x)
        column = column_of[latents.indices]
        here = column >= 0
        # One number names a window: its sequence and its place in it.
        names = (batch.sequences * (tokens.context // window + 1) + batch.positions // window).to(sae.device)
        windows, inverse = torch.unique_consecutive(names, return_inverse=True)
        active = torch.zeros(len(windows), len(columns), dtype=torch.bool, device=sae.device)
        active[inverse[latents.tokens[here]], column[here]] = True
        for name in windows.tolist():
            sequence, place = divmod(name, tokens.context // window + 1)
            where.append((sequence, place * window))
        rows.append(active.cpu().numpy())
        progress(min(len(where), n_passages), n_passages)
        if len(where) >= n_passages:
            break
    active = np.concatenate(rows) if rows else np.zeros((0, len(columns)), bool)
    passages, kept = [], []
    order = np.random.default_rng(seed).permutation(len(where)).tolist()
    for number in order:
        sequence, start = where[number]
        texts = token_texts(tokenizer, tokens[sequence][start : start + window].tolist())
        one = passage(texts, [0.0] * len(texts))
        if one.words:
            passages.append(one)
            kept.append(number)
        if len(passages) == n_passages:
            break
    return SilentContexts(passages, columns, active[kept])


def _batches(
    settings: Settings,
    extraction: Extraction,
    tokens: TokenStore,
    hook: str,
    made: ExtractionSettings,
    wanted: int,
    seed: int,
    model: Callable[[], LanguageModel],
    device: torch.device,
) -> Iterator[Batch]:
    if extraction.cache_id is not None:
        try:
            cache = open_cache(settings, extraction.cache_id)
        except (StoreError, OSError):
            pass  # deleted since: the model reads the text again
        else:
            # Caches are shuffled as a rule; begin anywhere, so that another seed gives other passages.
            room = max(cache.n_tokens - wanted, 0)
            start = int(np.random.default_rng(seed).integers(0, room + 1))
            return from_cache(cache, hook, wanted, device, _next_sequence(cache, start, tokens.context))
    # Not the order in which the extraction read, so that the passages are not just its first ones.
    other = made.model_copy(update={"seed": made.seed + 1 + seed})
    return from_model(model(), tokens, hook, other, wanted)


def _next_sequence(cache: ActivationCache, start: int, context: int) -> int:
    """The first row from `start` on that begins a sequence; 0 when none follows."""
    if start == 0:
        return 0
    sequence = cache.tokens(start - 1, min(start + context, cache.n_tokens)).sequence
    changes = np.flatnonzero(sequence[1:] != sequence[:-1])
    return start + int(changes[0]) if len(changes) else 0


def count_corpus(tokens: TokenStore, tokenizer: ModelTokenizer, seed: int) -> Corpus:
    """How often words occur in about 200,000 random tokens of the text."""
    n = min(tokens.n_sequences, max(1, _CORPUS_TOKENS // tokens.context))
    chosen = np.random.default_rng(seed).choice(tokens.n_sequences, n, replace=False).tolist()

    def keys() -> Iterator[tuple[str, ...]]:
        for sequence in chosen:
            texts = token_texts(tokenizer, tokens[sequence].tolist())
            yield passage(texts, [0.0] * len(texts)).keys

    return Corpus.count(keys())
