"""Tokenizing a data set: read, filtered, encoded and packed batch by batch into a store that grows by shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mistudio.datasets.kept_columns import keep_columns
from mistudio.datasets.packing import Packed, Packer, Pieces
from mistudio.datasets.tables import Tokenization
from mistudio.datasets.tokenization_schemas import TokenizationSettings, TokenizationStatistics
from mistudio.errors import StudioError
from mistudio.models.tokenizer import ModelTokenizer
from mistudio.settings import Settings
from mistudio.store import TokenStore, TokenStoreWriter, delete_folder, is_finished, owner_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from mistudio.datasets.encoding import Encoded, PartEncoder, TextEncoder
    from mistudio.datasets.row_filters import RowFilters
    from mistudio.datasets.text_store import TextStore

Array = np.ndarray[Any, np.dtype[Any]]

# Enough text for words to repeat in, little enough for a bar that moves and for memory that does not.
BATCH_BYTES = 4 << 20
# A row longer than this is encoded in pieces that begin at a word, so that memory stays bounded.
MAX_PIECE = 1 << 20
SHARD_TOKENS = 4 << 20
_STATE_VERSION = 2
_EXAMPLE_CHARACTERS = 200
# How far from its end a piece is searched for a word to end at: text without spaces is cut anywhere.
_CUT_SEARCH = 1 << 12


class Position(NamedTuple):
    """Where reading goes on: a row, and within it the byte and the character of its text."""

    row: int
    byte: int = 0
    character: int = 0


@dataclass
class Batch:
    """Texts to be packed together, and what was met while they were read. `next` is where the next batch begins."""

    texts: pa.LargeStringArray
    pieces: Pieces
    next: Position
    counts: Counter[str] = field(default_factory=Counter[str])
    dropped: Counter[str] = field(default_factory=Counter[str])
    examples: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])


def tokenization_folder(settings: Settings, tokenization_id: str) -> Path:
    """Where a tokenization's tokens are."""
    return owner_folder(settings.data_dir, "tokenizations", tokenization_id)


def open_tokens(settings: Settings, tokenization: Tokenization | str) -> TokenStore:
    """The tokens of a finished tokenization. Raises `TornFile`."""
    key = tokenization if isinstance(tokenization, str) else tokenization.id
    return TokenStore(tokenization_folder(settings, key))


def tokenize_texts(
    texts: TextStore,
    column: str,
    tokenizer: ModelTokenizer,
    settings: TokenizationSettings,
    folder: Path,
    *,
    vocab_size: int,
    name: str = "",
    progress: Callable[[int, int], None] = lambda _rows, _tokens: None,
) -> TokenizationStatistics:
    """Tokenize the rows of `column` into a token store at `folder`, going on where an earlier run was killed.

    `progress(rows, tokens)` is called after each batch; what it raises leaves the finished part for resuming.
    Raises StudioError `dataset_empty` when no sequence comes out, `bad_pattern`, `no_bos`, `no_eos`.
    """
    from mistudio.datasets.encoding import open_encoder
    from mistudio.datasets.row_filters import RowFilters
    from mistudio.datasets.token_statistics import TokenizationCounts

    vocab_size = max(vocab_size, tokenizer.vocab_size)
    packer, filters = Packer(tokenizer, settings, vocab_size), RowFilters(settings.filters)
    counts = TokenizationCounts(vocab_size)
    n_rows = min(texts.n_rows, settings.max_rows or texts.n_rows)
    kept = settings.metadata_columns
    begun = np.zeros(n_rows if kept else 0, bool)
    writer = _open_writer(folder, tokenizer, settings, packer, vocab_size, name)
    position = Position(0)
    if writer.state is not None:
        state = writer.state
        position = Position(*state["next"])
        packer.state, counts.state = state["packer"], state["counts"]
        for tokens, lengths, rows in writer.finished():
            counts.add_tokens(tokens, lengths)
            if kept:
                begun[rows] = True
    row_lengths = _RowLengths(0 if writer.state is None else writer.state["open_row"])

    def keep(packed: Packed, next: Position) -> None:
        counts.add_sequences(packed.tokens, packed.lengths)
        counts.dropped.update(packer.dropped)
        packer.dropped.clear()
        if kept:
            begun[packed.rows] = True
        if len(packed.tokens):
            state = {
                "version": _STATE_VERSION,
                "packer": packer.state,
                "counts": counts.state,
                "open_row": row_lengths.open,
                "next": next,
            }
            writer.append(packed.tokens, packed.rows, packed.offsets, state, lengths=packed.lengths)

    try:
        if filters.remembers and position.row:
            for _ in judged(texts, column, filters, 0, position.row):
                progress(position.row, packer.n_tokens)
        encoder = open_encoder(
            tokenizer, packer.dtype, special_in_text=settings.special_tokens_in_text == "parse"
        )
        whole_rows = settings.packing != "concatenate"
        batches = read_batches(texts, column, filters, position, n_rows, whole_rows=whole_rows)
        for batch, encoded in encoded_ahead(batches, encoder):
            counts.counts.update(batch.counts)
            counts.counts["text_tokens"] += len(encoded.ids)
            counts.dropped.update(batch.dropped)
            for reason, row, text in batch.examples:
                counts.add_example(reason, row, text)
            counts.row_lengths.add(row_lengths.of(np.diff(encoded.bounds), batch.pieces.ends))
            keep(packer.pack(batch.pieces, encoded), batch.next)
            position = batch.next
            progress(position.row, packer.n_tokens)
            if packer.done:
                break
        keep(packer.finish(), position)
        if kept and packer.n_sequences:
            keep_columns(texts, kept, begun, folder, lambda: progress(position.row, packer.n_tokens))
    except BaseException:
        writer.suspend()
        raise
    if packer.n_sequences == 0:
        writer.suspend()
        raise StudioError(
            "dataset_empty",
            "No sequence came out: the text is shorter than one sequence, or everything was filtered out.",
            hint=f"Use a maximum length below {settings.context_length}, pad unfilled sequences, or use milder "
            "filters.",
        )
    writer.finish()
    return counts.statistics(tokenizer)


def _open_writer(
    folder: Path,
    tokenizer: ModelTokenizer,
    settings: TokenizationSettings,
    packer: Packer,
    vocab_size: int,
    name: str,
) -> TokenStoreWriter:
    if is_finished(folder):
        raise StudioError("already_tokenized", "This tokenization is finished already.", status=409)
    if folder.exists() and any(folder.glob("shard-*")):
        writer = TokenStoreWriter.resume(folder)
        if writer.state is None or writer.state.get("version") == _STATE_VERSION:
            return writer
        # Begun by another version, which went on by other rules.
        writer.suspend()
        delete_folder(folder.parents[1], folder)
    return TokenStoreWriter(
        folder,
        context=settings.context_length,
        vocab_size=vocab_size,
        tokenizer=name,
        settings=settings.model_dump(mode="json"),
        bos_id=packer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        shard_sequences=max(1, SHARD_TOKENS // settings.context_length),
    )


class _RowLengths:
    """Tokens of whole rows from those of their pieces."""

    def __init__(self, open: int) -> None:
        self.open = open

    def of(self, tokens: Array, ends: Array) -> Array:
        """Lengths of the rows that end among these pieces, [n]; what is left open is carried on."""
        totals = self.open + np.cumsum(tokens)
        at_ends = totals[ends]
        self.open = int(totals[-1] - (at_ends[-1] if len(at_ends) else 0)) if len(totals) else self.open
        return np.diff(at_ends, prepend=0)


def judged(
    texts: TextStore, column: str, filters: RowFilters, start: int, stop: int
) -> Iterator[tuple[int, pa.LargeStringArray, Array]]:
    """Rows [start, stop) in runs of about `BATCH_BYTES`: (first row, texts, verdicts of the filters).

    A row longer than `MAX_PIECE` that stands alone is judged by its beginning.
    """
    import pyarrow as pa

    for first, run in text_runs(texts, column, start, stop):
        if stands_alone(run):
            content, begin, end = content_of(run)
            beginning = bytes(content[begin : cut_before_word(content, begin, end)]).decode()
            yield first, run, filters.judge(pa.array([beginning], pa.large_string()))
        else:
            yield first, run, filters.judge(run)


def text_runs(
    texts: TextStore, column: str, start: int, stop: int
) -> Iterator[tuple[int, pa.LargeStringArray]]:
    """(row number, texts) of rows [start, stop) in runs of about `BATCH_BYTES`; a missing text is the empty one."""
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute
    for first, table in texts.tables(start, once=True):
        for chunk in table.select([column]).slice(0, max(0, stop - first)).column(0).chunks:
            array = pc.fill_null(chunk.cast(pa.large_string()), "")
            bounds = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
            begin = 0
            while begin < len(array):
                end = int(np.searchsorted(bounds, bounds[begin] + BATCH_BYTES, "right")) - 1
                end = min(max(end, begin + 1), len(array))
                yield first + begin, array.slice(begin, end - begin)
                begin = end
            first += len(array)
        if first >= stop:
            return


def stands_alone(run: pa.LargeStringArray) -> bool:
    """Whether a run is one very long row."""
    _, begin, end = content_of(run)
    return len(run) == 1 and end - begin > MAX_PIECE


def content_of(run: pa.LargeStringArray) -> tuple[memoryview, int, int]:
    """The bytes in which a run's texts lie, without a copy, and where they begin and end there."""
    bounds = np.frombuffer(run.buffers()[1], np.int64)
    return memoryview(run.buffers()[2] or b""), int(bounds[run.offset]), int(bounds[run.offset + len(run)])


def read_batches(
    texts: TextStore,
    column: str,
    filters: RowFilters,
    position: Position,
    n_rows: int,
    *,
    whole_rows: bool,
) -> Iterator[Batch]:
    """Rows that the filters keep, in batches of about `BATCH_BYTES`, from `position` on.

    A very long row comes in pieces, each a batch of its own unless `whole_rows`.
    """
    for first, run, verdict in judged(texts, column, filters, position.row, n_rows):
        if verdict[0] < 0 and stands_alone(run):
            pieces = _pieces_of(run, first, position)
            yield from [_together(list(pieces))] if whole_rows else pieces
        else:
            yield _batch(run, first, verdict, filters.reasons)


def _batch(run: pa.LargeStringArray, first: int, verdict: Array, reasons: list[str]) -> Batch:
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute
    kept = np.flatnonzero(verdict < 0)
    texts = run if len(kept) == len(run) else run.take(pa.array(kept))
    characters = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    batch = Batch(
        texts,
        Pieces(first + kept, np.zeros(len(kept), np.int64), characters, np.ones(len(kept), bool)),
        Position(first + len(run)),
        Counter(rows_read=len(run), rows_used=len(kept), characters=int(characters.sum())),
    )
    for number in np.unique(verdict[verdict >= 0]).tolist():
        which = np.flatnonzero(verdict == number)
        batch.dropped[reasons[number]] = len(which)
        for at in which[:5].tolist():
            batch.examples.append((reasons[number], first + at, run[at].as_py()[:_EXAMPLE_CHARACTERS]))
    return batch


def _pieces_of(run: pa.LargeStringArray, row: int, position: Position) -> Iterator[Batch]:
    """One very long row, piece by piece."""
    import pyarrow as pa

    content, begin, end = content_of(run)
    at, character = begin, 0
    if row == position.row:
        at, character = begin + position.byte, position.character
    while at < end:
        cut = cut_before_word(content, at, end)
        text = bytes(content[at:cut]).decode()
        ends = cut == end
        yield Batch(
            pa.array([text], pa.large_string()),
            Pieces(np.array([row]), np.array([character]), np.array([len(text)]), np.array([ends])),
            Position(row + 1) if ends else Position(row, cut - begin, character + len(text)),
            Counter(rows_read=int(ends), rows_used=int(ends), characters=len(text)),
        )
        at, character = cut, character + len(text)


def _together(batches: list[Batch]) -> Batch:
    """Pieces as one batch."""
    import pyarrow as pa

    counts = Counter[str]()
    for batch in batches:
        counts.update(batch.counts)
    pieces = Pieces(*(np.concatenate(parts) for parts in zip(*(b.pieces for b in batches), strict=True)))
    return Batch(pa.concat_arrays([batch.texts for batch in batches]), pieces, batches[-1].next, counts)


def cut_before_word(content: memoryview, begin: int, end: int) -> int:
    """Where a piece of UTF-8 text that begins at byte `begin` ends: before a space behind a word if there is one.

    The piece has at most `MAX_PIECE` bytes. What stands there tells nothing to the tokenizers of `word_splits`.
    """
    if end - begin <= MAX_PIECE:
        return end
    cut = begin + MAX_PIECE
    low = max(begin + 1, cut - _CUT_SEARCH)
    window = bytes(content[low - 1 : cut + 1])
    for at in range(len(window) - 1, 0, -1):
        if window[at] == 0x20 and not window[max(0, at - 4) : at].decode(errors="ignore")[-1:].isspace():
            return low - 1 + at
    while cut > begin + 1 and content[cut] & 0xC0 == 0x80:  # not within a character
        cut -= 1
    return cut


def encoded_ahead(
    batches: Iterable[Batch], encoder: TextEncoder | PartEncoder
) -> Iterator[tuple[Batch, Encoded]]:
    """Each batch with its tokens; the next one is encoded while the caller works on this one."""
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as pool:
        ahead: tuple[Batch, Future[Encoded]] | None = None
        for batch in batches:
            running = pool.submit(encoder.encode, batch.texts)
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = batch, running
        if ahead is not None:
            yield ahead[0], ahead[1].result()
