"""Data sets from a hub: the real `datasets` client against a loopback server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from mistudio.datasets import library
from mistudio.datasets.rows import open_rows
from mistudio.datasets.schemas import DatasetCreate, HubSource
from tests.loopback_hub import TOKEN, LoopbackHub, Repository, loopback_hub
from tests.models.hub_runs import run_against

pytestmark = pytest.mark.slow


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


STORIES = [{"text": f"story {i} of a cat {i * 7919}", "n": i} for i in range(3000)]


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    card = """---
configs:
- config_name: plain
  data_files:
  - split: train
    path: plain/train*
  - split: test
    path: plain/test*
- config_name: other
  data_files: other.parquet
---
# Stories
"""
    files = {
        "README.md": card.encode(),
        "plain/train-0.parquet": parquet(STORIES[:2000]),
        "plain/train-1.parquet": parquet(STORIES[2000:]),
        "plain/test.parquet": parquet(STORIES[:10]),
        "other.parquet": parquet([{"body": f"line {i}"} for i in range(5)]),
    }
    with loopback_hub() as hub:
        hub.repositories["some/stories"] = Repository(files, kind="dataset")
        yield hub


def add(settings: Any, database: Any, repo: str = "some/stories", **source: Any) -> tuple[str, str]:
    with database.session() as session:
        dataset, job = library.add_dataset(
            session, settings, DatasetCreate(source=HubSource(repo=repo, **source))
        )
        return dataset.id, job.id


def rows(settings: Any, database: Any, dataset_id: str) -> list[dict[str, Any]]:
    with database.reading() as session:
        dataset = library.ready_dataset(session, dataset_id)
    return open_rows(settings, dataset).rows(0, 10_000)


def left_behind(settings: Any) -> list[str]:
    folder = settings.data_dir / "datasets"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def test_configurations_splits_and_row_limits(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    whole, job = add(settings, database, config="plain")
    done = run_against(hub, settings, job, tmp_path)
    assert done.get("result", {}).get("rows") == 3000, done
    assert rows(settings, database, whole) == STORIES
    assert done["stages"]["Download"] == sorted(done["stages"]["Download"])
    test, job = add(settings, database, config="plain", split="test")
    assert run_against(hub, settings, job, tmp_path)["result"]["rows"] == 10
    part, job = add(settings, database, config="plain", max_rows=1500)
    done = run_against(hub, settings, job, tmp_path)
    assert rows(settings, database, part) == STORIES[:1500]
    assert done["stages"]["Download of"] == 1500
    other, job = add(settings, database, config="other")
    run_against(hub, settings, job, tmp_path)
    with database.reading() as session:
        assert library.get_dataset(session, other).text_column == "body"
        assert library.get_dataset(session, test).name == "stories 2"


@pytest.mark.parametrize(
    ("repo", "source", "code", "says"),
    [
        ("some/none", {}, "hub_not_found", "no data set “some/none”"),
        ("some/stories", {"revision": "v9", "config": "plain"}, "hub_revision_not_found", "“v9”"),
        ("some/stories", {"config": "nope"}, "hub_config_not_found", "no configuration “nope”"),
        ("some/stories", {}, "hub_config_not_found", "several configurations"),
        ("some/stories", {"config": "plain", "split": "dev"}, "hub_split_not_found", "no split “dev”"),
        ("some/readme", {}, "hub_no_data", "no files that can be read"),
    ],
)
def test_what_is_not_there_is_said(
    settings: Any,
    database: Any,
    hub: LoopbackHub,
    tmp_path: Path,
    repo: str,
    source: Any,
    code: str,
    says: str,
) -> None:
    hub.repositories["some/readme"] = Repository({"README.md": b"# nothing else"}, kind="dataset")
    _, job = add(settings, database, repo, **source)
    done = run_against(hub, settings, job, tmp_path)
    assert done["error"]["code"] == code, done
    assert says in done["error"]["message"]
    assert left_behind(settings) == []


def test_gated_with_and_without_a_token(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.repositories["some/stories"].gated = True
    _, job = add(settings, database, config="plain")
    done = run_against(hub, settings, job, tmp_path)
    assert done["error"]["code"] == "hub_gated", done
    assert "MISTUDIO_HF_TOKEN" in done["error"]["hint"]
    right = settings.model_copy(update={"hf_token": SecretStr(TOKEN)})
    assert run_against(hub, right, job, tmp_path)["result"]["rows"] == 3000


@pytest.mark.parametrize("fault", ["hang", "error_500", "cut"])
def test_a_bad_transfer_is_one_clear_error(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path, fault: Any
) -> None:
    hub.repositories["some/stories"].fault = fault
    _, job = add(settings, database, config="plain")
    done = run_against(hub, settings.model_copy(update={"hub_timeout_seconds": 1.0}), job, tmp_path)
    assert done["error"]["code"] in ("hub_unreachable", "broken_file"), done
    assert left_behind(settings) == []


def test_a_silent_hub_times_out(settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path) -> None:
    hub.hang_everything = True
    _, job = add(settings, database)
    done = run_against(hub, settings.model_copy(update={"hub_timeout_seconds": 1.0}), job, tmp_path)
    assert done["error"]["code"] == "hub_unreachable", done
    assert left_behind(settings) == []


def test_a_cancelled_import_leaves_nothing(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    _, job = add(settings, database, config="plain")
    done = run_against(hub, settings, job, tmp_path, cancel_at="Download")
    assert done["error"]["code"] == "JobCancelled", done
    assert left_behind(settings) == []
