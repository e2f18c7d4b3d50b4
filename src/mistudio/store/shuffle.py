"""A well-mixed, exactly resumable order over a cache too large for memory."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from mistudio.store.errors import TooFewTokens
from mistudio.store.npy import Array

BLOCK = 256
WINDOW_TOKENS = 65_536
"""Rows that are mixed at a time."""


class ShuffledBatches(Iterator[Array]):
    """Iterator over batches [batch_size, d] in an order fixed by (seed, sizes): resumable by batch number.

    In each epoch every row comes exactly once. The rows are cut into blocks of 256 neighbours; the blocks
    of the whole cache are permuted; each run of W ≥ `window_tokens` / 256 permuted blocks is read into
    memory (in file order, each block one sequential read) and its rows are permuted. The windows of an epoch
    are of equal size, less than twice `window_tokens` (close to it in a large cache), so that none is poorly
    mixed. While one window is used, a thread reads the next. Memory: two windows in their stored precision.

    Mixing: a batch draws its rows from W places chosen uniformly from the whole cache (all, if it has fewer),
    so the mean of any quantity over a batch of B rows has standard deviation ≤ σ·sqrt(1/W + 1/B) even where
    all rows of a block are equal; a full shuffle has σ·sqrt(1/B). By default W ≥ 256.

    `first_row` shifts all batches: batch `b` begins at row `first_row + b * batch_size` of the epochs' rows.
    Batches run on across epochs, so all have the same size; rows left over at the very end are not given.
    `batch` is the number of the next batch; `epoch` and `position` say where in the data it begins.
    """

    def __init__(
        self,
        read: Callable[[int, int], dict[str, Array]],
        decode: Callable[[dict[str, Array]], Array],
        n_rows: int,
        batch_size: int,
        seed: int,
        epochs: int | None,
        start_batch: int = 0,
        window_tokens: int = WINDOW_TOKENS,
        first_row: int = 0,
    ) -> None:
        if (
            min(batch_size, window_tokens, 1 if epochs is None else epochs) < 1
            or min(start_batch, first_row) < 0
        ):
            raise ValueError(
                "batch_size, window_tokens, epochs must be 1 or more, start_batch, first_row 0 or more."
            )
        if n_rows == 0 or (epochs is not None and n_rows * epochs - first_row < batch_size):
            raise TooFewTokens(
                f"{n_rows:,} cached tokens do not fill one batch of {batch_size:,} in {epochs} epochs.",
                "Cache more tokens, use a smaller batch or more epochs.",
            )
        self.batch = start_batch
        self.batch_size = batch_size
        self.n_rows = n_rows
        self.n_batches = None if epochs is None else (n_rows * epochs - first_row) // batch_size
        self._first_row = first_row
        self._epochs = epochs
        self._read, self._decode, self._seed = read, decode, seed
        n_blocks = -(-n_rows // BLOCK)
        n_windows = max(1, n_blocks // max(1, window_tokens // BLOCK))
        self._edges = np.arange(n_windows + 1) * n_blocks // n_windows
        self._order: tuple[int, Array, Array] | None = None
        self._window: tuple[int, int, dict[str, Array], Array] | None = None
        self._ahead: tuple[int, int, Future[dict[str, Array]]] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="activations")

    @property
    def epoch(self) -> int:
        """The epoch, from 0, in which the next batch begins."""
        return self._row // self.n_rows

    @property
    def position(self) -> int:
        """How many rows of that epoch have been given."""
        return self._row % self.n_rows

    @property
    def _row(self) -> int:
        return self._first_row + self.batch * self.batch_size

    def __iter__(self) -> "ShuffledBatches":
        return self

    def __next__(self) -> Array:
        if self.n_batches is not None and self.batch >= self.n_batches:
            self.close()
            raise StopIteration
        row, pieces, missing = self._row, list[Array](), self.batch_size
        while missing:
            epoch, offset = divmod(row, self.n_rows)
            parts, order, begin = self._window_at(epoch, offset)
            picked = order[offset - begin : offset - begin + missing]
            pieces.append(self._decode({name: rows[picked] for name, rows in parts.items()}))
            row, missing = row + len(picked), missing - len(picked)
        self.batch += 1
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def close(self) -> None:
        """Let the windows and the reading thread go."""
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._window = self._ahead = None

    def _window_at(self, epoch: int, offset: int) -> tuple[dict[str, Array], Array, int]:
        _, starts = self._blocks(epoch)
        window = int(np.searchsorted(starts, offset, side="right")) - 1
        if self._window is None or self._window[:2] != (epoch, window):
            self._window = None
            if self._ahead is not None and self._ahead[:2] == (epoch, window):
                parts = self._ahead[2].result()
            else:
                parts = self._load(self._window_block_list(epoch, window))
            order = self._rng(epoch, window + 1).permutation(int(starts[window + 1] - starts[window]))
            self._window = (epoch, window, parts, order)
            self._read_ahead(epoch, window + 1, len(starts) - 1)
        return self._window[2], self._window[3], int(starts[window])

    def _read_ahead(self, epoch: int, window: int, n_windows: int) -> None:
        self._ahead = None
        if window < n_windows:
            blocks = self._window_block_list(epoch, window)
            self._ahead = (epoch, window, self._reader.submit(self._load, blocks))

    def _blocks(self, epoch: int) -> tuple[Array, Array]:
        """Permuted block numbers of an epoch, and the first row of each window (and the end)."""
        if self._order is None or self._order[0] != epoch:
            blocks = self._rng(epoch, 0).permutation(-(-self.n_rows // BLOCK))
            ends = np.cumsum(np.minimum(BLOCK, self.n_rows - blocks * BLOCK))
            starts = np.concatenate([[0], ends[self._edges[1:] - 1]])
            self._order = (epoch, blocks, starts)
        return self._order[1], self._order[2]

    def _window_block_list(self, epoch: int, window: int) -> Array:
        blocks, _ = self._blocks(epoch)
        return np.sort(blocks[self._edges[window] : self._edges[window + 1]])

    def _load(self, blocks: Array) -> dict[str, Array]:
        out: dict[str, Array] = {}
        filled = 0
        rows = int(np.minimum(BLOCK, self.n_rows - blocks * BLOCK).sum())
        for start in blocks.tolist():
            parts = self._read(start * BLOCK, min((start + 1) * BLOCK, self.n_rows))
            size = len(parts["values"])
            for name, values in parts.items():
                if name not in out:
                    out[name] = np.empty((rows, *values.shape[1:]), values.dtype)
                out[name][filled : filled + size] = values
            filled += size
        return out

    def _rng(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence((self._seed, epoch, stream))))
