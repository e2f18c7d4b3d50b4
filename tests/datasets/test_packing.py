"""Packing: against a plain reading of the settings' own words."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mistudio.datasets.encoding import open_encoder
from mistudio.datasets.packing import Packed, Packer, Pieces
from mistudio.datasets.tokenization_schemas import TokenizationSettings
from mistudio.models.tokenizer import ModelTokenizer

TEXTS = st.lists(
    st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=60), min_size=1, max_size=12
)
WINDOWS = st.fixed_dictionaries(
    {
        "context_length": st.integers(4, 24),
        "overlap": st.integers(0, 2),
        "prepend_bos": st.booleans(),
        "eos_between_rows": st.booleans(),
    }
)
PACKINGS = st.sampled_from(["concatenate", "best_fit", "one_per_row"])
BOS, EOS, PAD = 0, 1, 2


@pytest.fixture(scope="module")
def tokenizer(tiny_llama_folder: Path) -> ModelTokenizer:
    return ModelTokenizer(tiny_llama_folder)


class Run:
    """Texts packed, in batches of the given sizes, the state carried from batch to batch as a resumed job does."""

    def __init__(
        self,
        tokenizer: ModelTokenizer,
        wanted: TokenizationSettings,
        texts: list[str],
        batch_sizes: list[int] | None = None,
    ) -> None:
        self.sequences: list[list[int]] = []
        self.places: list[tuple[int, int]] = []
        self.dropped: Counter[str] = Counter()
        self.wanted = wanted
        encoder = open_encoder(tokenizer, np.dtype(np.uint16))
        self.packer = Packer(tokenizer, wanted, 512)
        row = 0
        for size in batch_sizes or [len(texts)]:
            state = self.packer.state
            self.packer = Packer(tokenizer, wanted, 512)
            self.packer.state = state
            part = texts[row : row + size]
            pieces = Pieces(
                np.arange(row, row + len(part)),
                np.zeros(len(part), np.int64),
                np.array([len(text) for text in part], np.int64),
                np.ones(len(part), bool),
            )
            self._take(self.packer.pack(pieces, encoder.encode(pa.array(part, pa.large_string()))))
            row += len(part)
        self._take(self.packer.finish())
        self.dropped = Counter({why: n for why, n in self.packer.dropped.items() if n})

    def _take(self, packed: Packed) -> None:
        for tokens, length in zip(packed.tokens, packed.lengths, strict=True):
            assert tokens.shape == (self.wanted.context_length,)
            assert (tokens[length:] == PAD).all()
            self.sequences.append(tokens[:length].tolist())
        self.places += zip(packed.rows.tolist(), packed.offsets.tolist(), strict=True)


def ids_of(tokenizer: ModelTokenizer, wanted: TokenizationSettings, text: str) -> list[int]:
    return tokenizer.encode([text])[0].ids + ([EOS] if wanted.eos_between_rows else [])


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(texts=TEXTS, window=WINDOWS, padding=st.sampled_from(["auto", "pad", "drop"]))
def test_concatenated_sequences_are_cut_from_one_stream(
    tokenizer: ModelTokenizer, texts: list[str], window: dict[str, Any], padding: Any
) -> None:
    wanted = TokenizationSettings(**window, padding=padding)
    stream = [id for text in texts for id in ids_of(tokenizer, wanted, text)]
    size = wanted.context_length - wanted.prepend_bos
    step = size - wanted.overlap
    bos = [BOS] if wanted.prepend_bos else []
    expected = [bos + stream[i : i + size] for i in range(0, len(stream) - size + 1, step)]
    rest = stream[len(expected) * step :]
    run = Run(tokenizer, wanted, texts)
    if padding == "pad":
        if len(rest) > (wanted.overlap if expected else 0):
            expected.append(bos + rest)
        assert not run.dropped
    else:
        assert run.dropped["tokens_at_end"] == len(rest)
    assert run.sequences == expected
    assert run.packer.n_tokens == sum(map(len, expected))


def parts_of(tokenizer: ModelTokenizer, wanted: TokenizationSettings, text: str) -> list[list[int]]:
    """A row cut into parts of at most a window, those with too few tokens left out."""
    ids = ids_of(tokenizer, wanted, text)
    n_text = len(ids) - wanted.eos_between_rows
    size = wanted.context_length - bool(wanted.prepend_bos)
    if wanted.long_rows == "truncate":
        starts = [max(0, len(ids) - size) if wanted.truncation_side == "left" else 0]
    else:
        starts = list(range(0, max(1, len(ids) - wanted.overlap), size - wanted.overlap))
    return [
        ids[start : start + size]
        for start in starts
        if len(ids[start : min(start + size, n_text)]) >= wanted.min_tokens
    ]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    texts=TEXTS,
    window=WINDOWS,
    least=st.integers(1, 4),
    long_rows=st.sampled_from(["split", "truncate"]),
    side=st.sampled_from(["left", "right"]),
    padding=st.sampled_from(["auto", "drop"]),
)
def test_one_per_row_never_spans_two_rows(
    tokenizer: ModelTokenizer,
    texts: list[str],
    window: dict[str, Any],
    least: int,
    long_rows: Any,
    side: Any,
    padding: Any,
) -> None:
    wanted = TokenizationSettings(
        **window,
        packing="one_per_row",
        min_tokens=least,
        long_rows=long_rows,
        truncation_side=side,
        padding=padding,
    )
    bos = [BOS] if wanted.prepend_bos else []
    expected = [bos + part for text in texts for part in parts_of(tokenizer, wanted, text)]
    run = Run(tokenizer, wanted, texts)
    if padding == "drop":
        full = [sequence for sequence in expected if len(sequence) == wanted.context_length]
        assert run.dropped["sequences_unfilled"] == len(expected) - len(full)
        expected = full
    assert run.sequences == expected
    every = [parts_of(tokenizer, wanted.model_copy(update={"min_tokens": 1}), text) for text in texts]
    assert run.dropped["sequences_too_short"] == sum(map(len, every)) - (
        len(expected) if padding == "auto" else run.dropped["sequences_unfilled"] + len(expected)
    )
    if long_rows == "truncate":
        size = wanted.context_length - bool(wanted.prepend_bos)
        assert run.dropped["rows_truncated"] == sum(len(ids_of(tokenizer, wanted, t)) > size for t in texts)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(texts=TEXTS, window=WINDOWS)
def test_best_fit_keeps_every_part_whole_and_fills_better_than_one_per_row(
    tokenizer: ModelTokenizer, texts: list[str], window: dict[str, Any]
) -> None:
    wanted = TokenizationSettings(**window, packing="best_fit")
    parts = [part for text in texts for part in parts_of(tokenizer, wanted, text)]
    run = Run(tokenizer, wanted, texts)
    bos = [BOS] if wanted.prepend_bos else []
    assert all(sequence[: len(bos)] == bos for sequence in run.sequences)
    bodies = [sequence[len(bos) :] for sequence in run.sequences]
    assert Counter(id for body in bodies for id in body) == Counter(id for part in parts for id in part)
    for part in parts:  # whole, and in one sequence
        text = str(part)[1:-1]
        assert any(f", {text}, " in f", {str(body)[1:-1]}, " for body in bodies)
    assert len(run.sequences) <= len(parts)
    # No two sequences would fit into one: what best fit promises while it keeps all of them open.
    size = wanted.context_length - len(bos)
    sizes = sorted(map(len, bodies))
    assert len(sizes) < 2 or sizes[0] + sizes[1] > size


def test_best_fit_closes_the_fullest_of_too_many(
    tokenizer: ModelTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistudio.datasets.packing._OPEN_TOKENS", 1)  # so that 16 are kept open
    wanted = TokenizationSettings(context_length=64, packing="best_fit", prepend_bos=False)
    run = Run(tokenizer, wanted, ["x" * (33 + i % 20) for i in range(60)])
    lengths = [len(sequence) for sequence in run.sequences]
    assert len(lengths) > 20 and max(lengths) <= 64
    assert Counter(map(len, run.sequences[-16:])).total() == 16


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    texts=TEXTS,
    window=WINDOWS,
    packing=PACKINGS,
    padding=st.sampled_from(["auto", "pad", "drop"]),
    cuts=st.lists(st.integers(1, 5), min_size=12, max_size=12),
    limit=st.one_of(st.none(), st.integers(24, 200)),
)
def test_batches_and_resuming_change_nothing(
    tokenizer: ModelTokenizer,
    texts: list[str],
    window: dict[str, Any],
    packing: Any,
    padding: Any,
    cuts: list[int],
    limit: Any,
) -> None:
    wanted = TokenizationSettings(**window, packing=packing, padding=padding, max_tokens=limit)
    whole, parts = Run(tokenizer, wanted, texts), Run(tokenizer, wanted, texts, cuts)
    if (
        limit is not None
    ):  # a job stops at `done`; here later batches still come in and may add short sequences
        assert whole.packer.n_tokens <= limit
        shared = min(len(whole.sequences), len(parts.sequences))
        assert whole.sequences[:shared] == parts.sequences[:shared]
        return
    assert (whole.sequences, whole.places) == (parts.sequences, parts.places)
    assert whole.dropped == parts.dropped


@settings(max_examples=100, deadline=None)
@given(texts=TEXTS, window=WINDOWS, packing=PACKINGS)
def test_each_sequence_says_where_it_begins(
    tokenizer: ModelTokenizer, texts: list[str], window: dict[str, Any], packing: Any
) -> None:
    wanted = TokenizationSettings(**window, packing=packing)
    run = Run(tokenizer, wanted, texts)
    for sequence, (row, offset) in zip(run.sequences, run.places, strict=True):
        first = sequence[1] if wanted.prepend_bos else sequence[0]
        shown = tokenizer.text_of(first)
        if first in tokenizer.special_ids:
            assert offset == len(texts[row]) or "<" in texts[row]
        elif "�" not in shown:
            assert texts[row].startswith(shown, offset)
        else:
            assert 0 <= offset < len(texts[row])
    if packing != "best_fit":
        assert all(a <= b for (a, _), (b, _) in pairwise(run.places))


def test_settings_out_of_range_are_refused() -> None:
    for wrong in (
        {"context_length": 1},
        {"context_length": 70_000},
        {"context_length": 8, "overlap": 7},
        {"max_tokens": 5},
        {"packing": "shuffled"},
        {"padding": "left"},
        {"unknown": 1},
        {"filters": {"unknown": 1}},
        {"filters": {"max_special_share": 2}},
    ):
        with pytest.raises(ValidationError):
            TokenizationSettings.model_validate(wrong)
