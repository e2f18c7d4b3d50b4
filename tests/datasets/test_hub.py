"""Data sets from a hub: the real `datasets` client against a loopback server."""

from __future__ import annotations

import io
import json
import random
import subprocess
import time
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
from mistudio.hub.token import store_token
from tests.loopback_hub import TOKEN, LoopbackHub, Repository, loopback_hub
from tests.models.hub_runs import hub_environment, run_against, start_against
from tests.warm import Program

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
    bar = done["stages"]["Download the first rows"]
    assert bar == sorted(bar) and bar[-1] == done["stages"]["Download the first rows of"] > 0
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
    assert "MISTUDIO_HF_TOKEN" in done["error"]["hint"] and "Settings" in done["error"]["hint"]
    right = settings.model_copy(update={"hf_token": SecretStr(TOKEN)})
    assert run_against(hub, right, job, tmp_path)["result"]["rows"] == 3000
    store_token(settings, TOKEN)
    _, job = add(settings, database, config="plain", split="test")
    assert run_against(hub, settings, job, tmp_path)["result"]["rows"] == 10


def test_a_stopped_download_goes_on_at_its_byte(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    noise = random.Random(0)
    table = [{"text": noise.randbytes(500).hex()} for _ in range(1000)]
    repository = Repository(
        {f"{i}.parquet": parquet(table[i * 500 :][:500]) for i in range(2)}, kind="dataset"
    )
    repository.faults = [None, None, "cut", "denied"]  # after the look at the first rows and one whole file
    hub.repositories["some/noise"] = repository
    dataset, job = add(settings, database, "some/noise")
    stopped = run_against(hub, settings, job, tmp_path)
    assert stopped["error"]["code"] == "hub_refused", stopped
    assert left_behind(settings) == []
    waiting = settings.data_dir / "downloads" / dataset
    [partial] = waiting.rglob("*.partial")
    here = partial.stat().st_size
    hub.ranges.clear()
    done = run_against(hub, settings, job, tmp_path)
    assert done["result"]["rows"] == 1000, done
    assert here > 0 and f"bytes={here}-" in hub.ranges
    assert done["stages"]["Download"][1] >= here
    assert done["stages"]["Download"] == sorted(done["stages"]["Download"])
    assert done["stages"]["Download"][-1] == done["stages"]["Download of"]
    assert rows(settings, database, dataset) == table
    assert not waiting.exists()


def test_a_killed_download_goes_on_at_its_byte(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    noise = random.Random(0)
    table = [{"text": noise.randbytes(2000).hex()} for _ in range(1000)]
    repository = Repository({"rows.parquet": parquet(table)}, kind="dataset", fault="slow")
    hub.repositories["some/noise"] = repository
    dataset, job = add(settings, database, "some/noise")
    child = start_against(hub, settings, job, tmp_path)
    waiting = settings.data_dir / "downloads" / dataset
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 500_000 for path in waiting.rglob("*.partial")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    child.kill()
    child.wait()
    [partial] = waiting.rglob("*.partial")
    here = partial.stat().st_size
    repository.fault = None
    hub.ranges.clear()
    assert run_against(hub, settings, job, tmp_path)["result"]["rows"] == 1000
    assert f"bytes={here}-" in hub.ranges
    assert rows(settings, database, dataset) == table
    assert len(left_behind(settings)) == 1 and not waiting.exists()


def test_the_first_rows_cost_no_more_than_they_need(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    noise = random.Random(0)
    out = io.BytesIO()
    table = pa.table({"text": [noise.randbytes(2000).hex() for _ in range(4000)]})
    pq.write_table(table, out, row_group_size=500, compression="none")
    lines = b"".join(b'{"text": "%s"}\n' % noise.randbytes(500).hex().encode() for _ in range(8000))
    csv = b"text,n\n" + b"".join(b"%s,1\n" % noise.randbytes(500).hex().encode() for _ in range(20_000))
    hub.repositories["some/csv"] = Repository({"rows.csv": csv}, kind="dataset")
    hub.repositories["some/large"] = Repository({"rows.parquet": out.getvalue()}, kind="dataset")
    hub.repositories["some/lines"] = Repository({"rows.jsonl": lines}, kind="dataset")
    for repo, size in (
        ("some/large", len(out.getvalue())),
        ("some/lines", len(lines)),
        ("some/csv", len(csv)),
    ):
        hub.served = 0
        dataset, job = add(settings, database, repo, max_rows=100)
        done = run_against(hub, settings, job, tmp_path)
        assert done["result"]["rows"] == 100, done
        bar, end = (done["stages"][f"Download the first rows{more}"] for more in ("", " of"))
        assert bar == sorted(bar) and hub.served == bar[-1] == end < 4_000_000 < size
        with database.reading() as session:
            about = library.get_dataset(session, dataset).about
        assert (about["verified"], about["fetched_bytes"]) == ("part", hub.served)
        assert len(rows(settings, database, dataset)) == 100


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("hang", "hub_unreachable"),
        ("error_500", "hub_unreachable"),
        ("rate_limit", "hub_rate_limited"),
        ("wrong_length", "download_broken"),
        ("wrong_bytes", "download_broken"),
        ("no_ranges", "hub_no_ranges"),
        ("gone", "hub_file_gone"),
    ],
)
def test_a_bad_transfer_of_first_rows_is_one_clear_error(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path, fault: Any, code: str
) -> None:
    hub.repositories["some/stories"].fault = fault
    _, job = add(settings, database, config="plain", max_rows=10)
    done = run_against(hub, settings.model_copy(update={"hub_timeout_seconds": 1.0}), job, tmp_path)
    assert done["error"]["code"] == code, done
    assert left_behind(settings) == []


def test_first_rows_go_on_from_what_was_kept(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    noise = random.Random(0)
    lines = b"".join(b'{"text": "%s"}\n' % noise.randbytes(500).hex().encode() for _ in range(8000))
    card = b"""---
dataset_info:
  splits:
  - name: train
    num_examples: 8000
---
"""
    repository = Repository({"README.md": card, "rows.jsonl": lines}, kind="dataset")
    repository.faults = [None, None, "cut", "denied"]
    hub.repositories["some/lines"] = repository
    dataset, job = add(settings, database, "some/lines", max_rows=4000)
    stopped = run_against(hub, settings, job, tmp_path)
    assert stopped["error"]["code"] == "hub_refused", stopped
    bar, of = (stopped["stages"][f"Download the first rows{more}"] for more in ("", " of"))
    assert bar[-1] > 1 << 20 and of == pytest.approx(len(lines) / 2, rel=0.05), "half of the rows"
    assert left_behind(settings) == [] and (settings.data_dir / "downloads" / dataset).is_dir()
    hub.served = 0
    done = run_against(hub, settings, job, tmp_path)
    assert done["result"]["rows"] == 4000, done
    bar = done["stages"]["Download the first rows"]
    assert bar[0] >= 2 << 20 and hub.served < len(lines) - bar[0]
    assert hub.served - len(card) == bar[-1] - bar[0], "only what was lacking was fetched"
    assert len(rows(settings, database, dataset)) == 4000
    assert not any((settings.data_dir / "downloads").iterdir())


def test_a_preview_fetches_only_first_rows(data_dir: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    card = (
        hub.repositories["some/stories"]
        .files["README.md"]
        .replace(b"---\nconfigs", b"---\nlicense: mit\nconfigs")
    )
    hub.repositories["some/stories"].files["README.md"] = card

    environment = hub_environment(hub, tmp_path)

    def preview(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = ("--data-dir", str(data_dir), "datasets", "preview", *arguments)
        return Program("mistudio.cli", *words, environment=environment, cwd=tmp_path).wait()

    shown = json.loads(preview("some/stories", "--json", "--rows", "2").stdout)
    assert (shown["config"], shown["split"], shown["text_column"]) == ("plain", "train", "text")
    assert [row["values"]["n"] for row in shown["rows"]] == [0, 1]
    assert shown["about"]["license"] == "mit" and shown["card"].startswith("# Stories")
    sizes = {
        one["name"]: [split["name"] for split in one["splits"]] for one in shown["about"]["configurations"]
    }
    assert sizes == {"plain": ["train", "test"], "other": ["train"]}
    assert not any("train-1" in line for line in hub.requests), "only one file is looked into"
    other = json.loads(preview("some/stories", "--json", "--config", "other").stdout)
    assert [column["name"] for column in other["columns"]] == ["body"]
    hub.repositories["some/stories"].gated = True
    refused = preview("some/stories")
    assert refused.returncode == 1 and "is gated" in refused.stderr
    assert preview("some/none").stderr.startswith("mistudio: There is no data set “some/none” on the hub.")
    environment["HF_HUB_OFFLINE"] = "1"
    assert "HF_HUB_OFFLINE keeps this machine off the hub" in preview("some/stories").stderr


def test_a_silent_hub_times_out(settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path) -> None:
    hub.hang_everything = True
    _, job = add(settings, database)
    done = run_against(hub, settings.model_copy(update={"hub_timeout_seconds": 1.0}), job, tmp_path)
    assert done["error"]["code"] == "hub_unreachable", done
    assert left_behind(settings) == []


def test_a_cancelled_import_leaves_nothing(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.repositories["some/stories"].fault = "slow"
    dataset, job = add(settings, database, config="plain")
    done = run_against(hub, settings, job, tmp_path, cancel_at="Download")
    assert done["error"]["code"] == "JobCancelled", done
    assert left_behind(settings) == []
    assert not (settings.data_dir / "downloads" / dataset).exists()
