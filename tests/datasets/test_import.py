"""Importing files: what comes in whole, and what is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio.datasets import library
from mistudio.datasets.rows import one_row, open_rows, page_of_rows, random_row
from mistudio.datasets.schemas import (
    CsvSource,
    DatasetChange,
    DatasetCreate,
    FolderSource,
    JsonLinesSource,
    ParquetSource,
    TextSource,
)
from mistudio.datasets.tables import Dataset
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import JobCancelled
from tests.models.job_runs import run_here


class Library:
    """Adds data sets as a command does, and reads them back."""

    def __init__(self, settings: Any, database: Any) -> None:
        self.settings, self.database = settings, database
        self.reports: Any = None

    def add(self, source: Any, **more: Any) -> Dataset:
        with self.database.session() as session:
            dataset, job = library.add_dataset(
                session, self.settings, DatasetCreate(source=source, **more), any_folder=True
            )
        _, self.reports = run_here(self.settings, self.database, job.id)
        return self.get(dataset.id)

    def get(self, dataset_id: str) -> Dataset:
        with self.database.reading() as session:
            return library.get_dataset(session, dataset_id)

    def rows(self, dataset: Dataset) -> list[dict[str, Any]]:
        return open_rows(self.settings, dataset).rows(0, 10**6)

    def left_behind(self) -> list[str]:
        folder = self.settings.data_dir / "datasets"
        return [path.name for path in folder.iterdir()] if folder.exists() else []


@pytest.fixture
def there(settings: Any, database: Any) -> Library:
    return Library(settings, database)


@pytest.mark.parametrize(
    ("documents", "texts"),
    [
        ("file", ["\n \none\ntwo\n\n\n  three\n \nfour"]),
        ("line", ["one", "two", "  three", "four"]),
        ("paragraph", ["one\ntwo", "  three", "four"]),
    ],
)
def test_a_text_file_by_file_line_or_paragraph(
    there: Library, tmp_path: Path, documents: Any, texts: list[str]
) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"\xef\xbb\xbf\n \r\none\r\ntwo\n\n\n  three\n \nfour")
    dataset = there.add(TextSource(path=str(file), documents=documents))
    assert [row["text"] for row in there.rows(dataset)] == texts
    assert (dataset.name, dataset.text_column, dataset.rows) == ("notes", "text", len(texts))
    assert dataset.columns == [{"name": "text", "type": "string"}]
    folder = library.dataset_folder(there.settings, dataset.id)
    assert dataset.bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_progress_ends_at_the_size_of_the_file(there: Library, tmp_path: Path) -> None:
    file = tmp_path / "many.txt"
    file.write_text("ein Satz mit Ünicode\n" * 5000)
    there.add(TextSource(path=str(file), documents="line"))
    read = [p for p in there.reports.progress if p["stage"] == "Read"]
    assert len(read) > 2
    assert read[-1]["done"] == read[-1]["total"] == file.stat().st_size
    assert [p["done"] for p in read] == sorted(p["done"] for p in read)


def test_jsonl_with_columns_that_come_late_and_change(there: Library, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": f"row {i}", "n": i} for i in range(5000)]
    rows.append({"text": "wide", "n": 0.5, "tags": ["a", "b"]})
    rows.append({"text": "odd", "n": "three", "extra": {"deep": 1}})
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    dataset = there.add(JsonLinesSource(path=str(file)), text_column="text")
    found = there.rows(dataset)
    assert dataset.rows == 5002
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    assert (found[7]["n"], found[5000]["n"], found[5001]["n"]) == ("7", "0.5", "three")
    assert found[0]["tags"] is None and json.loads(json.dumps(found[5000]["tags"])) == ["a", "b"]


def test_jsonl_replaces_half_surrogates_and_says_so(
    there: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "ok \\ud83e\\udd8a"}\n{"text": "half \\ud83e"}\n')
    dataset = there.add(JsonLinesSource(path=str(file)))
    assert [row["text"] for row in there.rows(dataset)] == ["ok 🦊", "half �"]
    assert "1 rows held half a surrogate" in caplog.text


def test_csv_types_come_from_all_rows(there: Library, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text(
        'year,share,zip,text\n1790,0.5,01234,"a, ""quoted""\ntwo-line"\n,2,99,plain\n1999,1e-3,5,ünï\n'
    )
    dataset = there.add(CsvSource(path=str(file)), text_column="text")
    assert {c["name"]: c["type"] for c in dataset.columns} == {
        "year": "int64",
        "share": "double",
        "zip": "string",
        "text": "string",
    }
    assert there.rows(dataset) == [
        {"year": 1790, "share": 0.5, "zip": "01234", "text": 'a, "quoted"\ntwo-line'},
        {"year": None, "share": 2.0, "zip": "99", "text": "plain"},
        {"year": 1999, "share": 0.001, "zip": "5", "text": "ünï"},
    ]


def test_tsv_by_its_ending(there: Library, tmp_path: Path) -> None:
    file = tmp_path / "table.tsv"
    file.write_text("id\ttext\n1\ta, b\n")
    dataset = there.add(library.file_source(str(file)))
    assert there.rows(dataset) == [{"id": 1, "text": "a, b"}]


def test_parquet_keeps_its_types(there: Library, tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    table = pa.table(
        {
            "body": pa.array(["a", None, "c"]).dictionary_encode(),
            "score": pa.array([1.5, float("nan"), 3]),
            "tags": [["x"], [], ["y", "z"]],
            "raw": [b"\x00\xff", b"", None],
        }
    )
    pq.write_table(table, file)
    dataset = there.add(ParquetSource(path=str(file)))
    assert dataset.text_column == "body"
    page = page_of_rows(open_rows(there.settings, dataset), "body", offset=0, limit=5)
    assert [row.values["body"] for row in page.items] == ["a", None, "c"]
    assert page.items[1].values["score"] == "nan"
    assert page.items[0].values["raw"] == "AP8="
    json.loads(page.model_dump_json())


def test_a_folder_of_files_with_columns_from_their_names(there: Library, tmp_path: Path) -> None:
    folder = tmp_path / "speeches"
    folder.mkdir()
    (folder / "1790_george_washington_n.txt").write_text("Fellow citizens")
    (folder / "1801_thomas_jefferson_dr.txt").write_text("It is a circumstance")
    (folder / "README.md").write_text("not one of them")
    source = FolderSource(path=str(folder), name_pattern=r"(?P<year>\d+)_(?P<president>.+)_(?P<party>[a-z]+)")
    dataset = there.add(source)
    assert there.rows(dataset)[1] == {
        "file": "1801_thomas_jefferson_dr.txt",
        "year": 1801,
        "president": "thomas_jefferson",
        "party": "dr",
        "text": "It is a circumstance",
    }
    for pattern, says in (
        (r"(?P<year>\d+", "not a regular expression"),
        (r"\d+_.*", "no groups"),
        (r"(?P<text>.*)", "may not call a group"),
        (r"(?P<year>\d{5})_.*", "does not match the file 1790_george_washington_n.txt"),
    ):
        with pytest.raises(StudioError, match=says):
            there.add(source.model_copy(update={"name_pattern": pattern}))
    with pytest.raises(StudioError, match="No file"):
        there.add(source.model_copy(update={"pattern": "*.pdf"}))


def test_only_the_first_rows(there: Library, tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("".join(f"{i}\n" for i in range(7000)))
    dataset = there.add(TextSource(path=str(file), documents="line", max_rows=2500))
    assert dataset.rows == 2500
    assert there.rows(dataset)[-1]["text"] == "2499"


def _bytes_file(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "code", "says"),
    [
        ("a.txt", b"fine\nno\xe9 \n", "not_utf8", "byte 0xE9 at offset 7 (line 2)"),
        ("a.txt", b"x\n" * 3_000_000 + b"\xff", "not_utf8", "offset 6,000,000 (line 3,000,001)"),
        ("a.txt", b"ends in half a character \xe2\x82", "not_utf8", "offset 25 (line 1)"),
        ("a.txt", "utf sixteen".encode("utf-16"), "not_utf8", "offset 0"),
        ("a.txt", "utf sixteen".encode("utf-16-le"), "not_utf8", "zero byte at offset 1"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b\xff"}\n', "not_utf8", "offset 25 (line 2)"),
        ("a.csv", b"text\nb\xff\n", "not_utf8", "offset 6 (line 2)"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"', "broken_file", "line 2 is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', "broken_file", "line 2 is not a JSON object but a list"),
        ("a.jsonl", b'{"text": ' + b"[" * 100_000, "broken_file", "line 1 is not JSON"),
        ("a.csv", b"a,text\n1,x\n1,2,3\n", "broken_file", "Expected 2 columns, got 3"),
        ("a.csv", b"text,text\n1,x\n", "broken_file", "“text” twice"),
        ("a.parquet", b"PAR1 this is not parquet", "broken_file", "not a whole Parquet file"),
        ("a.txt", b"\n \n\t\n", "dataset_empty", "no rows"),
        ("a.jsonl", b"\n\n", "dataset_empty", "no rows"),
        ("a.csv", b"text\n", "dataset_empty", "no rows"),
        ("a.csv", b"n,m\n1,2\n", "no_text_column", "no column of text"),
        ("a.csv", b"title,body\nx,y\n", "no_text_column", "several columns of text"),
        ("a.jsonl", b'{"n": 1}\n', "no_text_column", "no column of text"),
        ("a.jsonl", b"{}\n", "dataset_empty", "no rows"),
    ],
)
def test_bad_files_are_refused_with_their_place(
    there: Library, tmp_path: Path, name: str, content: bytes, code: str, says: str
) -> None:
    path = _bytes_file(tmp_path, name, content)
    with pytest.raises(StudioError) as caught:
        there.add(library.file_source(str(path)))
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.hint
    assert there.left_behind() == []


def test_columns_are_named_when_none_is_text(there: Library, tmp_path: Path) -> None:
    path = _bytes_file(tmp_path, "a.csv", b"n,title,body\n1,x,y\n")
    with pytest.raises(StudioError) as caught:
        there.add(library.file_source(str(path)))
    assert "n (int64)" in str(caught.value.hint)
    assert "title (string)" in str(caught.value.hint)
    with pytest.raises(StudioError, match="no column “nope”"):
        there.add(library.file_source(str(path)), text_column="nope")
    with pytest.raises(StudioError, match="holds no text but int64"):
        there.add(library.file_source(str(path)), text_column="n")
    assert there.add(library.file_source(str(path)), text_column="body").text_column == "body"


def test_a_truncated_parquet_file_is_refused(there: Library, tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"text": ["some text"] * 10_000}), whole)
    torn = _bytes_file(tmp_path, "torn.parquet", whole.read_bytes()[:-50])
    with pytest.raises(StudioError, match=r"torn\.parquet"):
        there.add(ParquetSource(path=str(torn)))
    latin = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"caf\xe9")]
    )
    wrong = tmp_path / "latin.parquet"
    pq.write_table(pa.table({"text": latin}), wrong)
    with pytest.raises(StudioError, match="strings that are not UTF-8, between rows 0 and 1"):
        there.add(ParquetSource(path=str(wrong)))
    assert there.left_behind() == []


def test_missing_empty_and_unknown_files_are_refused_at_once(there: Library, tmp_path: Path) -> None:
    empty = _bytes_file(tmp_path, "empty.txt", b"")
    for path, code in (
        (tmp_path / "none.txt", "path_not_found"),
        (empty, "file_empty"),
        (tmp_path, "not_a_file"),
    ):
        with pytest.raises(StudioError) as caught:
            there.add(TextSource(path=str(path)))
        assert caught.value.code == code
    with pytest.raises(StudioError, match="does not tell its format"):
        library.file_source("song.mp3")
    with there.database.reading() as session:
        assert session.query(Dataset).count() == 0


def test_a_file_that_vanished_before_its_job_ran(there: Library, settings: Any, tmp_path: Path) -> None:
    path = _bytes_file(tmp_path, "a.txt", b"text")
    with there.database.session() as session:
        _, job = library.add_dataset(
            session, settings, DatasetCreate(source=TextSource(path=str(path))), any_folder=True
        )
    path.unlink()
    with pytest.raises(StudioError, match="nothing at"):
        run_here(settings, there.database, job.id)


def test_a_full_disk_is_said_and_nothing_stays(
    there: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from mistudio.datasets import text_store
    from mistudio.store import DiskFull

    real = pa.ipc.new_file

    class Full:
        """An Arrow file on a disk that has room for nothing."""

        def __init__(self, path: str, schema: pa.Schema) -> None:
            self.inner = real(path, schema)

        def write_batch(self, batch: pa.RecordBatch) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            self.inner.close()

    monkeypatch.setattr(text_store.pa.ipc, "new_file", Full)
    path = _bytes_file(tmp_path, "a.txt", b"text\n")
    with pytest.raises(DiskFull) as caught:
        there.add(TextSource(path=str(path)))
    assert "disk is full" in caught.value.message
    assert there.left_behind() == []


def test_cancelling_leaves_nothing(there: Library, settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("line\n" * 20_000)
    with there.database.session() as session:
        dataset, job = library.add_dataset(
            session,
            settings,
            DatasetCreate(source=TextSource(path=str(path), documents="line")),
            any_folder=True,
        )

    def cancel(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Read" and progress["done"] > 0:
            asked.cancel.set()

    with pytest.raises(JobCancelled):
        run_here(settings, there.database, job.id, on_progress=cancel)
    assert there.left_behind() == []
    assert not there.get(dataset.id).ready


def test_deleting_while_importing_leaves_nothing(there: Library, settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("line\n" * 20_000)
    with there.database.session() as session:
        dataset, job = library.add_dataset(
            session,
            settings,
            DatasetCreate(source=TextSource(path=str(path), documents="line")),
            any_folder=True,
        )

    def delete(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Read" and progress["done"] == progress["total"]:
            with there.database.session() as session:
                if session.get(Dataset, dataset.id):
                    library.delete_dataset(session, settings, dataset.id)

    with pytest.raises(JobCancelled):
        run_here(settings, there.database, job.id, on_progress=delete)
    assert there.left_behind() == []
    with pytest.raises(NotFound):
        there.get(dataset.id)


def test_an_upload_is_used_once_and_never_kept(there: Library, settings: Any, database: Any) -> None:
    import io

    def upload(content: bytes, name: str) -> tuple[str, str]:
        stored = library.receive_upload(settings, io.BytesIO(content), name)
        with database.session() as session:
            dataset, job = library.add_upload(session, settings, stored, library.file_source(stored.name))
            return dataset.id, job.id

    uploads = settings.data_dir / "uploads"
    good, job = upload(b"text\nhello\n", "../../etc/pass wd.csv")
    assert [path.name for path in uploads.iterdir()] == [good]
    run_here(settings, database, job)
    assert there.rows(there.get(good)) == [{"text": "hello"}]
    assert there.get(good).name == "pass wd"
    _, job = upload(b"\xff\xfe", "bad.txt")
    with pytest.raises(StudioError):
        run_here(settings, database, job)
    assert list(uploads.iterdir()) == []
    with pytest.raises(StudioError, match="Upload the file again"):
        run_here(settings, database, job)
    queued, _ = upload(b"never imported", "waiting.txt")
    with database.session() as session:
        library.delete_dataset(session, settings, queued)
    assert list(uploads.iterdir()) == []
    with pytest.raises(StudioError) as caught:
        library.receive_upload(settings, io.BytesIO(b""), "none.txt")
    assert caught.value.code == "file_empty"
    small = settings.model_copy(update={"max_upload_bytes": 1000})
    with pytest.raises(StudioError) as caught:
        library.receive_upload(small, io.BytesIO(b"x" * 1001), "big.txt")
    assert caught.value.status == 413
    assert list(uploads.iterdir()) == []


def test_rows_are_paged_searched_and_cut(there: Library, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    lines = [f"line {i}" + (" needle" if i % 1000 == 7 else "") for i in range(5000)]
    lines[4321] = "x" * 5000 + "NEEDLE" + "y" * 5000
    path.write_text("\n".join(lines))
    dataset = there.add(TextSource(path=str(path), documents="line"))
    store = open_rows(there.settings, dataset)
    page = page_of_rows(store, "text", offset=1995, limit=10)
    assert [row.index for row in page.items] == list(range(1995, 2005))
    assert [row.values["text"] for row in page.items] == lines[1995:2005]
    assert (page.total, page.next_offset) == (5000, 2005)
    assert page_of_rows(store, "text", offset=4995, limit=10).next_offset is None
    assert page_of_rows(store, "text", offset=9999, limit=10).items == []

    found = page_of_rows(store, "text", offset=0, limit=3, q="needle", mode="text")
    assert ([row.index for row in found.items], found.total) == ([7, 1007, 2007], None)
    rest = page_of_rows(
        store, "text", offset=found.next_offset or 0, limit=3, q="needle", mode="text", characters=500
    )
    assert [row.index for row in rest.items] == [3007, 4007, 4321]
    assert rest.next_offset is None
    cut = rest.items[2]
    assert cut.cut["text"].length == 10_006 and len(cut.values["text"]) == 500
    assert cut.values["text"][5000 - cut.cut["text"].start :].startswith("NEEDLE")
    assert page_of_rows(store, "text", offset=0, limit=9, q="needle", mode="text").total == 6
    assert page_of_rows(store, "text", offset=0, limit=9, q="a.*b[", mode="text").total == 0

    assert one_row(store, 4321).values["text"] == lines[4321]
    assert random_row(store).index in range(5000)
    with pytest.raises(StudioError, match="rows are 0 to 4,999"):
        one_row(store, 5000)


def test_renaming_and_choosing_the_text_column(there: Library, database: Any, tmp_path: Path) -> None:
    path = _bytes_file(tmp_path, "a.csv", b"title,body\nx,y\n")
    dataset = there.add(library.file_source(str(path)), text_column="title")
    with database.session() as session:
        changed = library.change_dataset(
            session, dataset.id, DatasetChange(name="renamed", text_column="body")
        )
        assert (changed.name, changed.text_column) == ("renamed", "body")
        with pytest.raises(StudioError, match="no column"):
            library.change_dataset(session, dataset.id, DatasetChange(text_column="nope"))
    other = there.add(library.file_source(str(path)), text_column="title")
    with database.session() as session, pytest.raises(Conflict):
        library.change_dataset(session, other.id, DatasetChange(name="renamed"))


def test_a_torn_shard_is_noticed_and_named(there: Library, tmp_path: Path) -> None:
    from mistudio.store import TornFile

    path = _bytes_file(tmp_path, "a.txt", b"text\n")
    dataset = there.add(TextSource(path=str(path)))
    shard = next(library.dataset_folder(there.settings, dataset.id).glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(TornFile, match=shard.name):
        open_rows(there.settings, dataset)
