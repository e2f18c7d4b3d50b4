"""`rows/…`: finding rows among a million, and opening the page of a data set with ten million.

The text is made of spans of the State of the Union addresses (with rare made-up words strewn in, since a real
vocabulary grows with the text), so words and phrases are as frequent as in English prose. What is timed is the server's
answer to the requests that the screens make, through the whole application, in one process.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

SEARCH_GOAL_MS = 200.0
OPEN_GOAL_MS = 300.0
QUERIES: dict[str, dict[str, str]] = {
    "rare word": {"q": "zeppelin OR guano"},
    "common word": {"q": "the"},
    "two words": {"q": "constitution slavery"},
    "phrase": {"q": '"state of the union"'},
    "common phrase": {"q": '"of the"'},
    "prefix": {"q": "emancip*"},
    "short prefix": {"q": "co*"},
    "either": {"q": "peace OR war"},
    "without": {"q": "war -civil"},
    "best match": {"q": "railroad commerce", "order": "rank"},
    "no match": {"q": "qqqqzz"},
}


def rows(quick: bool) -> list[dict[str, Any]]:
    """Both rows; `quick` takes a tenth of the rows, which its notes say."""
    factor = 10 if quick else 1
    return [search(1_000_000 // factor, repeats=3 if quick else 7), opening(10_000_000 // factor)]


def search(n_rows: int, repeats: int) -> dict[str, Any]:
    """The slowest kind of query, as the median over repetitions of the first page with its count and highlights."""
    with tempfile.TemporaryDirectory() as scratch, served(Path(scratch), n_rows, words=40) as (ask, data_dir):
        from mistudio.datasets.search_index import build_index
        from mistudio.datasets.text_store import TextStore
        from mistudio.store import folder_bytes

        folder = data_dir / "surveys" / "ds_bench"
        folder.mkdir(parents=True)
        store = TextStore(data_dir / "datasets" / "ds_bench")
        began = time.perf_counter()
        build_index(lambda start: store.texts("text", start), n_rows, "text", folder / "search")
        built = time.perf_counter() - began
        size, text = folder_bytes(folder), folder_bytes(store.folder)
        took: dict[str, float] = {}
        for kind, query in QUERIES.items():
            times = [timed(ask, "/rows", query | {"limit": 50, "characters": 400})[0] for _ in range(repeats)]
            took[kind] = statistics.median(times)
            sys.stderr.write(f"  {kind}: {took[kind]:.1f} ms\n")
        slowest = max(took, key=lambda kind: took[kind])
    shown = ", ".join(f"{kind} {ms:.0f}" for kind, ms in took.items())
    return row(
        "rows/search-1m",
        took[slowest],
        SEARCH_GOAL_MS,
        f"{n_rows:,} rows; slowest of {len(took)} kinds ({shown} ms); index built in {built:.0f} s, "
        f"{size / text:.0%} of {text / 1e6:.0f} MB",
    )


def opening(n_rows: int) -> dict[str, Any]:
    """All requests of the page's first opening, one after the other: overview, first and last rows, a row, statistics.

    The server has answered the same for a small data set before, as one does that a person has been using.
    """
    with tempfile.TemporaryDirectory() as scratch, served(Path(scratch), n_rows, words=12) as (ask, _):
        requests: list[tuple[str, dict[str, Any]]] = [
            ("", {}),
            ("/rows", {"offset": 0, "limit": 100, "characters": 400}),
            ("/rows", {"offset": n_rows - 100, "limit": 100, "characters": 400}),
            (f"/rows/{n_rows // 2}", {}),
            ("/statistics", {}),
            ("/search-index", {}),
            ("/tokenizations", {}),
        ]
        for path, query in requests:
            ask(path, query | ({"offset": 0} if "offset" in query else {}), "ds_warm", missing=True)
        took = [timed(ask, path, query)[0] for path, query in requests]
        for (path, _), ms in zip(requests, took, strict=True):
            sys.stderr.write(f"  {path or '/'}: {ms:.1f} ms\n")
    return row(
        "rows/open-10m",
        sum(took),
        OPEN_GOAL_MS,
        f"{n_rows:,} rows; {len(took)} requests, slowest {max(took):.0f} ms",
    )


def row(name: str, ms: float, goal: float, note: str) -> dict[str, Any]:
    """A line of the table."""
    return {
        "name": name,
        "ours": round(ms, 1),
        "peer": None,
        "unit": "ms",
        "ratio": None,
        "goal": goal,
        "holds": ms < goal,
        "note": note,
    }


def timed(ask: Any, path: str, query: dict[str, Any]) -> tuple[float, Any]:
    """Milliseconds until the whole answer is there, and the answer."""
    began = time.perf_counter()
    answer = ask(path, query)
    return (time.perf_counter() - began) * 1e3, answer


@contextmanager
def served(scratch: Path, n_rows: int, words: int) -> Iterator[tuple[Any, Path]]:
    """The application over `ds_bench`, of so many rows, and `ds_warm`; `ask(path below one, query)` answers JSON."""
    from fastapi.testclient import TestClient

    from mistudio.app import create_app
    from mistudio.datasets.tables import Dataset
    from mistudio.db import Base, Database
    from mistudio.db.migrate import upgrade
    from mistudio.settings import LoadedSettings, Settings

    settings = Settings(data_dir=scratch / "data", rate_limit_per_minute=1_000_000)
    settings.data_dir.mkdir()
    database = Database(settings.effective_database_url)
    upgrade(database, Base.metadata)
    for id, count in (("ds_bench", n_rows), ("ds_warm", 200)):
        size = write_text(settings.data_dir / "datasets" / id, count, words)
        with database.session() as session:
            session.add(
                Dataset(
                    id=id,
                    name=id,
                    source={"kind": "text", "path": "bench.txt", "documents": "line"},
                    text_column="text",
                    columns=[{"name": "text", "type": "string"}, {"name": "year", "type": "int64"}],
                    rows=count,
                    bytes=size,
                )
            )
    database.dispose()
    app = create_app(LoadedSettings(settings, {}), migrate=False, dispatcher=lambda *_: None)
    with TestClient(app, base_url="http://127.0.0.1") as client:

        def ask(path: str, query: dict[str, Any], id: str = "ds_bench", missing: bool = False) -> Any:
            answer = client.get(f"/api/v1/datasets/{id}{path}", params=query)
            if not (missing and answer.status_code == 404):
                answer.raise_for_status()
            return answer.json()

        yield ask, settings.data_dir


def write_text(folder: Path, n_rows: int, words: int) -> int:
    """Rows of about so many words (log-normal), with a column of years; returns their bytes on disk."""
    from mistudio.datasets.text_store import TextWriter
    from mistudio.demo.sources import fetch_addresses, source_cache
    from mistudio.store import atomic_folder, folder_bytes

    corpus = " ".join(address.text for address in fetch_addresses(source_cache())).split()
    rng = np.random.default_rng(0)
    with atomic_folder(folder) as draft:
        writer = TextWriter(draft)
        for start in range(0, n_rows, 20_000):
            count = min(20_000, n_rows - start)
            lengths = np.clip(np.exp(rng.normal(np.log(words), 0.6, count)), 3, 400).astype(int)
            firsts = rng.integers(0, len(corpus) - 400, count)
            rare = rng.random(count) < 0.05
            texts = [
                " ".join(corpus[first : first + length]) + (f" x{number:x}" if odd else "")
                for first, length, odd, number in zip(
                    firsts.tolist(), lengths.tolist(), rare.tolist(), range(start, start + count), strict=True
                )
            ]
            years = rng.integers(1790, 2020, count)
            writer.write(
                pa.record_batch([pa.array(texts, pa.large_string()), pa.array(years)], names=["text", "year"])
            )
        writer.finish()
    return folder_bytes(folder)


if __name__ == "__main__":
    for line in rows(quick="--quick" in sys.argv):
        print(line)
