"""The command line from a text file to cached activations, the first command a process of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import run_apart, run_here

pytestmark = pytest.mark.slow


def mistudio(
    data_dir: Path, *arguments: str, expect: int = 0, apart: bool = False
) -> subprocess.CompletedProcess[str]:
    """One command: in this process or, `apart`, in one of its own."""
    words = ["--data-dir", str(data_dir), *arguments]
    done = (run_apart if apart else run_here)(words, cwd=data_dir)
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def as_json(data_dir: Path, *arguments: str, apart: bool = False) -> Any:
    return json.loads(mistudio(data_dir, *arguments, "--json", apart=apart).stdout)


@pytest.fixture
def tables(database: Any) -> None:
    """The schema, as `mistudio db upgrade` leaves it or, before there is a migration, as the tables say."""
    from mistudio.db import Base
    from mistudio.db.migrate import upgrade

    Base.metadata.drop_all(database.engine)
    upgrade(database, Base.metadata)
    Base.metadata.create_all(database.engine)
    database.dispose()


def test_from_a_text_file_to_activations(
    data_dir: Path, tables: None, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    text = tmp_path / "speech.txt"
    text.write_text("".join(f"Fellow citizens, line {i} of many.\n" for i in range(300)))
    model = as_json(data_dir, "models", "add", str(tiny_llama_folder), "--name", "tiny", apart=True)
    assert model["name"] == "tiny" and model["job"]["state"] == "succeeded"
    dataset = as_json(data_dir, "datasets", "add", str(text), "--documents", "line")
    assert (dataset["rows"], dataset["name"]) == (300, "speech")
    found = as_json(data_dir, "datasets", "rows", "speech", "--search", "line 29*", "--limit", "3")
    assert [row["index"] for row in found] == [29, 290, 291]
    made = as_json(
        data_dir,
        "datasets",
        "tokenize",
        "speech",
        "--model",
        "tiny",
        "--context-length",
        "32",
        "--with",
        "overlap=2",
    )
    assert made["settings"]["overlap"] == 2 and made["n_sequences"] > 10
    seen = as_json(
        data_dir,
        *("datasets", "tokenizations", "preview", "speech", "--model", "tiny", "--context-length", "32"),
        *("--with", "filters.drop_pattern=line [0-2] ", "--rows", "5", "--packing", "best_fit"),
    )
    assert [row["dropped"] for row in seen["rows"]] == ["rows_with_pattern"] * 3 + [None] * 2
    page = as_json(data_dir, "datasets", "tokenizations", "sequences", "speech", made["id"], "--limit", "2")
    assert page[0]["length"] == 32 and page[0]["text"].startswith("Fellow citizens, line 0")
    cache = as_json(data_dir, "activations", "harvest", made["id"], "--hook", "blocks.1.hook_resid_post")
    assert cache["n_tokens"] > 300 and cache["job"]["state"] == "succeeded"

    used = as_json(data_dir, "datasets", "tokenizations", "uses", "speech", made["id"])
    assert [(one["kind"], one["id"]) for one in used["items"]] == [("activation cache", cache["id"])]

    used = as_json(data_dir, "models", "uses", "tiny")
    assert {one["id"] for one in used["items"]} == {made["id"], cache["id"]}
    assert as_json(data_dir, "activations", "uses", cache["id"]) == []
    again = mistudio(data_dir, "activations", "retry", cache["id"], expect=1).stderr
    assert "complete already" in again
    compose = ("datasets", "compose", "speech", "loud", "--template", "{text}!", "--keep-text")
    as_json(data_dir, *compose)
    columns = as_json(data_dir, "datasets", "columns", "speech")
    assert [(one["name"], one["text"]) for one in columns] == [("text", True), ("loud", False)]
    assert columns[1]["recipe"]["template"] == "{text}!"
    assert len(as_json(data_dir, "datasets", "columns", "speech", "--delete", "loud")) == 1

    listed = mistudio(data_dir, "datasets", "list").stdout
    assert "speech" in listed and "300" in listed
    refused = mistudio(data_dir, "models", "delete", "tiny", expect=1).stderr
    assert refused.startswith("mistudio: The model “tiny” is in use by") and refused.count("\n") == 1
    gone = as_json(data_dir, "models", "delete", "tiny", "--force")["deleted"]
    assert set(gone) == {model["id"], made["id"], cache["id"]}
    assert as_json(data_dir, "activations", "list") == []
    assert [p.name for p in (data_dir / "datasets").iterdir()] == [dataset["id"]]


def test_bad_input_is_one_line_and_leaves_nothing(data_dir: Path, tables: None, tmp_path: Path) -> None:
    latin, empty, table = tmp_path / "latin.txt", tmp_path / "empty.txt", tmp_path / "numbers.csv"
    latin.write_bytes(b"caf\xe9\n")
    empty.write_bytes(b"")
    table.write_text("a,b\n1,2\n")
    (tmp_path / "bare").mkdir()
    for arguments, says in (
        (("datasets", "add", str(tmp_path / "none.txt")), "There is nothing at"),
        (("datasets", "add", str(empty)), "is empty"),
        (("datasets", "add", str(latin)), "latin.txt is not UTF-8 text: byte 0xE9 at offset 3 (line 1)"),
        (("datasets", "add", str(table)), "no column of text. Its columns are a (int64), b (int64)"),
        (("models", "add", str(tmp_path / "bare")), "holds no model weights"),
        (("models", "add", str(tmp_path / "none.gguf")), "There is nothing at"),
        (("models", "show", "nope"), "There is no model with the id “nope”"),
    ):
        done = mistudio(data_dir, *arguments, expect=1)
        errors = [line for line in done.stderr.splitlines() if line.startswith("mistudio: ")]
        assert len(errors) == 1 and says in errors[0], done.stderr
    for arguments in (
        ("datasets", "add"),
        ("datasets", "tokenize", "x", "--model", "y", "--with", "overlap=x"),
        ("datasets", "tokenize", "x", "--model", "y", "--context-length", "1"),
        ("datasets", "rows", "x", "--limit", "0"),
    ):
        mistudio(data_dir, *arguments, expect=2)
    assert as_json(data_dir, "datasets", "list") == as_json(data_dir, "models", "list") == []
    for kind in ("datasets", "models"):
        assert not (data_dir / kind).exists() or list((data_dir / kind).iterdir()) == []
