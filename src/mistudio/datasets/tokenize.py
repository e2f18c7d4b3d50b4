"""Tokenizing a data set: encoding in parallel, packing, and a store that grows shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mistudio.datasets.packing import Batch, Packer, Piece
from mistudio.datasets.schemas import TokenizationSettings, TokenizationStatistics
from mistudio.datasets.tables import Tokenization
from mistudio.errors import StudioError
from mistudio.models.tokenizer import ModelTokenizer
from mistudio.settings import Settings
from mistudio.store import TokenStore, TokenStoreWriter, is_finished, owner_folder

if TYPE_CHECKING:
    from tokenizers import Encoding

    from mistudio.datasets.text_store import TextStore

# Enough text to keep every core busy, little enough for a bar that moves.
BATCH_CHARACTERS = 1 << 20
# A text longer than this is encoded in pieces that begin at a line, so that memory stays bounded and all cores work.
MAX_PIECE = 1 << 20
SHARD_TOKENS = 4 << 20


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
    Raises StudioError `dataset_empty` when no sequence comes out.
    """
    packer = Packer(tokenizer, settings, max(vocab_size, tokenizer.vocab_size))
    n_rows = min(texts.n_rows, settings.max_rows or texts.n_rows)
    if is_finished(folder):
        raise StudioError("already_tokenized", "This tokenization is finished already.", status=409)
    if folder.exists() and any(folder.glob("shard-*")):
        writer = TokenStoreWriter.resume(folder)
    else:
        writer = TokenStoreWriter(
            folder,
            context=settings.context_length,
            vocab_size=max(vocab_size, tokenizer.vocab_size),
            tokenizer=name,
            settings=settings.model_dump(mode="json"),
            bos_id=packer.bos_id,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
            shard_sequences=max(1, SHARD_TOKENS // settings.context_length),
        )
    position = (0, 0)
    if writer.state is not None:
        packer.state, position = writer.state["packer"], tuple(writer.state["next"])
    try:
        for batch, encodings in encoded(read_batches(texts, column, packer, position, n_rows), tokenizer):
            packed = packer.pack(batch, encodings)
            if packed.sequences:
                writer.append(*packed, {"packer": packer.state, "next": batch.next})
            progress(batch.next[0], packer.n_tokens)
            if packer.done:
                break
        packer.finish()
    except BaseException:
        writer.suspend()
        raise
    if packer.n_sequences == 0:
        writer.suspend()
        raise StudioError(
            "dataset_empty",
            "No sequence came out: the text is shorter than one sequence, or everything was filtered out.",
            hint=f"Use a context length below {settings.context_length}, one sequence per row, or milder filters.",
        )
    writer.finish()
    return packer.statistics


def read_batches(
    texts: TextStore, column: str, packer: Packer, position: tuple[int, int], n_rows: int
) -> Iterator[Batch]:
    """Rows that the packer keeps, in batches of about `BATCH_CHARACTERS`, from (row, character) `position` on."""
    batch, size = Batch(), 0
    splits_rows = packer.settings.packing == "concatenate"
    for first, rows in texts.texts(column, position[0]):
        for row, text in enumerate(rows, first):
            if row >= n_rows:
                break
            resumed = position[1] if row == position[0] else 0
            if why := packer.refusal(text):
                batch.counts["rows_read"] += 1
                batch.dropped[why] += 1
                batch.next = (row + 1, 0)
                continue
            for piece in split_text(row, text, resumed):
                batch.pieces.append(piece)
                size += len(piece.text)
                if piece.ends:
                    batch.counts.update(rows_read=1, rows_used=1, characters=len(text))
                batch.next = (row + 1, 0) if piece.ends else (row, piece.start + len(piece.text))
                if size >= BATCH_CHARACTERS and (piece.ends or splits_rows):
                    yield batch
                    batch, size = Batch(next=batch.next), 0
        if first + len(rows) >= n_rows:
            break
    if batch.counts or batch.pieces:
        yield batch


def split_text(row: int, text: str, start: int = 0) -> Iterator[Piece]:
    """A text as one piece, or, over `MAX_PIECE` characters, as several cut before the space in front of a line."""
    while len(text) - start > MAX_PIECE:
        end = text.rfind("\n", start + MAX_PIECE // 2, start + MAX_PIECE)
        while end > start and text[end - 1].isspace():
            end -= 1
        end = end if end > start else start + MAX_PIECE
        yield Piece(row, start, text[start:end], ends=False)
        start = end
    yield Piece(row, start, text[start:], ends=True)


def encoded(batches: Iterable[Batch], tokenizer: ModelTokenizer) -> Iterator[tuple[Batch, list[Encoding]]]:
    """Each batch with its encodings; the next one is encoded while the caller works on this one."""
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as pool:
        ahead: tuple[Batch, Future[list[Encoding]]] | None = None
        for batch in batches:
            running = pool.submit(tokenizer.encode, [piece.text for piece in batch.pieces])
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = batch, running
        if ahead is not None:
            yield ahead[0], ahead[1].result()
