"""Tokenizing as a job: what comes out, killing and resuming, cancelling, several at once, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mistudio.datasets import library, tokenizations, tokenize
from mistudio.datasets.schemas import DatasetCreate, TextSource
from mistudio.datasets.text_store import TextStore
from mistudio.datasets.tokenization_schemas import TokenizationCreate, TokenizationSettings
from mistudio.datasets.tokenize import cut_before_word, open_tokens, tokenization_folder
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import JobCancelled, JobInterrupted
from mistudio.models.library import open_tokenizer
from mistudio.store import TokenStore
from tests.models.job_runs import run_here


def add_lines(settings: Any, database: Any, tmp_path: Path, name: str, rows: list[str]) -> Any:
    path = tmp_path / f"{name}.txt"
    path.write_text("".join(f"{row}\n" for row in rows))
    with database.session() as session:
        source = TextSource(path=str(path), documents="line")
        dataset, job = library.add_dataset(session, settings, DatasetCreate(source=source), any_folder=True)
    run_here(settings, database, job.id)
    with database.reading() as session:
        return library.get_dataset(session, dataset.id)


@pytest.fixture
def lines(settings: Any, database: Any, tmp_path: Path) -> Any:
    """A data set of 3,000 short rows."""
    rows = [f"row {i} says {i * i} and def test_{i}(self) -> None:" for i in range(3000)]
    return add_lines(settings, database, tmp_path, "lines", rows)


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
    monkeypatch.setattr(tokenize, "BATCH_BYTES", 5_000)
    monkeypatch.setattr(tokenize, "SHARD_TOKENS", 4_000)
    wanted: dict[str, Any] = {"context_length": 16, "overlap": 3, "metadata_columns": ["text"]}
    whole, job = make(settings, database, lines, tiny_model, **wanted)
    run_here(settings, database, job)
    broken, job = make(settings, database, lines, tiny_model, **wanted)

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
    assert (ours.folder / "kept.arrow").read_bytes() == (theirs.folder / "kept.arrow").read_bytes()
    assert get(database, broken).statistics == get(database, whole).statistics


def test_cancel_removes_and_interruption_keeps(
    settings: Any, database: Any, lines: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize, "BATCH_BYTES", 5_000)
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


def preview(settings: Any, dataset: Any, model: Any, rows: int = 10, limit: int = 3, **wanted: Any) -> Any:
    create = TokenizationCreate(model_id=model.id, settings=TokenizationSettings(**wanted))
    return tokenizations.preview_tokenization(
        settings, dataset, model, create, offset=wanted.pop("offset", 0), rows=rows, limit=limit
    )


@pytest.mark.parametrize("packing", ["concatenate", "best_fit", "one_per_row"])
def test_preview_shows_what_the_run_makes(
    settings: Any, database: Any, lines: Any, tiny_model: Any, packing: str
) -> None:
    wanted: dict[str, Any] = {
        "context_length": 64,
        "prepend_bos": True,
        "packing": packing,
        "metadata_columns": ["text"],
    }
    shown = preview(settings, lines, tiny_model, **wanted)
    key, job = make(settings, database, lines, tiny_model, **wanted, max_rows=10)
    run_here(settings, database, job)
    made = tokenizations.page_of_sequences(settings, get(database, key), offset=0, limit=3)
    assert shown.items == made.items and shown.n_sequences == made.total
    assert made.items[0].tokens[0].special
    row = made.items[0].row
    assert row == 0 or packing == "best_fit"
    assert "".join(t.text for t in made.items[0].tokens[1:]).startswith(f"row {row} says")
    assert made.items[0].metadata == {"text": f"row {row} says {row * row} and def test_{row}(self) -> None:"}
    assert [row.index for row in shown.rows] == list(range(10)) and shown.next_offset == 10


def test_preview_says_what_is_left_out(settings: Any, lines: Any, tiny_model: Any) -> None:
    shown = preview(
        settings, lines, tiny_model, context_length=16, filters={"drop_pattern": "says (1|4) "}, max_rows=10
    )
    assert [row.index for row in shown.rows if row.dropped == "rows_with_pattern"] == [1, 2]
    assert [row.tokens is None for row in shown.rows][:4] == [False, True, True, False]
    assert shown.dropped["rows_with_pattern"] == 2 and shown.next_offset is None
    with pytest.raises(StudioError, match="RE2"):
        preview(settings, lines, tiny_model, filters={"keep_pattern": "("})


def test_statistics_count_everything(settings: Any, database: Any, lines: Any, tiny_model: Any) -> None:
    filters = {"drop_pattern": "7", "min_characters": 44, "near_duplicates": True}
    key, job = make(
        settings, database, lines, tiny_model, context_length=32, packing="best_fit", filters=filters
    )
    run_here(settings, database, job)
    found, store = get(database, key).statistics, open_tokens(settings, key)
    texts = [f"row {i} says {i * i} and def test_{i}(self) -> None:" for i in range(3000)]
    short = [i for i, text in enumerate(texts) if len(text) < 44]
    seven = [i for i, text in enumerate(texts) if len(text) >= 44 and "7" in text]
    assert found["dropped"]["rows_too_short"] == len(short)
    assert found["dropped"]["rows_with_pattern"] == len(seven)
    assert found["rows_used"] + sum(n for why, n in found["dropped"].items() if why[:5] == "rows_") == 3000
    assert found["dropped_examples"]["rows_with_pattern"] == [{"row": i, "text": texts[i]} for i in seven[:5]]
    lengths, tokens = store.lengths(0, len(store)), store.tokens(0, len(store))
    real = np.concatenate([row[:n] for row, n in zip(tokens, lengths, strict=True)])
    counts = np.bincount(real, minlength=512)
    assert found["vocabulary_used"] == int((counts > 0).sum())
    most = found["most_frequent"]
    assert [one["count"] for one in most] == sorted(counts.tolist(), reverse=True)[: len(most)]
    assert all(counts[one["id"]] == one["count"] for one in most + found["least_frequent"])
    assert min(c for c in counts.tolist() if c) == found["least_frequent"][0]["count"]
    assert found["padding_tokens"] == tokens.size - len(real)
    assert found["special_tokens"] == counts[:3].sum() == counts[1]  # EOS behind each row
    assert found["text_tokens"] == len(real) - counts[1]
    assert found["sequence_lengths"]["maximum"] == lengths.max()
    assert found["sequence_lengths"]["mean"] == pytest.approx(lengths.mean())
    assert sum(found["row_lengths"]["counts"]) == found["rows_used"]
    assert found["row_lengths"]["mean"] * found["rows_used"] == pytest.approx(found["text_tokens"])


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_a_killed_run_with_near_duplicates_goes_on_as_if_nothing_had_been(
    settings: Any,
    database: Any,
    tmp_path: Path,
    tiny_model: Any,
    monkeypatch: pytest.MonkeyPatch,
    packing: Any,
) -> None:
    rows = [f"row {i - (i % 7 == 0)} of a text that says {i - (i % 7 == 0)}" for i in range(3000)]
    lines = add_lines(settings, database, tmp_path, "repeating", rows)
    monkeypatch.setattr(tokenize, "BATCH_BYTES", 5_000)
    monkeypatch.setattr(tokenize, "SHARD_TOKENS", 4_000)
    wanted: dict[str, Any] = {"context_length": 64, "packing": packing, "filters": {"near_duplicates": True}}
    whole, job = make(settings, database, lines, tiny_model, **wanted)
    run_here(settings, database, job)
    broken, job = make(settings, database, lines, tiny_model, **wanted)

    def kill(progress: dict[str, Any], asked: Any) -> None:
        if progress["done"] > 2000:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        run_here(settings, database, job, on_progress=kill)
    assert any(tokenization_folder(settings, broken).glob("shard-*"))
    run_here(settings, database, job)
    ours, theirs = open_tokens(settings, broken), open_tokens(settings, whole)
    assert np.array_equal(ours.tokens(0, len(ours)), theirs.tokens(0, len(theirs)))
    assert get(database, whole).statistics["dropped"]["rows_near_duplicate"] > 100
    assert get(database, broken).statistics == get(database, whole).statistics


def test_two_at_the_same_time_never_touch_each_other(
    settings: Any, database: Any, lines: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize, "BATCH_BYTES", 5_000)
    wants: list[dict[str, Any]] = [{"context_length": 16}, {"context_length": 24, "packing": "best_fit"}]
    alone = [make(settings, database, lines, tiny_model, **wanted) for wanted in wants]
    for _, job in alone:
        run_here(settings, database, job)
    together = [make(settings, database, lines, tiny_model, **wanted) for wanted in wants]
    meet = threading.Barrier(2, timeout=60)  # each batch of the one waits for a batch of the other
    failures: list[BaseException] = []

    def run(job: str) -> None:
        met = 0

        def wait(progress: dict[str, Any], asked: Any) -> None:
            nonlocal met
            if (met := met + 1) <= 20:
                meet.wait()

        try:
            run_here(settings, database, job, on_progress=wait)
        except BaseException as error:
            failures.append(error)
            meet.abort()

    threads = [threading.Thread(target=run, args=(job,)) for _, job in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for (one, _), (other, _) in zip(alone, together, strict=True):
        ours, theirs = open_tokens(settings, one), open_tokens(settings, other)
        assert ours.digest == theirs.digest
        assert get(database, one).statistics == get(database, other).statistics
    with database.session() as session:
        first = tokenizations.get_tokenization(session, together[0][0])
        tokenizations.delete_tokenization(session, settings, first)
    assert not tokenization_folder(settings, together[0][0]).exists()
    assert open_tokens(settings, together[1][0]).digest == open_tokens(settings, alone[1][0]).digest


def test_a_very_long_row_is_read_in_pieces_and_gives_the_same_ids(
    settings: Any, database: Any, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"Zeile {i} des Textes – naïve “words” and  spaces\n\n" for i in range(4000))
    path = tmp_path / "long.txt"
    path.write_text(text)
    with database.session() as session:
        source = TextSource(path=str(path), documents="file")
        dataset, job = library.add_dataset(session, settings, DatasetCreate(source=source), any_folder=True)
    run_here(settings, database, job.id)
    with database.reading() as session:
        dataset = library.get_dataset(session, dataset.id)
    monkeypatch.setattr(tokenize, "MAX_PIECE", 10_000)
    whole = open_tokenizer(settings, tiny_model).encode([text])[0]
    for packing in ("concatenate", "one_per_row"):
        key, job = make(settings, database, dataset, tiny_model, context_length=16, packing=packing)
        run_here(settings, database, job)
        store = open_tokens(settings, key)
        n = len(whole.ids) // 16
        assert store.tokens(0, n).ravel().tolist() == whole.ids[: n * 16]
        offsets = store.sources(0, n).offset.tolist()
        assert offsets == [whole.token_to_chars(i * 16)[0] for i in range(n)]
        assert get(database, key).statistics["row_lengths"]["maximum"] == len(whole.ids)


def test_pieces_end_before_words_and_never_within_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "MAX_PIECE", 100)
    for text in ("x" * 250, "ü" * 300, "日本 " * 100, "wörter und wörter " * 30, "a\n b" * 80):
        content, at = memoryview(text.encode()), 0
        while at < len(content):
            cut = cut_before_word(content, at, len(content))
            assert at < cut <= at + 100
            before, after = bytes(content[:cut]).decode(), bytes(content[cut:]).decode()
            if re.search(r"\S ", text) and after:
                assert after.startswith(" ") and not before[-1].isspace()
            at = cut


def test_another_column_is_read_where_it_is_asked_for(
    settings: Any, database: Any, tiny_model: Any, tmp_path: Path
) -> None:
    path = tmp_path / "two.csv"
    path.write_text("text,answer\n" + "".join(f"question {i},reply {i} \n" for i in range(50)))
    with database.session() as session:
        dataset, job = library.add_dataset(
            session,
            settings,
            DatasetCreate(source=library.file_source(str(path))),
            any_folder=True,
        )
    run_here(settings, database, job.id)
    for column, first in ((None, "question 0"), ("answer", "reply 0")):
        wanted = TokenizationCreate(
            model_id=tiny_model.id,
            text_column=column,
            settings=TokenizationSettings(context_length=32, packing="one_per_row"),
        )
        with database.session() as session:
            made, job = tokenizations.add_tokenization(session, settings, dataset.id, wanted)
        run_here(settings, database, job.id)
        page = tokenizations.page_of_sequences(settings, get(database, made.id), offset=0, limit=1)
        assert "".join(token.text for token in page.items[0].tokens).startswith(first)
        assert get(database, made.id).text_column == (column or "text")
    with database.session() as session:
        made, job = tokenizations.add_tokenization(
            session, settings, dataset.id, TokenizationCreate(model_id=tiny_model.id)
        )
        made.text_column = "gone"
    with pytest.raises(StudioError, match="no column “gone” any more"):
        run_here(settings, database, job.id)
    wrongs: list[dict[str, Any]] = [{"text_column": "none"}, {"settings": {"metadata_columns": ["none"]}}]
    for wrong in wrongs:
        with database.session() as session, pytest.raises(StudioError, match="no column “none”"):
            tokenizations.add_tokenization(
                session, settings, dataset.id, TokenizationCreate(model_id=tiny_model.id, **wrong)
            )


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


_TOKENIZE = """
import sys
from pathlib import Path
from mistudio.datasets import tokenize
from mistudio.datasets.text_store import TextStore
from mistudio.datasets.tokenization_schemas import TokenizationSettings
from mistudio.models.tokenizer import ModelTokenizer

tokenize.BATCH_BYTES, tokenize.SHARD_TOKENS = 5_000, 4_000
texts, tokenizer = TextStore(Path(sys.argv[1])), ModelTokenizer(Path(sys.argv[2]))
settings = TokenizationSettings(context_length=16, packing=sys.argv[4])
tokenize.tokenize_texts(
    texts, "text", tokenizer, settings, Path(sys.argv[3]), vocab_size=512,
    progress=lambda rows, tokens: print(rows, flush=True),
)
"""


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_one_killed_outright_goes_on_at_its_last_finished_shard(
    settings: Any, lines: Any, tiny_model: Any, tmp_path: Path, packing: str
) -> None:
    texts = library.dataset_folder(settings, lines.id)
    tokenizer = open_tokenizer(settings, tiny_model).folder

    def start(out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _TOKENIZE, str(texts), str(tokenizer), str(out), packing]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with start(tmp_path / "whole") as whole:
        rows = [int(line) for line in whole.stdout or ()]
    assert whole.returncode == 0 and rows[-1] == 3000
    with start(tmp_path / "killed") as killed:
        for line in killed.stdout or ():
            if int(line) > 1500:
                killed.kill()
                break
    shards = sorted(path.name for path in (tmp_path / "killed").glob("shard-*"))
    assert len(shards) > 2 and not (tmp_path / "killed" / "manifest.json").exists()
    with start(tmp_path / "killed") as again:
        rows = [int(line) for line in again.stdout or ()]
    assert rows[0] > 1000 and rows[-1] == 3000  # it did not begin again
    assert TokenStore(tmp_path / "killed").digest == TokenStore(tmp_path / "whole").digest
