"""From tokens of rows to sequences of one length: joining, cutting, fitting, BOS, EOS, overlap, and what is dropped."""

from __future__ import annotations

import base64
from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mistudio.datasets.tokenization_schemas import TokenizationSettings
from mistudio.errors import StudioError
from mistudio.models.tokenizer import ModelTokenizer

if TYPE_CHECKING:
    from mistudio.datasets.encoding import Encoded

Array = np.ndarray[Any, np.dtype[Any]]

# Sequences that best fit keeps open at a time: more fill better; together they hold at most this many tokens.
_OPEN_SEQUENCES, _OPEN_TOKENS = 256, 1 << 20


class Pieces(NamedTuple):
    """Texts that are encoded by themselves: whole rows, or parts of a very long one.

    rows: the row of each, [n]; starts: the character of the row at which it begins, [n]; characters: how many it has,
    [n]; ends: whether the row ends with it, bool [n].
    """

    rows: Array
    starts: Array
    characters: Array
    ends: Array


class Packed(NamedTuple):
    """Sequences [n, context] with their real lengths [n], and where each begins: row [n] and character [n]."""

    tokens: Array
    lengths: Array
    rows: Array
    offsets: Array


class _Stream(NamedTuple):
    """Tokens of pieces, EOS behind each row. Piece i begins at firsts[i] and has lengths[i] tokens, EOS included."""

    ids: Array
    firsts: Array
    lengths: Array


@dataclass
class _Open:
    """A sequence that best fit is filling: where it begins, what is in it."""

    room: int
    row: int
    offset: int
    parts: list[Array] = field(default_factory=list[Array])


class Packer:
    """Packs rows, given in order, into sequences under one choice of settings.

    Rows in any number of batches give the same sequences. `state` is what is needed to go on after the last batch.
    Raises StudioError `no_bos`, `no_eos`.
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
        self.dtype = np.dtype(np.uint16 if vocab_size <= 65_536 else np.uint32)
        self.pad_id = tokenizer.pad_id or 0
        self.window = settings.context_length - (self.bos_id is not None)
        self.step = self.window - settings.overlap
        self.n_tokens = self.n_sequences = 0
        self.done = False
        self.dropped: Counter[str] = Counter()
        self._tail = np.empty(0, self.dtype)
        self._tail_rows = self._tail_offsets = np.empty(0, np.int64)
        self._open: list[_Open] = []

    def pack(self, pieces: Pieces, encoded: Encoded) -> Packed:
        """The sequences that these pieces complete. `encoded` has their tokens."""
        if self.settings.packing == "concatenate":
            return self._within_limit(self._concatenate(pieces, encoded))
        packed = self._cut_rows(pieces, encoded)
        if self.settings.packing == "best_fit":
            packed = self._fit(packed)
        elif not self.settings.pads:
            packed = self._full_only(packed)
        return self._within_limit(packed)

    def finish(self) -> Packed:
        """What is left when all rows were given; counts what is dropped of it."""
        packed = self._nothing()
        if self.done:
            return packed
        if self.settings.packing == "best_fit":
            packed, self._open = self._closed(self._open), []
            packed = packed if self.settings.pads else self._full_only(packed)
        elif self.settings.pads:
            # A tail of nothing but what the sequence before it ended with is no sequence of its own.
            if len(self._tail) > (self.settings.overlap if self.n_sequences else 0):
                tokens, lengths = self._blocks(self._tail, np.zeros(1, np.int64), np.array([len(self._tail)]))
                packed = Packed(tokens, lengths, self._tail_rows[:1], self._tail_offsets[:1])
        elif len(self._tail):
            self.dropped["tokens_at_end"] += len(self._tail)
        self._tail, self._tail_rows, self._tail_offsets = (
            self._tail[:0],
            self._tail_rows[:0],
            self._tail_offsets[:0],
        )
        return self._within_limit(packed)

    def _concatenate(self, pieces: Pieces, encoded: Encoded) -> Packed:
        stream = self._stream(pieces, encoded, self._tail)
        n = max(0, (len(stream.ids) - self.window) // self.step + 1)
        starts = np.arange(0, len(stream.ids), self.step)
        rows, offsets = self._places(pieces, encoded, stream, starts[len(self._tail_rows) :])
        rows = np.concatenate([self._tail_rows, rows])
        offsets = np.concatenate([self._tail_offsets, offsets])
        tokens = np.empty((n, self.settings.context_length), self.dtype)
        if n:
            windows = np.lib.stride_tricks.sliding_window_view(stream.ids, self.window)
            tokens[:, self.settings.context_length - self.window :] = windows[:: self.step][:n]
            if self.bos_id is not None:
                tokens[:, 0] = self.bos_id
        self._tail = stream.ids[n * self.step :].copy()
        self._tail_rows, self._tail_offsets = rows[n:], offsets[n:]
        return Packed(tokens, np.full(n, self.settings.context_length), rows[:n], offsets[:n])

    def _cut_rows(self, pieces: Pieces, encoded: Encoded) -> Packed:
        """Whole rows cut into parts of at most a window."""
        stream = self._stream(pieces, encoded, np.empty(0, self.dtype))
        last = np.flatnonzero(pieces.ends)
        row_ends = (stream.firsts + stream.lengths)[last]
        row_firsts = np.concatenate([[0], row_ends[:-1]]).astype(np.int64)
        lengths = row_ends - row_firsts
        texts = lengths - (self.eos_id is not None)  # tokens of a row that are its text's
        if self.settings.long_rows == "truncate":
            self.dropped["rows_truncated"] += int((lengths > self.window).sum())
            part_rows = np.arange(len(lengths))
            left = self.settings.truncation_side == "left"
            starts = np.maximum(lengths - self.window, 0) if left else np.zeros(len(lengths), np.int64)
        else:
            parts = np.maximum(1, -(-(lengths - self.settings.overlap) // self.step))
            part_rows = np.repeat(np.arange(len(lengths)), parts)
            starts = (np.arange(len(part_rows)) - np.repeat(np.cumsum(parts) - parts, parts)) * self.step
        sizes = np.minimum(self.window, lengths[part_rows] - starts)
        enough = np.minimum(sizes, texts[part_rows] - starts) >= self.settings.min_tokens
        # A part of nothing but the EOS that found no room is not missed.
        self.dropped["sequences_too_short"] += int((~enough & (starts < texts[part_rows])).sum())
        begins, sizes = (row_firsts[part_rows] + starts)[enough], sizes[enough]
        rows, offsets = self._places(pieces, encoded, stream, begins)
        tokens, lengths = self._blocks(stream.ids, begins, sizes)
        return Packed(tokens, lengths, rows, offsets)

    def _fit(self, packed: Packed) -> Packed:
        """Each part into the open sequence that it fills best; full ones, and the fullest of too many, are closed."""
        at_most = max(16, min(_OPEN_SEQUENCES, _OPEN_TOKENS // self.window))
        bos = int(self.bos_id is not None)
        closed: list[_Open] = []
        rooms = [one.room for one in self._open]  # ascending, like `_open`
        sizes = (packed.lengths - bos).tolist()
        for number, size in enumerate(sizes):
            part = packed.tokens[number, bos : bos + size]
            where = bisect_left(rooms, size)
            if where < len(rooms):
                rooms.pop(where)
                one = self._open.pop(where)
            else:
                one = _Open(self.window, int(packed.rows[number]), int(packed.offsets[number]))
            one.parts.append(part)
            one.room -= size
            if one.room == 0:
                closed.append(one)
                continue
            insort(self._open, one, key=lambda open: open.room)
            insort(rooms, one.room)
            if len(rooms) > at_most:
                rooms.pop(0)
                closed.append(self._open.pop(0))
        for one in self._open:  # what was cut from this batch must not keep the whole of it in memory
            one.parts = [np.concatenate(one.parts)]
        whole = self._closed(closed)
        return whole if self.settings.pads else self._full_only(whole)

    def _closed(self, closed: list[_Open]) -> Packed:
        """Sequences that were open, as they are stored."""
        if not closed:
            return self._nothing()
        sizes = np.array([self.window - one.room for one in closed])
        ids = np.concatenate([part for one in closed for part in one.parts])
        tokens, lengths = self._blocks(ids, np.cumsum(sizes) - sizes, sizes)
        rows, offsets = (np.array([getattr(one, name) for one in closed]) for name in ("row", "offset"))
        return Packed(tokens, lengths, rows, offsets)

    def _full_only(self, packed: Packed) -> Packed:
        full = packed.lengths == self.settings.context_length
        self.dropped["sequences_unfilled"] += int((~full).sum())
        return Packed(*(part[full] for part in packed))

    def _stream(self, pieces: Pieces, encoded: Encoded, before: Array) -> _Stream:
        bounds = encoded.bounds
        lengths = np.diff(bounds)
        ids = encoded.ids
        if self.eos_id is not None:
            ids = np.insert(ids, bounds[1:][pieces.ends], np.array(self.eos_id, self.dtype))
            lengths = lengths + pieces.ends
        firsts = len(before) + np.cumsum(lengths) - lengths
        return _Stream(np.concatenate([before, ids]) if len(before) else ids, firsts, lengths)

    def _places(
        self, pieces: Pieces, encoded: Encoded, stream: _Stream, tokens: Array
    ) -> tuple[Array, Array]:
        """The row and the character of its text at which tokens of the stream begin; the text's end for EOS."""
        which = np.searchsorted(stream.firsts + stream.lengths, tokens, "right")
        within = tokens - stream.firsts[which]
        is_text = within < np.diff(encoded.bounds)[which]
        offsets = pieces.starts[which] + pieces.characters[which]
        at = which[is_text]
        offsets[is_text] = pieces.starts[at] + encoded.places(encoded.bounds[at] + within[is_text])
        return pieces.rows[which], offsets

    def _blocks(self, ids: Array, begins: Array, sizes: Array) -> tuple[Array, Array]:
        """Parts of `ids` as padded sequences [n, context] with BOS, and their lengths."""
        bos = int(self.bos_id is not None)
        tokens = np.full((len(begins), self.settings.context_length), self.pad_id, self.dtype)
        if self.bos_id is not None:
            tokens[:, 0] = self.bos_id
        inside = np.arange(self.window) < sizes[:, None]
        flat = np.repeat(begins - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
        tokens[:, bos:][inside] = ids[flat]
        return tokens, sizes + bos

    def _within_limit(self, packed: Packed) -> Packed:
        limit = self.settings.max_tokens
        if limit is not None:
            totals = self.n_tokens + np.cumsum(packed.lengths)
            kept = int(np.searchsorted(totals, limit, "right"))
            total = int(totals[kept - 1]) if kept else self.n_tokens
            self.done = kept < len(totals) or limit - total < self.settings.context_length
            packed = Packed(*(part[:kept] for part in packed))
        self.n_sequences += len(packed.lengths)
        self.n_tokens += int(packed.lengths.sum())
        return packed

    def _nothing(self) -> Packed:
        none = np.empty(0, np.int64)
        return Packed(np.empty((0, self.settings.context_length), self.dtype), none, none, none)

    @property
    def state(self) -> dict[str, Any]:
        """Everything that later batches depend on, as JSON can hold it."""
        return {
            "tail": _text_of(self._tail),
            "tail_rows": self._tail_rows.tolist(),
            "tail_offsets": self._tail_offsets.tolist(),
            "open": [
                [one.room, one.row, one.offset, _text_of(np.concatenate(one.parts))] for one in self._open
            ],
            "n_tokens": self.n_tokens,
            "n_sequences": self.n_sequences,
            "done": self.done,
            "dropped": dict(self.dropped),
        }

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._tail = self._array_of(state["tail"])
        self._tail_rows = np.array(state["tail_rows"], np.int64)
        self._tail_offsets = np.array(state["tail_offsets"], np.int64)
        self._open = [
            _Open(room, row, offset, [self._array_of(ids)]) for room, row, offset, ids in state["open"]
        ]
        self.n_tokens, self.n_sequences = state["n_tokens"], state["n_sequences"]
        self.done, self.dropped = state["done"], Counter(state["dropped"])

    def _array_of(self, text: str) -> Array:
        return np.frombuffer(base64.b64decode(text), self.dtype)


def _text_of(ids: Array) -> str:
    return base64.b64encode(ids.tobytes()).decode()


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
