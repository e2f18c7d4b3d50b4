"""Token stores: tokenized sequences of one context length, mapped into memory."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from mistudio.store.manifest import read_manifest
from mistudio.store.npy import Array, map_npy
from mistudio.store.shards import Column, ShardReader, ShardWriter

KIND = "tokens"


class Sources(NamedTuple):
    """Where sequences begin: row of the data set [n] and character offset in its text [n]."""

    row: Array
    offset: Array


class TokenStoreWriter:
    """Writes sequences of up to `context` token ids; finished shards survive a kill.

    Ids are stored as uint16 when the vocabulary has at most 65,536 entries, else as uint32. `tokenizer`
    and `settings` are kept as given. A shard ends with the append that fills it, so what one `append`
    brings is kept whole or not at all; `state` is what the caller needs to go on after it.
    As a context manager it finishes at the end of the block; when the block fails it keeps what is whole.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        context: int,
        vocab_size: int,
        tokenizer: str,
        settings: Mapping[str, Any] | None = None,
        bos_id: int | None = None,
        eos_id: int | None = None,
        pad_id: int | None = None,
        shard_sequences: int = 8_192,
    ) -> None:
        if not 1 <= context <= 65_536:
            raise ValueError(f"The context length must lie in 1 to 65,536, not {context:,}.")
        if not 1 <= vocab_size <= 2**32:
            raise ValueError(f"The vocabulary must have 1 to 2³² entries, not {vocab_size:,}.")
        special = {"bos_id": bos_id, "eos_id": eos_id, "pad_id": pad_id}
        for name, id in special.items():
            if id is not None and not 0 <= id < vocab_size:
                raise ValueError(f"{name} {id:,} is not in the vocabulary of {vocab_size:,}.")
        columns = {
            "tokens": Column(np.dtype("<u2" if vocab_size <= 65_536 else "<u4"), (context,)),
            "length": Column(np.dtype("<u4")),
            "row": Column(np.dtype("<u8")),
            "offset": Column(np.dtype("<u8")),
        }
        head = {
            "kind": KIND,
            "version": 1,
            "context": context,
            "vocab_size": vocab_size,
            "tokenizer": tokenizer,
            "settings": dict(settings or {}),
            **special,
        }
        self._open(ShardWriter(folder, columns, shard_sequences, head))

    @classmethod
    def resume(cls, folder: str | os.PathLike[str]) -> Self:
        """Go on after the last finished shard: see `n_sequences` and `state` for where that is."""
        writer = cls.__new__(cls)
        writer._open(ShardWriter.resume(folder, KIND))
        return writer

    def _open(self, shards: ShardWriter) -> None:
        self._shards = shards
        self.folder = shards.folder
        self.context = int(shards.head["context"])
        self.vocab_size = int(shards.head["vocab_size"])
        self._dtype = np.dtype(shards.head["columns"]["tokens"]["dtype"])
        self._pad = int(shards.head["pad_id"] or 0)

    @property
    def n_sequences(self) -> int:
        """Sequences appended so far."""
        return self._shards.rows

    @property
    def state(self) -> Any:
        """The `state` given with the last append that is kept (after `resume`: the last finished one)."""
        return self._shards.state

    def finished(self) -> Iterator[tuple[Array, Array, Array]]:
        """Token ids [n, context], padding included, real lengths [n] and rows [n] of each finished shard, mapped."""
        for shard in self._shards.shards:
            folder = self.folder / shard["name"]
            tokens, lengths, rows = (map_npy(folder / f"{name}.npy") for name in ("tokens", "length", "row"))
            yield tokens, lengths, rows

    def append(
        self,
        sequences: Sequence[Sequence[int] | Array] | Array,
        rows: Sequence[int] | Array,
        offsets: Sequence[int] | Array,
        state: Any = None,
        *,
        lengths: Array | None = None,
    ) -> None:
        """Append n sequences of 1 to `context` ids; a 2-D array brings n full ones, or padded ones with `lengths`.

        rows, offsets: [n], where each begins (row of the data set, character in its text).
        Shorter sequences are filled up with the pad id (0 when there is none) and their length is kept.
        Raises ValueError for lengths or ids out of range (nothing of the append is written), `DiskFull`.
        """
        n = len(sequences)
        if len(rows) != n or len(offsets) != n:
            raise ValueError(f"{n} sequences came with {len(rows)} rows and {len(offsets)} offsets.")
        if n == 0:
            return
        tokens, lengths = self._block(sequences, lengths)
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.vocab_size:
            wrong = low if low < 0 else high
            raise ValueError(f"Token id {wrong:,} is not in the vocabulary of {self.vocab_size:,}.")
        sources = {"row": np.asarray(rows), "offset": np.asarray(offsets)}
        for name, values in sources.items():
            if values.dtype.kind not in "iu" or int(values.min()) < 0:
                raise ValueError(f"Each {name} must be a whole number of 0 or more.")
        self._shards.notes["tokens"] = self._shards.notes.get("tokens", 0) + int(lengths.sum())
        self._shards.write("tokens", tokens.astype(self._dtype, copy=False))
        self._shards.write("length", lengths.astype(np.uint32))
        for name, values in sources.items():
            self._shards.write(name, values.astype(np.uint64))
        self._shards.end_group(n, state)

    def _block(
        self, sequences: Sequence[Sequence[int] | Array] | Array, real: Array | None
    ) -> tuple[Array, Array]:
        if isinstance(sequences, np.ndarray):
            if sequences.ndim != 2 or sequences.shape[1] != self.context or sequences.dtype.kind not in "iu":
                raise ValueError(
                    f"An array of sequences must hold integers of shape [n, {self.context}], "
                    f"not {sequences.dtype} {list(sequences.shape)}."
                )
            if real is None:
                return sequences, np.full(len(sequences), self.context)
            if len(real) != len(sequences) or int(real.min()) < 1 or int(real.max()) > self.context:
                raise ValueError(f"Each of {len(sequences)} sequences must have 1 to {self.context} tokens.")
            return sequences, real
        if real is not None:
            raise ValueError("Lengths are given with an array of padded sequences only.")
        lengths = np.fromiter((len(sequence) for sequence in sequences), np.int64, len(sequences))
        if int(lengths.min()) < 1 or int(lengths.max()) > self.context:
            raise ValueError(f"Sequences must have 1 to {self.context} tokens.")
        tokens = np.full((len(sequences), self.context), self._pad, np.int64)
        for row, sequence in zip(tokens, sequences, strict=True):
            row[: len(sequence)] = sequence
        return tokens, lengths

    def finish(self) -> "TokenStore":
        """Finish the store and open it."""
        self._shards.finish()
        return TokenStore(self.folder)

    def suspend(self) -> None:
        """Keep everything appended so far and close, to be resumed later."""
        self._shards.suspend()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._shards.finish()
        else:
            self._shards.suspend()


class TokenStore:
    """A finished token store. Opening raises `TornFile` for a damaged or unfinished one.

    n_sequences, context, n_tokens (padding not counted), vocab_size, tokenizer, settings,
    bos_id / eos_id / pad_id (int or None).
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._shards = ShardReader(folder, KIND)
        head = self._shards.head
        self.folder = self._shards.folder
        self.n_sequences = self._shards.n_rows
        self.n_tokens = sum(int(shard["notes"]["tokens"]) for shard in self._shards.shards)
        self.context = int(head["context"])
        self.vocab_size = int(head["vocab_size"])
        self.tokenizer = str(head["tokenizer"])
        self.settings: dict[str, Any] = head["settings"]
        self.bos_id: int | None = head["bos_id"]
        self.eos_id: int | None = head["eos_id"]
        self.pad_id: int | None = head["pad_id"]

    def __len__(self) -> int:
        return self.n_sequences

    @property
    def digest(self) -> str:
        """A digest of the content: equal for equal sequences with equal sources, written in the same pieces.

        It is made of the checksums in the manifest, so it costs nothing and trusts the files.
        """
        entries = {name: list(entry) for name, entry in read_manifest(self.folder).items()}
        return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:32]

    def __getitem__(self, sequence: int) -> Array:
        """The real tokens of one sequence, [length]."""
        if not 0 <= sequence < self.n_sequences:
            raise IndexError(f"sequence {sequence} is not in 0 to {self.n_sequences - 1}")
        length = int(self.lengths(sequence, sequence + 1)[0])
        return self.tokens(sequence, sequence + 1)[0, :length]

    def tokens(self, start: int, stop: int) -> Array:
        """Token ids of sequences [start, stop), padding included: [n, context] uint16 or uint32.

        A read-only view of the file when one shard holds them all.
        """
        return self._shards.read("tokens", start, stop)

    def lengths(self, start: int, stop: int) -> Array:
        """Real lengths of sequences [start, stop), [n] uint32."""
        return self._shards.read("length", start, stop)

    def sources(self, start: int, stop: int) -> Sources:
        """Where sequences [start, stop) begin in the data set, each [n] uint64."""
        return Sources(self._shards.read("row", start, stop), self._shards.read("offset", start, stop))

    def take(self, sequences: Sequence[int] | Array) -> tuple[Array, Array]:
        """Token ids [n, context] and real lengths [n] of any sequences, in the order asked for."""
        indices = np.asarray(sequences, np.int64)
        dtype = self._shards.columns["tokens"].dtype
        tokens = np.empty((len(indices), self.context), dtype)
        lengths = np.empty(len(indices), np.uint32)
        for place in np.argsort(indices, kind="stable").tolist():
            sequence = int(indices[place])
            tokens[place] = self.tokens(sequence, sequence + 1)[0]
            lengths[place] = self.lengths(sequence, sequence + 1)[0]
        return tokens, lengths
