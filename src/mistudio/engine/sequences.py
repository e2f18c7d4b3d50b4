"""Token sequences from whatever a caller has: a token store, lists of ids, a tensor, or texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import torch

from mistudio.engine.errors import TokensUnfit
from mistudio.engine.harvest_settings import HarvestSettings

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

Ids: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CONTEXT = 128
# Texts are tokenized in batches of about this many characters: enough to keep every core busy.
_BATCH_CHARACTERS = 1 << 20


@runtime_checkable
class TokenSequences(Protocol):
    """Numbered sequences of token ids, readable in any order: `store.TokenStore` is one."""

    n_sequences: int
    n_tokens: int
    context: int
    bos_id: int | None

    def take(self, sequences: Any) -> tuple[Ids, Ids]:
        """Token ids `[n, context]` (what is behind a sequence's end is padding) and real lengths `[n]`."""
        ...

    def lengths(self, start: int, stop: int) -> Ids:
        """Real lengths of sequences [start, stop), `[n]`."""
        ...

    @property
    def digest(self) -> str:
        """A digest of the content: equal for equal sequences in the same order."""
        ...


Tokens: TypeAlias = (
    "TokenSequences | torch.Tensor | Ids | Iterable[str] | Iterable[Sequence[int]] | str | Mapping[str, Any]"
)
"""What `as_sequences` understands (a mapping: `{name: (tokens, weight)}`)."""


class TokenArray:
    """Token sequences in memory: `tokens [n, context]` integers, `lengths [n]` (default: all full)."""

    def __init__(self, tokens: Any, lengths: Any | None = None, *, bos_id: int | None = None) -> None:
        array = np.asarray(tokens)
        if array.ndim != 2 or array.dtype.kind not in "iu" or array.size == 0:
            raise TokensUnfit(
                f"Token ids must be a non-empty [sequence, position] array of integers, "
                f"not {array.dtype} {list(array.shape)}."
            )
        self._tokens = array
        self._lengths = np.full(len(array), array.shape[1]) if lengths is None else np.asarray(lengths)
        self.n_sequences, self.context = array.shape
        self.n_tokens = int(self._lengths.sum())
        self.bos_id = bos_id

    @classmethod
    def of_lists(cls, sequences: Iterable[Sequence[int]], *, bos_id: int | None = None) -> TokenArray:
        """From one-dimensional sequences of any lengths. Raises TokensUnfit naming one that is empty or none."""
        rows: list[Ids] = []
        for number, sequence in enumerate(sequences):
            row = np.asarray(sequence)
            if row.ndim != 1 or row.size == 0 or row.dtype.kind not in "iu":
                raise TokensUnfit(f"Sequence {number} is not a non-empty list of token ids.")
            rows.append(row)
        if not rows:
            raise TokensUnfit("There are no token sequences.", "Give at least one.")
        lengths = np.array([len(row) for row in rows])
        tokens = np.zeros((len(rows), int(lengths.max())), np.int64)
        for place, row in zip(tokens, rows, strict=True):
            place[: len(row)] = row
        return cls(tokens, lengths, bos_id=bos_id)

    def take(self, sequences: Any) -> tuple[Ids, Ids]:
        """Token ids `[n, context]` and real lengths `[n]`."""
        return self._tokens[sequences], self._lengths[sequences]

    def lengths(self, start: int, stop: int) -> Ids:
        """Real lengths of sequences [start, stop)."""
        return self._lengths[start:stop]

    @property
    def digest(self) -> str:
        """A digest of the ids: equal for equal sequences in the same order."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(f"{self._tokens.shape} {self.bos_id}".encode())
        digest.update(self._lengths.astype("<i8").tobytes())
        real = np.arange(self.context) < self._lengths[:, None]
        digest.update(np.where(real, self._tokens, 0).astype("<i4").tobytes())
        return digest.hexdigest()[:32]


def as_sequences(
    tokens: Tokens, model: LanguageModel, *, context: int = CONTEXT, n_tokens: int | None = None
) -> TokenSequences:
    """Any of what a caller may have as token sequences.

    tokens: token sequences as they are (`store.TokenStore`, `engine.Mixture`); a tensor or array `[n, context]`;
    lists of token ids; or texts, which are tokenized by the model's tokenizer and packed into sequences of `context`
    tokens: see `pack_texts`. Of texts, no more are read than `n_tokens` tokens take. `{name: (tokens, weight)}` is a
    `Mixture` of any of these.
    Raises TokensUnfit, ModelLoadError (`no_tokenizer`) for texts.
    """
    if isinstance(tokens, (torch.Tensor, np.ndarray)):
        array = tokens.cpu().numpy() if isinstance(tokens, torch.Tensor) else tokens
        return TokenArray(array, bos_id=_bos_of(model))
    if isinstance(tokens, TokenSequences):
        return tokens
    if isinstance(tokens, Mapping):
        from mistudio.engine.mixture import Mixture

        mixed = cast("Mapping[str, tuple[Tokens, float]]", tokens)
        sources = {
            name: (as_sequences(part, model, context=context, n_tokens=n_tokens), weight)
            for name, (part, weight) in mixed.items()
        }
        return Mixture(sources)
    if isinstance(tokens, (str, Path)) and _is_file(tokens):
        raise TokensUnfit(
            f"{str(tokens)!r} is the name of a file, not a text.",
            "Give what is in it: Path(…).read_text(), or an open file, which is read line by line.",
        )
    items = iter([tokens] if isinstance(tokens, str) else tokens)
    first = next(items, None)
    if first is None:
        raise TokensUnfit("There are no token sequences.", "Give at least one sequence or text.")
    if isinstance(first, str):
        texts = cast("Iterator[str]", chain([first], items))
        return pack_texts(model.tokenizer, texts, context=context, n_tokens=n_tokens)
    if isinstance(first, int):
        raise TokensUnfit(
            "A flat list of token ids has no sequences.", "Cut it into lists of one context each."
        )
    rows = cast("Iterator[Sequence[int]]", chain([first], items))
    return TokenArray.of_lists(rows, bos_id=_bos_of(model))


def _is_file(name: str | Path) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a text, too long for a name or with a zero in it
        return False


def pack_texts(
    tokenizer: Any, texts: Iterable[str], *, context: int = CONTEXT, n_tokens: int | None = None
) -> TokenArray:
    """Texts as sequences of `context` tokens, with nothing lost between them.

    Each text is tokenized without special tokens; an end-of-text token (if the tokenizer has one) is put behind it;
    all are joined and cut into sequences. Where the tokenizer begins a text with a beginning-of-text token by itself,
    every sequence begins with it (and holds one token of text fewer). The last sequence may be shorter than the rest.
    `n_tokens`: stop reading once this many tokens of text are there.
    `tokenizer` is a Transformers tokenizer. Raises TokensUnfit when the texts hold no token.
    """
    bos, eos = _own_bos(tokenizer), tokenizer.eos_token_id
    window = context - (bos is not None)
    if window < 1:
        raise TokensUnfit(f"A context of {context} tokens has no room for text.", "Use a longer one.")
    parts: list[Ids] = []
    enough = None if n_tokens is None else n_tokens + window
    read = 0
    for batch in _batches_of(texts):
        for ids in tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]:
            read += len(ids)
            parts.append(np.asarray(ids if eos is None else [*ids, eos], np.int64))
        if enough is not None and read >= enough:
            break
    if read == 0:
        raise TokensUnfit("The texts hold no token.", "Give at least one text that is not empty.")
    stream = np.concatenate(parts)
    n = -(-len(stream) // window)
    tokens = np.zeros((n, context), np.int64)
    tokens[:, : context - window] = 0 if bos is None else bos
    lengths = np.full(n, context)
    lengths[-1] = context - window + len(stream) - (n - 1) * window
    padded = np.zeros(n * window, np.int64)
    padded[: len(stream)] = stream
    tokens[:, context - window :] = padded.reshape(n, window)
    return TokenArray(tokens, lengths, bos_id=bos)


def sequence_order(sequences: TokenSequences, settings: HarvestSettings, epoch: int = 0) -> Ids:
    """The order in which sequences are read in an epoch: numbers `[n]` int64.

    Each epoch of a shuffled reading has its own; it depends on the settings' seed and the epoch only. A mixture gives
    its own order (`Mixture.order`).
    """
    own = getattr(sequences, "order", None)
    if own is not None:
        return own(settings, epoch)
    if settings.order == "sequential":
        return np.arange(sequences.n_sequences)
    return np.random.default_rng([settings.seed, epoch]).permutation(sequences.n_sequences)


def begins_with_bos(sequences: TokenSequences) -> bool:
    """Whether the sequences (the first 64 of them) begin with the beginning-of-text token."""
    if sequences.bos_id is None:
        return False
    ids, _ = sequences.take(np.arange(min(64, sequences.n_sequences)))
    return bool((ids[:, 0] == sequences.bos_id).all())


def _bos_of(model: LanguageModel) -> int | None:
    """The beginning-of-text token that ready-made sequences may begin with."""
    found: Any = getattr(model.config, "bos_token_id", None)
    return int(found) if isinstance(found, int) else None


def _own_bos(tokenizer: Any) -> int | None:
    """The beginning-of-text token, where the tokenizer puts it before a text by itself."""
    bos = tokenizer.bos_token_id
    return bos if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else None


def _batches_of(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for number, text in enumerate(texts):
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TokensUnfit(f"Text {number} is a {type(text).__name__}, not a text.")
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
