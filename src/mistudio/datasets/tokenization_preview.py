"""What a few rows would become under some settings, before any run: quick enough to follow one's typing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mistudio.datasets.packing import Packed, Packer, Pieces
from mistudio.datasets.tokenization_schemas import (
    PreviewRow,
    SequenceOut,
    TokenizationPreview,
    TokenizationSettings,
)
from mistudio.models.tokenizer import ModelTokenizer

# Of each row and each sequence no more than one would look at.
ROW_CHARACTERS = 8_000
SHOWN_CHARACTERS = 300
SHOWN_TOKENS = 512


def preview_rows(
    rows: Sequence[dict[str, Any]],
    first: int,
    column: str,
    tokenizer: ModelTokenizer,
    settings: TokenizationSettings,
    *,
    vocab_size: int,
    limit: int,
    more: bool,
) -> TokenizationPreview:
    """Rows, the first with the number `first`, as the sequences that they would be stored as: `limit` of these.

    Near duplicates are sought among these rows only, and of long rows the beginning is read.
    Raises StudioError `bad_pattern`, `no_bos`, `no_eos`.
    """
    import pyarrow as pa

    from mistudio.datasets.encoding import open_encoder
    from mistudio.datasets.row_filters import RowFilters

    begun = time.perf_counter()
    packer = Packer(tokenizer, settings, max(vocab_size, tokenizer.vocab_size))
    filters = RowFilters(settings.filters)
    whole = [str(row.get(column) or "") for row in rows]
    texts = [text[:ROW_CHARACTERS] for text in whole]
    verdict = filters.judge(pa.array(texts, pa.large_string()))
    kept = np.flatnonzero(verdict < 0)
    pieces = Pieces(
        first + kept,
        np.zeros(len(kept), np.int64),
        np.array([len(texts[i]) for i in kept], np.int64),
        np.ones(len(kept), bool),
    )
    encoder = open_encoder(
        tokenizer,
        packer.dtype,
        special_in_text=settings.special_tokens_in_text == "parse",
        remember=False,
    )
    encoded = encoder.encode(pa.array([texts[i] for i in kept], pa.large_string()))
    parts = [packer.pack(pieces, encoded), packer.finish()]
    packed = Packed(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    n_tokens = dict(zip(kept.tolist(), np.diff(encoded.bounds).tolist(), strict=True))
    dropped = {
        **{filters.reasons[number]: int((verdict == number).sum()) for number in set(verdict[verdict >= 0])},
        **{reason: number for reason, number in packer.dropped.items() if number},
    }
    found = [
        PreviewRow(
            index=first + i,
            text=text[:SHOWN_CHARACTERS],
            characters=len(whole[i]),
            tokens=n_tokens.get(i),
            cut=len(whole[i]) > ROW_CHARACTERS,
            dropped=filters.reasons[verdict[i]] if verdict[i] >= 0 else None,
        )
        for i, text in enumerate(texts)
    ]
    items = [
        sequence_out(
            tokenizer,
            number,
            tokens[:length],
            row=int(packed.rows[number]),
            offset=int(packed.offsets[number]),
            values=rows[int(packed.rows[number]) - first],
            columns=settings.metadata_columns,
        )
        for number, (tokens, length) in enumerate(
            zip(packed.tokens[:limit], packed.lengths[:limit], strict=True)
        )
    ]
    return TokenizationPreview(
        rows=found,
        items=items,
        n_sequences=len(packed.lengths),
        dropped=dropped,
        next_offset=first + len(rows) if more else None,
        seconds=time.perf_counter() - begun,
    )


def sequence_out(
    tokenizer: ModelTokenizer,
    index: int,
    ids: Any,
    *,
    row: int,
    offset: int,
    values: dict[str, Any],
    columns: Sequence[str],
) -> SequenceOut:
    """A sequence as it crosses the API, with the values of these columns in the row in which it begins."""
    from mistudio.datasets.rows import row_out

    chosen = {name: values[name] for name in columns if name in values}
    return SequenceOut(
        index=index,
        row=row,
        offset=offset,
        length=len(ids),
        tokens=tokenizer.tokens_of(ids[:SHOWN_TOKENS].tolist()),
        metadata=row_out(row, chosen, SHOWN_CHARACTERS).values,
    )
