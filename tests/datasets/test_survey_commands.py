"""Rows, statistics and search index by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.test_commands import as_json, mistudio, tables

__all__ = ["tables"]
pytestmark = pytest.mark.slow


def test_rows_statistics_and_index(data_dir: Path, tables: None, tmp_path: Path) -> None:
    text = tmp_path / "speech.txt"
    text.write_text("".join(f"Fellow citizens, line {i} of many.\n" for i in range(300)))
    as_json(data_dir, "datasets", "add", str(text), "--documents", "line")

    found = as_json(data_dir, "datasets", "statistics", "speech")
    assert found["rows"] == 300 and found["words"]["total"] == 1_800 and found["duplicates"]["rows"] == 0
    shown = mistudio(data_dir, "datasets", "statistics", "speech").stdout
    assert "exact duplicates" in shown and "1,800" in shown

    assert (
        "Without a search index" in mistudio(data_dir, "datasets", "rows", "speech", "-q", "line 29").stderr
    )
    index = as_json(data_dir, "datasets", "index", "speech")
    assert index["ready"] and index["bytes"] > 0
    exact = as_json(data_dir, "datasets", "rows", "speech", "-q", "line 29")
    assert [row["index"] for row in exact] == [29]
    begun = as_json(data_dir, "datasets", "rows", "speech", "-q", '"line 29"*', "--limit", "20")
    assert [row["index"] for row in begun] == [29, *range(290, 300)]
    pattern = as_json(data_dir, "datasets", "rows", "speech", "-q", r"line 1\d7 ", "--mode", "regex")
    assert len(pattern) == 10
    assert as_json(data_dir, "datasets", "rows", "speech", "--row", "7")["values"]["text"].startswith(
        "Fellow"
    )
    assert 0 <= as_json(data_dir, "datasets", "rows", "speech", "--random")["index"] < 300
    refused = mistudio(data_dir, "datasets", "rows", "speech", "-q", '"open', expect=1).stderr
    assert "never closed" in refused and refused.count("\n") <= 2
    assert not as_json(data_dir, "datasets", "index", "speech", "--remove")["ready"]
