"""Packing and tokenizing: against a plain reading of the settings' own words."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mistudio.datasets import library, tokenizations, tokenize
from mistudio.datasets.packing import Batch, Packer
from mistudio.datasets.schemas import (
    DatasetCreate,
    TextSource,
    TokenizationCreate,
    TokenizationSettings,
)
from mistudio.datasets.text_store import TextStore
from mistudio.datasets.tokenize import open_tokens, split_text, tokenization_folder
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import JobCancelled, JobInterrupted
from mistudio.models.library import open_tokenizer
from mistudio.models.tokenizer import ModelTokenizer
from tests.models.job_runs import run_here

TEXTS = st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=60), min_size=1, max_size=12)
WINDOWS = st.fixed_dictionaries(
    {
        "context_length": st.integers(4, 24),
        "overlap": st.integers(0, 2),
        "prepend_bos": st.booleans(),
        "eos_between_rows": st.booleans(),
        "min_characters": st.integers(0, 5),
    }
)


@pytest.fixture(scope="module")
def tokenizer(tiny_llama_folder: Path) -> ModelTokenizer:
    return ModelTokenizer(tiny_llama_folder)


def pack(
    tokenizer: ModelTokenizer,
    wanted: TokenizationSettings,
    texts: list[str],
    batch_sizes: list[int] | None = None,
) -> tuple[Packer, list[list[int]], list[tuple[int, int]]]:
    """Pack texts, in batches of the given sizes, carrying the state from batch to batch as a resumed job does."""
    sequences: list[list[int]] = []
    places: list[tuple[int, int]] = []
    packer = Packer(tokenizer, wanted, 512)
    row = 0
    for size in batch_sizes or [len(texts)]:
        state = packer.state
        packer = Packer(tokenizer, wanted, 512)
        packer.state = state
        batch = Batch()
        for text in texts[row : row + size]:
            batch.counts["rows_read"] += 1
            if packer.refusal(text) is None:
                batch.pieces += split_text(row, text)
                batch.counts.update(rows_used=1, characters=len(text))
            row += 1
        packed = packer.pack(batch, tokenizer.encode([piece.text for piece in batch.pieces]))
        sequences += [sequence.tolist() for sequence in packed.sequences]
        places += zip(packed.rows, packed.offsets, strict=True)
    packer.finish()
    return packer, sequences, places


def kept(texts: list[str], least: int) -> list[str]:
    return [text for text in texts if text.strip() and len(text.strip()) >= least]


@settings(max_examples=150, deadline=None)
@given(texts=TEXTS, window=WINDOWS)
def test_concatenated_sequences_are_cut_from_one_stream(
    tokenizer: ModelTokenizer, texts: list[str], window: dict[str, Any]
) -> None:
    wanted = TokenizationSettings(**window)
    stream: list[int] = []
    for text in kept(texts, wanted.min_characters):
        stream += tokenizer.encode([text])[0].ids + ([1] if wanted.eos_between_rows else [])
    size = wanted.context_length - wanted.prepend_bos
    step = size - wanted.overlap
    bos = [0] if wanted.prepend_bos else []
    expected = [bos + stream[i : i + size] for i in range(0, len(stream) - size + 1, step)]
    packer, sequences, _ = pack(tokenizer, wanted, texts)
    assert sequences == expected
    counted = packer.statistics
    ids = [i for sequence in expected for i in sequence]
    assert packer.n_tokens == len(ids)
    assert counted.vocabulary_used == len(set(ids))
    assert counted.special_tokens == sum(i in tokenizer.special_ids for i in ids)
    assert counted.padding_tokens == 0
    assert counted.dropped.get("tokens_at_end", 0) == len(stream) - len(expected) * step
    assert counted.rows_read == len(texts)


@settings(max_examples=150, deadline=None)
@given(texts=TEXTS, window=WINDOWS, least=st.integers(1, 4), long_rows=st.sampled_from(["split", "truncate"]))
def test_one_per_row_never_spans_two_rows(
    tokenizer: ModelTokenizer, texts: list[str], window: dict[str, Any], least: int, long_rows: Any
) -> None:
    wanted = TokenizationSettings(**window, packing="one_per_row", min_tokens=least, long_rows=long_rows)
    size = wanted.context_length - wanted.prepend_bos
    bos = [0] if wanted.prepend_bos else []
    expected: list[list[int]] = []
    for text in kept(texts, wanted.min_characters):
        of_text = tokenizer.encode([text])[0].ids
        ids = of_text + ([1] if wanted.eos_between_rows else [])
        starts = range(0, max(1, len(ids) - wanted.overlap), size - wanted.overlap)
        for start in starts if long_rows == "split" else [0]:
            if len(of_text[start : start + size]) >= least:
                expected.append(bos + ids[start : start + size])
    packer, sequences, _ = pack(tokenizer, wanted, texts)
    assert sequences == expected
    assert packer.statistics.padding_tokens == sum(wanted.context_length - len(s) for s in expected)


@settings(max_examples=100, deadline=None)
@given(
    texts=TEXTS,
    window=WINDOWS,
    packing=st.sampled_from(["concatenate", "one_per_row"]),
    cuts=st.lists(st.integers(1, 5), min_size=12, max_size=12),
    limit=st.one_of(st.none(), st.integers(24, 200)),
)
def test_batches_and_resuming_change_nothing(
    tokenizer: ModelTokenizer,
    texts: list[str],
    window: dict[str, Any],
    packing: Any,
    cuts: list[int],
    limit: Any,
) -> None:
    wanted = TokenizationSettings(**window, packing=packing, max_tokens=limit)
    whole, sequences, places = pack(tokenizer, wanted, texts)
    parts, again, places_again = pack(tokenizer, wanted, texts, cuts)
    if (
        limit is not None
    ):  # a job stops at `done`; here later batches still come in and may add short sequences
        assert whole.n_tokens <= limit
        shared = min(len(sequences), len(again))
        assert sequences[:shared] == again[:shared]
        return
    assert (sequences, places) == (again, places_again)
    assert parts.statistics == whole.statistics


@settings(max_examples=100, deadline=None)
@given(texts=TEXTS, window=WINDOWS, packing=st.sampled_from(["concatenate", "one_per_row"]))
def test_each_sequence_says_where_it_begins(
    tokenizer: ModelTokenizer, texts: list[str], window: dict[str, Any], packing: Any
) -> None:
    wanted = TokenizationSettings(**window, packing=packing)
    _, sequences, places = pack(tokenizer, wanted, texts)
    for sequence, (row, offset) in zip(sequences, places, strict=True):
        first = sequence[1] if wanted.prepend_bos else sequence[0]
        shown = tokenizer.text_of(first)
        if first in tokenizer.special_ids:
            assert offset == len(texts[row]) or "<" in texts[row]
        elif "�" not in shown:
            assert texts[row].startswith(shown, offset)
        else:
            assert 0 <= offset < len(texts[row])
    assert all(a <= b for (a, _), (b, _) in pairwise(places))


def test_a_very_long_text_is_cut_before_lines_and_gives_the_same_ids(
    tokenizer: ModelTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"line {i} of the text\n\n" for i in range(2000))
    monkeypatch.setattr(tokenize, "MAX_PIECE", 1000)
    pieces = list(split_text(3, text))
    assert len(pieces) > 30
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    whole = tokenizer.encode([text])[0].ids
    assert [i for e in tokenizer.encode([p.text for p in pieces]) for i in e.ids] == whole
    for packing in ("concatenate", "one_per_row"):
        wanted = TokenizationSettings(context_length=16, packing=packing, prepend_bos=False)
        _, sequences, places = pack(tokenizer, wanted, [text])
        assert [i for s in sequences for i in s][: len(whole)] == whole[: len(sequences) * 16]
        assert all(
            text.startswith(tokenizer.text_of(s[0]), at) for s, (_, at) in zip(sequences, places, strict=True)
        )
    assert next(split_text(0, "x" * 2500)).text == "x" * 1000


def test_settings_out_of_range_are_refused() -> None:
    for wrong in (
        {"context_length": 1},
        {"context_length": 70_000},
        {"context_length": 8, "overlap": 7},
        {"max_tokens": 5},
        {"packing": "shuffled"},
        {"unknown": 1},
    ):
        with pytest.raises(ValidationError):
            TokenizationSettings.model_validate(wrong)


# As jobs


@pytest.fixture
def lines(settings: Any, database: Any, tmp_path: Path) -> Any:
    """A data set of 3,000 short rows."""
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"row {i} says {i * i} and def test_{i}(self) -> None:\n" for i in range(3000)))
    with database.session() as session:
        dataset, job = library.add_dataset(
            session,
            settings,
            DatasetCreate(source=TextSource(path=str(path), documents="line")),
            any_folder=True,
        )
    run_here(settings, database, job.id)
    with database.reading() as session:
        return library.get_dataset(session, dataset.id)


def make(settings: Any, database: Any, dataset: Any, model: Any, **wanted: Any) -> tuple[str, str]:
    name = wanted.pop("name", None)
    with database.session() as session:
        made, job = tokenizations.add_tokenization(
            session,
            settings,
            dataset.id,
            TokenizationCreate(model_id=model.id, name=name, settings=TokenizationSettings(**wanted)),
        )
        return made.id, job.id


def get(database: Any, key: str) -> Any:
    with database.reading() as session:
        return tokenizations.get_tokenization(session, key)


def test_a_tokenization_is_what_transformers_would_make(
    settings: Any, database: Any, lines: Any, tiny_model: Any, tiny_llama_folder: Path
) -> None:
    from transformers import AutoTokenizer

    key, job = make(settings, database, lines, tiny_model, context_length=32)
    _, reports = run_here(settings, database, job)
    theirs: Any = AutoTokenizer.from_pretrained(tiny_llama_folder)
    stream: list[int] = []
    for text in TextStore(library.dataset_folder(settings, lines.id)).rows(0, 5000):
        stream += [*theirs(text["text"], add_special_tokens=False).input_ids, theirs.eos_token_id]
    n = len(stream) // 32
    row, store = get(database, key), open_tokens(settings, key)
    assert np.array_equal(store.tokens(0, n), np.array(stream[: n * 32]).reshape(n, 32))
    assert (row.n_sequences, row.n_tokens) == (n, n * 32)
    assert row.statistics["rows_read"] == row.statistics["rows_used"] == 3000
    assert row.statistics["vocabulary_used"] == len(set(stream[: n * 32]))
    assert row.bytes == sum(
        p.stat().st_size for p in tokenization_folder(settings, key).rglob("*") if p.is_file()
    )
    rows = [p for p in reports.progress if p["unit"] == "rows"]
    assert rows[-1]["done"] == rows[-1]["total"] == 3000
    shown = tokenizations.page_of_sequences(settings, row, offset=n - 1, limit=5)
    assert [t.id for t in shown.items[0].tokens] == stream[(n - 1) * 32 : n * 32]
    assert shown.next_offset is None and shown.total == n


def test_a_killed_run_goes_on_at_its_last_shard(
    settings: Any, database: Any, lines: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize, "BATCH_CHARACTERS", 5_000)
    monkeypatch.setattr(tokenize, "SHARD_TOKENS", 4_000)
    whole, job = make(settings, database, lines, tiny_model, context_length=16, overlap=3)
    run_here(settings, database, job)
    broken, job = make(settings, database, lines, tiny_model, context_length=16, overlap=3)

    def kill(progress: dict[str, Any], asked: Any) -> None:
        if progress["done"] > 1500:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        run_here(settings, database, job, on_progress=kill)
    shards = sorted(p.name for p in tokenization_folder(settings, broken).glob("shard-*"))
    assert len(shards) > 2
    assert not get(database, broken).ready
    seen: list[float] = []
    _, reports = run_here(settings, database, job)
    seen = [p["done"] for p in reports.progress]
    assert seen[0] > 1000  # it did not begin again
    ours, theirs = open_tokens(settings, broken), open_tokens(settings, whole)
    assert np.array_equal(ours.tokens(0, len(ours)), theirs.tokens(0, len(theirs)))
    assert np.array_equal(ours.sources(0, len(ours)).offset, theirs.sources(0, len(theirs)).offset)
    assert get(database, broken).statistics == get(database, whole).statistics


def test_cancel_removes_and_interruption_keeps(
    settings: Any, database: Any, lines: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize, "BATCH_CHARACTERS", 5_000)
    key, job = make(settings, database, lines, tiny_model, context_length=16)
    with pytest.raises(JobInterrupted):
        run_here(
            settings, database, job, on_progress=lambda p, asked: p["done"] > 500 and asked.interrupt.set()
        )
    assert tokenization_folder(settings, key).exists()
    with pytest.raises(JobCancelled):
        run_here(settings, database, job, on_progress=lambda p, asked: asked.cancel.set())
    assert not tokenization_folder(settings, key).exists()


def test_deleting_while_it_runs_leaves_nothing(
    settings: Any, database: Any, lines: Any, tiny_model: Any
) -> None:
    key, job = make(settings, database, lines, tiny_model, context_length=16)

    def delete(progress: dict[str, Any], asked: Any) -> None:
        with database.session() as session:
            tokenizations.delete_tokenization(session, settings, tokenizations.get_tokenization(session, key))

    with pytest.raises((JobCancelled, NotFound, OSError)):
        run_here(settings, database, job, on_progress=delete)
    assert not tokenization_folder(settings, key).exists()


def test_limits_act(settings: Any, database: Any, lines: Any, tiny_model: Any) -> None:
    key, job = make(settings, database, lines, tiny_model, context_length=16, max_tokens=1000)
    _, reports = run_here(settings, database, job)
    assert get(database, key).n_tokens == 1000 // 16 * 16
    assert reports.progress[-1]["unit"] == "tokens"
    key, job = make(settings, database, lines, tiny_model, context_length=16, max_rows=10)
    run_here(settings, database, job)
    assert get(database, key).statistics["rows_read"] == 10


def test_too_little_text_is_said_and_nothing_stays(
    settings: Any, database: Any, lines: Any, tiny_model: Any
) -> None:
    key, job = make(settings, database, lines, tiny_model, context_length=256, max_rows=2)
    with pytest.raises(StudioError) as caught:
        run_here(settings, database, job)
    assert caught.value.code == "dataset_empty"
    assert not tokenization_folder(settings, key).exists()


def test_what_the_model_cannot_do_is_refused_at_once(
    settings: Any, database: Any, lines: Any, tiny_model: Any
) -> None:
    with pytest.raises(StudioError, match=r"more than tiny can read \(256\)"):
        make(settings, database, lines, tiny_model, context_length=257)
    config = open_tokenizer(settings, tiny_model).folder / "tokenizer_config.json"
    config.write_text("{}")
    (config.parent / "config.json").write_text(
        (config.parent / "config.json")
        .read_text()
        .replace('"bos_token_id"', '"x"')
        .replace('"eos_token_id"', '"y"')
    )
    from mistudio.models import tokenizer as module

    module._cached.cache_clear()
    with pytest.raises(StudioError, match="no end-of-text token"):
        make(settings, database, lines, tiny_model)
    with pytest.raises(StudioError, match="no beginning-of-text token"):
        make(settings, database, lines, tiny_model, eos_between_rows=False, prepend_bos=True)
    make(settings, database, lines, tiny_model, eos_between_rows=False)


def test_several_of_one_data_set_and_how_they_are_found(
    settings: Any, database: Any, lines: Any, tiny_model: Any
) -> None:
    first, _ = make(settings, database, lines, tiny_model, context_length=16)
    second, _ = make(settings, database, lines, tiny_model, context_length=16, name="mine")
    with database.session() as session:
        found = {
            key: tokenizations.find_tokenization(session, lines.id, key).id
            for key in (first, second, "mine", "tiny · 16", tiny_model.id, "tiny")
        }
        assert found == {
            first: first,
            second: second,
            "mine": second,
            "tiny · 16": first,
            tiny_model.id: second,
            "tiny": second,
        }
        with pytest.raises(NotFound):
            tokenizations.find_tokenization(session, lines.id, "nope")
        assert (
            library.datasets_out(session, [library.get_dataset(session, lines.id)])[0].tokenization_count == 2
        )
        tokenizations.delete_tokenization(session, settings, tokenizations.get_tokenization(session, first))
    with pytest.raises(Conflict):
        make(settings, database, lines, tiny_model, name="mine")


def test_preview_shows_what_the_run_makes(settings: Any, database: Any, lines: Any, tiny_model: Any) -> None:
    wanted = TokenizationSettings(context_length=16, prepend_bos=True)
    shown = tokenizations.preview_sequences(settings, lines, tiny_model, wanted, limit=3)
    key, job = make(settings, database, lines, tiny_model, context_length=16, prepend_bos=True)
    run_here(settings, database, job)
    made = tokenizations.page_of_sequences(settings, get(database, key), offset=0, limit=3)
    assert shown.items == made.items
    assert made.items[0].tokens[0].special
    assert "".join(t.text for t in made.items[0].tokens[1:]).startswith("row 0 says 0")


def test_who_uses_what_is_named_and_force_takes_all(
    settings: Any, database: Any, lines: Any, tiny_model: Any
) -> None:
    from mistudio.models.deletion import users_of
    from mistudio.models.library import delete_model, get_model

    key, job = make(settings, database, lines, tiny_model, context_length=16, name="for training")
    run_here(settings, database, job)
    with database.session() as session:
        assert [(u.kind, u.name) for u in users_of(session, "models", [tiny_model.id])] == [
            ("tokenization", "for training")
        ]
        with pytest.raises(Conflict) as caught:
            delete_model(session, settings, tiny_model.id)
        assert "tokenization “for training”" in caught.value.message
        assert users_of(session, "datasets", [lines.id], library.PARTS) == []
        get_model(session, tiny_model.id)
    with database.session() as session:
        gone = delete_model(session, settings, tiny_model.id, force=True)
    assert set(gone) == {("models", tiny_model.id), ("tokenizations", key)}
    assert not tokenization_folder(settings, key).exists()
    with database.reading() as session:
        library.get_dataset(session, lines.id)
        with pytest.raises(NotFound):
            tokenizations.get_tokenization(session, key)
