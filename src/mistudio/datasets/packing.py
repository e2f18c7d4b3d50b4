"""From rows of text to sequences of tokens of one length: joining, cutting, BOS, EOS, overlap, and what is dropped."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mistudio.datasets.schemas import TokenizationSettings, TokenizationStatistics
from mistudio.errors import StudioError
from mistudio.models.tokenizer import ModelTokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

Ids = np.ndarray[Any, np.dtype[np.int64]]


class Piece(NamedTuple):
    """A part of a row's text that is encoded by itself: nearly always the whole."""

    row: int
    start: int
    text: str
    ends: bool


@dataclass
class Batch:
    """Pieces to be packed together, and what was met while they were read. `next` is where the next batch begins."""

    pieces: list[Piece] = field(default_factory=list[Piece])
    counts: Counter[str] = field(default_factory=Counter[str])
    dropped: Counter[str] = field(default_factory=Counter[str])
    next: tuple[int, int] = (0, 0)


class Packed(NamedTuple):
    """Sequences of token ids, and where each begins: row of the data set and character in its text."""

    sequences: list[Ids]
    rows: list[int]
    offsets: list[int]


class _Start(NamedTuple):
    """A place in the stream of tokens at which a sequence begins."""

    row: int
    offset: int


class Packer:
    """Packs rows, given in order, into sequences under one choice of settings.

    Rows in any number of batches give the same sequences. `state` is what is needed to go on after the last batch.
    """

    def __init__(self, tokenizer: ModelTokenizer, settings: TokenizationSettings, vocab_size: int) -> None:
        self.settings = settings
        self.bos_id = _bos(tokenizer, settings)
        self.eos_id = tokenizer.eos_id if settings.eos_between_rows else None
        if settings.eos_between_rows and self.eos_id is None:
            raise StudioError(
                "no_eos",
                "The model's tokenizer has no end-of-text token.",
                hint="Turn eos_between_rows off.",
                fields={"settings.eos_between_rows": "this tokenizer has no end-of-text token"},
            )
        self.window = settings.context_length - (self.bos_id is not None)
        self.step = self.window - settings.overlap
        self.n_tokens = self.n_sequences = 0
        self.done = False
        self._special = np.zeros(vocab_size, bool)
        self._special[sorted(tokenizer.special_ids)] = True
        self._unknown = tokenizer.unknown_id
        self._seen = np.zeros(vocab_size, bool)
        self._tail: Ids = np.empty(0, np.int64)
        self._tail_starts: list[_Start] = []
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def refusal(self, text: str) -> str | None:
        """Why a row is dropped before it is encoded, or None."""
        length = len(text.strip())
        if length == 0:
            return "rows_empty"
        return "rows_too_short" if length < self.settings.min_characters else None

    def pack(self, batch: Batch, encodings: Sequence[Encoding]) -> Packed:
        """The sequences that these pieces complete. `encodings` belong to `batch.pieces`, one each."""
        self._counts.update(batch.counts)
        self._dropped.update(batch.dropped)
        joined = self.settings.packing == "concatenate"
        packed = (self._concatenate if joined else self._one_per_row)(batch.pieces, encodings)
        if self.bos_id is not None:
            packed = packed._replace(
                sequences=[np.concatenate(([self.bos_id], sequence)) for sequence in packed.sequences]
            )
        packed = self._within_limit(packed)
        self._count(packed.sequences)
        return packed

    def finish(self) -> None:
        """Count what is left of the stream, too short for a sequence."""
        if len(self._tail) and not self.done:
            self._dropped["tokens_at_end"] += len(self._tail)

    def _concatenate(self, pieces: Sequence[Piece], encodings: Sequence[Encoding]) -> Packed:
        parts = [self._tail]
        firsts: list[int] = []
        length = len(self._tail)
        for piece, encoding in zip(pieces, encodings, strict=True):
            firsts.append(length)
            parts.append(self._ids(encoding, piece.ends))
            length += len(parts[-1])
        stream = np.concatenate(parts)
        starts = range(0, len(stream), self.step)
        n = max(0, (len(stream) - self.window) // self.step + 1)
        places = list(self._tail_starts)
        for start in starts[len(places) :]:
            which = int(np.searchsorted(firsts, start, "right")) - 1
            places.append(_place(pieces[which], encodings[which], start - firsts[which]))
        self._tail, self._tail_starts = stream[n * self.step :].copy(), places[n:]
        sequences = [stream[start : start + self.window] for start in starts[:n]]
        return Packed(sequences, [p.row for p in places[:n]], [p.offset for p in places[:n]])

    def _one_per_row(self, pieces: Sequence[Piece], encodings: Sequence[Encoding]) -> Packed:
        packed = Packed([], [], [])
        first = 0
        for end, piece in enumerate(pieces, 1):
            if piece.ends:
                self._cut_row(pieces[first:end], encodings[first:end], packed)
                first = end
        return packed

    def _cut_row(self, pieces: Sequence[Piece], encodings: Sequence[Encoding], packed: Packed) -> None:
        parts = [self._ids(encoding, piece.ends) for piece, encoding in zip(pieces, encodings, strict=True)]
        firsts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
        ids = np.concatenate(parts)
        text_tokens = len(ids) - (self.eos_id is not None)
        start = 0
        while start == 0 or start + self.settings.overlap < len(ids):
            sequence = ids[start : start + self.window]
            if min(len(sequence), text_tokens - start) >= self.settings.min_tokens:
                which = int(np.searchsorted(firsts, start, "right")) - 1
                place = _place(pieces[which], encodings[which], start - int(firsts[which]))
                packed.sequences.append(sequence)
                packed.rows.append(place.row)
                packed.offsets.append(place.offset)
            else:
                self._dropped["sequences_too_short"] += 1
            if self.settings.long_rows == "truncate":
                self._dropped["rows_truncated"] += len(ids) > self.window
                return
            start += self.step

    def _ids(self, encoding: Encoding, ends: bool) -> Ids:
        ids = np.array(encoding.ids, np.int64)
        return np.append(ids, self.eos_id) if ends and self.eos_id is not None else ids

    def _within_limit(self, packed: Packed) -> Packed:
        limit = self.settings.max_tokens
        if limit is None:
            return packed
        kept, total = 0, self.n_tokens
        for sequence in packed.sequences:
            if total + len(sequence) > limit:
                break
            total += len(sequence)
            kept += 1
        self.done = kept < len(packed.sequences) or limit - total < self.settings.context_length
        return Packed(packed.sequences[:kept], packed.rows[:kept], packed.offsets[:kept])

    def _count(self, sequences: list[Ids]) -> None:
        if not sequences:
            return
        ids = np.concatenate(sequences)
        self.n_sequences += len(sequences)
        self.n_tokens += len(ids)
        self._seen[ids] = True
        self._counts["special_tokens"] += int(self._special[ids].sum())
        if self._unknown is not None and not self._special[self._unknown]:
            self._counts["unknown_tokens"] += int((ids == self._unknown).sum())

    @property
    def statistics(self) -> TokenizationStatistics:
        """What was counted so far."""
        return TokenizationStatistics(
            rows_read=self._counts["rows_read"],
            rows_used=self._counts["rows_used"],
            characters=self._counts["characters"],
            special_tokens=self._counts["special_tokens"],
            unknown_tokens=self._counts["unknown_tokens"],
            dropped={why: number for why, number in self._dropped.items() if number},
            vocabulary_used=int(self._seen.sum()),
            padding_tokens=self.n_sequences * self.settings.context_length - self.n_tokens,
        )

    @property
    def state(self) -> dict[str, Any]:
        """Everything that later batches depend on, as JSON can hold it."""
        return {
            "tail": self._tail.tolist(),
            "tail_starts": [list(start) for start in self._tail_starts],
            "n_tokens": self.n_tokens,
            "n_sequences": self.n_sequences,
            "done": self.done,
            "counts": dict(self._counts),
            "dropped": dict(self._dropped),
            "seen": base64.b64encode(np.packbits(self._seen).tobytes()).decode(),
        }

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._tail = np.array(state["tail"], np.int64)
        self._tail_starts = [_Start(*start) for start in state["tail_starts"]]
        self.n_tokens, self.n_sequences = state["n_tokens"], state["n_sequences"]
        self.done = state["done"]
        self._counts, self._dropped = Counter(state["counts"]), Counter(state["dropped"])
        bits = np.frombuffer(base64.b64decode(state["seen"]), np.uint8)
        self._seen = np.unpackbits(bits, count=len(self._seen)).astype(bool)


def _bos(tokenizer: ModelTokenizer, settings: TokenizationSettings) -> int | None:
    wanted = tokenizer.adds_bos if settings.prepend_bos == "auto" else settings.prepend_bos
    if wanted and tokenizer.bos_id is None:
        raise StudioError(
            "no_bos",
            "The model's tokenizer has no beginning-of-text token.",
            hint="Set prepend_bos to false or auto.",
            fields={"settings.prepend_bos": "this tokenizer has no beginning-of-text token"},
        )
    return tokenizer.bos_id if wanted else None


def _place(piece: Piece, encoding: Encoding, token: int) -> _Start:
    """Where a token of a piece begins in the row's text; the text's end for the EOS behind it."""
    n = len(encoding)  # not of .ids, which makes a list of them all
    if token < n and (span := encoding.token_to_chars(token)) is not None:
        return _Start(piece.row, piece.start + span[0])
    last = encoding.token_to_chars(n - 1) if n else None
    return _Start(piece.row, piece.start + (last[1] if last else 0))
