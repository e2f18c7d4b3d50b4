"""Activation caches: what a language model computed at its hook points, token by token, for reuse.

Each row is one token: the sequence and the position it came from, its id, and one vector per hook point.
"""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self, cast, get_args

import numpy as np

from mistudio.store.errors import NotStorable
from mistudio.store.locks import FolderLock
from mistudio.store.npy import Array
from mistudio.store.precision import (
    BLOCK_VALUES,
    LARGEST,
    STORED,
    Precision,
    as_float32,
    decode,
    encode,
    is_finite,
    row_columns,
)
from mistudio.store.shards import Column, ShardReader, ShardWriter
from mistudio.store.shuffle import WINDOW_TOKENS, ShuffledBatches

KIND = "activations"
# The error of the reduced precision is measured on every 16th row: 1/16 of the cost, ample for one number.
_MEASURED_EVERY = 16
_TOKEN_COLUMNS = {
    "sequence": Column(np.dtype("<u4")),
    "position": Column(np.dtype("<u2")),
    "token": Column(np.dtype("<u4")),
}


class TokenRows(NamedTuple):
    """Where rows come from: sequence index [n], position in it [n], token id [n]."""

    sequence: Array
    position: Array
    token: Array


class ActivationCacheWriter:
    """Writes an activation cache; finished shards survive a kill.

    `hooks` maps hook names to vector sizes. A shard ends with the append that fills it
    (`shard_tokens`), so what one `append` brings is kept whole or not at all: append whole sequences and
    go on from `state` (or `n_tokens`) after `resume`.
    As a context manager it finishes at the end of the block; when the block fails it keeps what is whole.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        hooks: Mapping[str, int],
        dtype: Precision = "float16",
        shard_tokens: int = 131_072,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        if dtype not in get_args(Precision):
            raise ValueError(f"{dtype!r} is no precision for activations: use {', '.join(STORED)}.")
        if not hooks or any(d < 1 for d in hooks.values()):
            raise ValueError(
                "An activation cache needs one or more hook points, each with one or more values."
            )
        columns = dict(_TOKEN_COLUMNS)
        for number, d in enumerate(hooks.values()):
            columns |= {_column(number, part): spec for part, spec in row_columns(dtype, d).items()}
        head = {"kind": KIND, "version": 1, "hooks": dict(hooks), "dtype": dtype, "meta": dict(meta or {})}
        self._open(ShardWriter(folder, columns, shard_tokens, head))

    @classmethod
    def resume(cls, folder: str | os.PathLike[str]) -> Self:
        """Go on after the last finished shard: see `n_tokens` and `state` for where that is."""
        writer = cls.__new__(cls)
        writer._open(ShardWriter.resume(folder, KIND))
        return writer

    def _open(self, shards: ShardWriter) -> None:
        self._shards = shards
        self.folder = shards.folder
        self.hooks = {str(hook): int(d) for hook, d in shards.head["hooks"].items()}
        self.dtype = str(shards.head["dtype"])

    @property
    def n_tokens(self) -> int:
        """Tokens appended so far."""
        return self._shards.rows

    @property
    def state(self) -> Any:
        """The `state` given with the last append that is kept (after `resume`: the last finished one)."""
        return self._shards.state

    def append(
        self,
        activations: Mapping[str, Array],
        sequences: Array,
        positions: Array,
        tokens: Array,
        state: Any = None,
        squares: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """Append n tokens.

        activations: for each hook [n, d] as float32, float16, or uint16 holding bfloat16 bits;
        sequences, positions, tokens: [n] integers; state: anything JSON can hold, given back by `resume`.
        squares: from a caller that reduced the precision itself, per hook Σ(given − original)² and Σ original² over
        the rows that it measured; otherwise they are measured here.
        Raises ValueError for wrong shapes (nothing is written), `NotStorable` for values that are not finite
        or exceed the precision and `DiskFull` when there is no room (the writer is then closed; finished
        shards stay).
        """
        n = len(tokens)
        if set(activations) != set(self.hooks):
            raise ValueError(f"append needs the hooks {', '.join(self.hooks)}, not {', '.join(activations)}.")
        for hook, d in self.hooks.items():
            rows = activations[hook]
            if rows.shape != (n, d):
                raise ValueError(f"{hook} must have shape [{n}, {d}], not {list(rows.shape)}.")
            if rows.dtype.name not in ("float32", "float16", "uint16"):
                raise ValueError(
                    f"{hook} must be float32, float16 or bfloat16 bits (uint16), not {rows.dtype}."
                )
        origins = {"sequence": sequences, "position": positions, "token": tokens}
        narrowed = {name: _integers(name, values, n) for name, values in origins.items()}
        if n == 0:
            return
        for name, values in narrowed.items():
            self._shards.write(name, values)
        for number, hook in enumerate(self.hooks):
            self._write(number, hook, activations[hook], (squares or {}).get(hook))
        self._shards.end_group(n, state)

    def _write(self, number: int, hook: str, rows: Array, squares: tuple[float, float] | None = None) -> None:
        step = max(_MEASURED_EVERY, BLOCK_VALUES // rows.shape[1] // _MEASURED_EVERY * _MEASURED_EVERY)
        lossy = rows.dtype != STORED[self.dtype]
        sums: list[float] = self._shards.notes.setdefault(hook, [0.0, 0.0])
        if squares is not None:
            sums[:] = [before + more for before, more in zip(sums, squares, strict=True)]
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            parts = encode(block, self.dtype)
            if not is_finite(parts, self.dtype):
                self._shards.drop()
                raise _not_storable(hook, as_float32(block), self.dtype)
            for part, values in parts.items():
                self._shards.write(_column(number, part), values)
            if squares is not None:
                continue
            sample = as_float32(block[::_MEASURED_EVERY])
            sums[1] += float(np.vdot(sample, sample))
            if lossy:
                kept = {part: values[::_MEASURED_EVERY] for part, values in parts.items()}
                error = decode(kept, self.dtype) - sample
                sums[0] += float(np.vdot(error, error))

    def finish(self) -> "ActivationCache":
        """Finish the cache and open it."""
        self._shards.finish()
        return ActivationCache(self.folder)

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


class ActivationCache:
    """A finished activation cache, mapped into memory. Opening raises `TornFile` for a damaged one.

    `lock`, if given, is held as long as this object lives, so that nobody takes the files away meanwhile.
    n_tokens; hooks {name: d}; dtype; meta (as given); state (of the last append); error {hook: relative RMS error
    of the stored precision, sqrt(Σ(stored − given)² / Σ given²) over every 16th row}.
    """

    def __init__(self, folder: str | os.PathLike[str], lock: FolderLock | None = None) -> None:
        self._lock = lock
        self._shards = ShardReader(folder, KIND)
        self.folder = self._shards.folder
        self.n_tokens = self._shards.n_rows
        head = self._shards.head
        self.hooks = {str(hook): int(d) for hook, d in head["hooks"].items()}
        self.dtype = str(head["dtype"])
        self.meta: dict[str, Any] = head["meta"]
        self.state: Any = self._shards.state
        self.error = {hook: self._error(hook) for hook in self.hooks}
        self._number = {hook: number for number, hook in enumerate(self.hooks)}

    def __repr__(self) -> str:
        hooks = ", ".join(f"{hook} ({d})" for hook, d in self.hooks.items())
        return f"<ActivationCache {self.n_tokens:,} tokens of {hooks}, {self.dtype}, {self.folder}>"

    def _error(self, hook: str) -> float:
        sums = np.sum([shard["notes"][hook] for shard in self._shards.shards] or [[0.0, 0.0]], axis=0)
        return float(np.sqrt(sums[0] / sums[1])) if sums[1] else 0.0

    def read(self, hook: str, start: int, stop: int) -> Array:
        """Vectors of tokens [start, stop) as a fresh float32 array [n, d]."""
        return decode(self.read_parts(hook, start, stop), self.dtype)

    def read_raw(self, hook: str, start: int, stop: int) -> Array:
        """Vectors of tokens [start, stop) as stored, [n, d]; bfloat16 is its bits as uint16.

        A read-only view of the file when one shard holds them all. int8 needs its scales: `read_parts`.
        """
        return self.read_parts(hook, start, stop)["values"]

    def read_parts(self, hook: str, start: int, stop: int) -> dict[str, Array]:
        """The stored parts: `values` [n, d] and, for int8, `scales` [n, ⌈d/64⌉]."""
        number = self._hook_number(hook)
        parts = row_columns(self.dtype, self.hooks[hook])
        return {part: self._shards.read(_column(number, part), start, stop) for part in parts}

    def tokens(self, start: int, stop: int) -> TokenRows:
        """Sequence index, position and token id of tokens [start, stop)."""
        return TokenRows(*(self._shards.read(name, start, stop) for name in _TOKEN_COLUMNS))

    def whole_sequences(self, stop: int) -> int:
        """The largest number of rows up to `stop` that does not end within a sequence."""
        if not 0 < stop < self.n_tokens:
            return stop
        start = stop
        while start > 0:
            start = max(0, stop - 2 * (stop - start) - 256)
            sequence = self.tokens(start, stop + 1).sequence
            others = np.flatnonzero(sequence[:-1] != sequence[-1])
            if len(others):
                return start + int(others[-1]) + 1
        return 0

    def shuffled_batches(
        self,
        hook: str,
        batch_size: int,
        seed: int,
        epochs: int | None = 1,
        start_batch: int = 0,
        window_tokens: int = WINDOW_TOKENS,
        stop: int | None = None,
        first_row: int = 0,
    ) -> ShuffledBatches:
        """A well-mixed stream of float32 batches [batch_size, d]: see `ShuffledBatches`.

        Tokens from `stop` on are left out (a training holds them out).

        The order depends on seed, sizes and number of tokens only, never on the hook: streams of two
        hooks with the same arguments give the same tokens in the same order.
        """
        self._hook_number(hook)
        return ShuffledBatches(
            lambda start, stop: self.read_parts(hook, start, stop),
            lambda parts: decode(parts, self.dtype),
            self.n_tokens if stop is None else min(stop, self.n_tokens),
            batch_size,
            seed,
            epochs,
            start_batch,
            window_tokens,
            first_row,
        )

    def _hook_number(self, hook: str) -> int:
        if hook not in self._number:
            raise KeyError(f"{hook} is not in this cache; it holds {', '.join(self.hooks)}")
        return self._number[hook]


def _column(number: int, part: str) -> str:
    return f"hook-{number}.{part}"


def _integers(name: str, values: Array, n: int) -> Array:
    dtype = _TOKEN_COLUMNS[name].dtype
    if values.shape != (n,) or values.dtype.kind not in "iu":
        raise ValueError(f"{name} must be {n} integers, not {values.dtype} {list(values.shape)}.")
    largest = np.iinfo(cast(Any, dtype)).max
    if n and (int(values.min()) < 0 or int(values.max()) > largest):
        raise ValueError(f"{name} must lie in 0 to {largest:,}.")
    return values.astype(dtype)


def _not_storable(hook: str, rows: Array, dtype: str) -> NotStorable:
    if not np.isfinite(rows).all():
        return NotStorable(
            f"{hook} holds NaN or infinite values: the model overflowed.", "Load it in float32 or bfloat16."
        )
    return NotStorable(
        f"{hook} reaches {np.abs(rows).max():,.0f}, and {dtype} ends at {LARGEST[dtype]:,.0f}.",
        "Cache it as bfloat16 or float32.",
    )
