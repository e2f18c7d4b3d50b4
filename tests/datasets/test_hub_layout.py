"""Which files are which split: our rules beside those of the `datasets` library, on the same repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.datasets.hub_layout import (
    card_metadata,
    card_text,
    default_configuration,
    glob,
    layout,
    rows_by_card,
)

SHARDS = [
    "data/train-00000-of-00002.parquet",
    "data/train-00001-of-00002.parquet",
    "data/odd-00000-of-00001.parquet",
]
REPOSITORIES: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "shards": (SHARDS, {"train": SHARDS[:2], "odd": SHARDS[2:]}),
    "folders": (
        ["train/a.jsonl", "dev/b.jsonl", "README.md"],
        {"train": ["train/a.jsonl"], "validation": ["dev/b.jsonl"]},
    ),
    "file names": (
        ["my_train_set.csv", "my-test.csv", "valid.csv"],
        {"train": ["my_train_set.csv"], "test": ["my-test.csv"], "validation": ["valid.csv"]},
    ),
    "one file": (["stories.txt"], {"train": ["stories.txt"]}),
    "nested": (["en/2020/x.jsonl", "en/2021/y.jsonl"], {"train": ["en/2020/x.jsonl", "en/2021/y.jsonl"]}),
    "no word": (["training.csv", "trainer.csv"], {"train": ["training.csv"]}),
}


@pytest.mark.parametrize("name", REPOSITORIES)
def test_splits_are_told_by_names(name: str) -> None:
    files, expected = REPOSITORIES[name]
    assert layout(files, {}) == {"default": expected}


@pytest.mark.slow
@pytest.mark.parametrize("name", REPOSITORIES)
def test_the_datasets_library_sees_the_same(tmp_path: Path, name: str) -> None:
    from datasets.data_files import DataFilesDict, get_data_patterns, sanitize_patterns

    files, _ = REPOSITORIES[name]
    for file in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    patterns: Any = sanitize_patterns(get_data_patterns(str(tmp_path)))
    found = DataFilesDict.from_patterns(patterns, base_path=str(tmp_path))
    theirs = {
        str(split): sorted(Path(path).relative_to(tmp_path).as_posix() for path in paths)
        for split, paths in found.items()
    }
    ours = {split: sorted(paths) for split, paths in layout(files, {})["default"].items()}
    assert ours == theirs


def test_the_card_says_configurations() -> None:
    files = ["en/train.jsonl.gz", "en/test.jsonl.gz", "de/train.jsonl.gz", "de/extra/x.jsonl.gz", "all.csv"]
    card: dict[str, Any] = {
        "configs": [
            {
                "config_name": "en",
                "default": True,
                "data_files": [
                    {"split": "train", "path": "en/train*"},
                    {"split": "test", "path": ["en/test.jsonl.gz"]},
                ],
            },
            {"config_name": "de", "data_dir": "de"},
            {"config_name": "csv", "data_files": "*.csv"},
            {"config_name": "none", "data_files": "nothing/*"},
        ]
    }
    found = layout(files, card)
    assert found == {
        "en": {"train": ["en/train.jsonl.gz"], "test": ["en/test.jsonl.gz"]},
        "de": {"train": ["de/train.jsonl.gz"]},
        "csv": {"train": ["all.csv"]},
    }
    assert default_configuration(found, card) == "en"
    assert default_configuration({"a": {}, "b": {}}, {}) is None
    assert default_configuration({"a": {}, "default": {}}, {}) == "default"


def test_converted_repositories_have_their_configurations_in_folders() -> None:
    files = ["en/train/0000.parquet", "en/train/0001.parquet", "de/partial-train/0000.parquet"]
    assert layout(files, {}) == {
        "en": {"train": files[:2]},
        "de": {"train": files[2:]},
    }


def test_a_card_is_read_and_shown_apart() -> None:
    card = "---\r\nlicense: mit\r\nlanguage: [en, de]\r\n---\r\n# Title\r\n---\r\nbody"
    assert card_metadata(card) == {"license": "mit", "language": ["en", "de"]}
    assert card_text(card) == "# Title\n---\nbody"
    for broken in ("", "# no block", "---\n: : :\n---\n", "---\n- a list\n---\n", "---\nnever closed"):
        assert card_metadata(broken) == {}
    info = {"dataset_info": [{"config_name": "a", "splits": [{"name": "train", "num_examples": 7}]}, None]}
    assert rows_by_card(info) == {("a", "train"): 7}
    assert rows_by_card({"dataset_info": {"splits": [{"name": "x", "num_examples": 1}, 3]}}) == {
        ("default", "x"): 1
    }


@pytest.mark.parametrize(
    ("pattern", "fits", "not_"),
    [
        ("data/*.csv", ["data/a.csv"], ["data/b/a.csv", "data/a.csvx"]),
        ("**/*.csv", ["a.csv", "x/y/a.csv"], ["a.csv/b"]),
        ("**", ["a", "a/b"], []),
        ("f[0-2].{csv,tsv}", ["f1.csv", "f0.tsv"], ["f3.csv", "f1.txt"]),
        ("f[!a].txt", ["fb.txt"], ["fa.txt"]),
        ("a+b (1).txt", ["a+b (1).txt"], ["aab (1).txt"]),
    ],
)
def test_patterns_of_paths(pattern: str, fits: list[str], not_: list[str]) -> None:
    assert all(glob(pattern).fullmatch(path) for path in fits)
    assert not any(glob(pattern).fullmatch(path) for path in not_)


@given(st.text(alphabet="ab/*?[]{},!^\\-.(", max_size=20))
def test_no_pattern_is_an_error(pattern: str) -> None:
    glob(pattern).fullmatch("a/b.txt")


@given(st.text(max_size=200))
def test_no_card_is_an_error(text: str) -> None:
    metadata = card_metadata(text)
    card_text(text)
    layout(["a.txt", "b.csv"], metadata)
    rows_by_card(metadata)
