"""What the job `datasets.statistics` does: one pass over the text, shard by shard; a killed run goes on there."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mistudio.datasets import similar_rows
from mistudio.datasets.languages import CHARACTERS, SAMPLE, languages
from mistudio.datasets.library import dataset_folder, get_dataset
from mistudio.datasets.measures import Measures, measure
from mistudio.datasets.similar_rows import band_keys, find_similar_rows
from mistudio.datasets.statistics import Sums, Tally, characters, duplicates, lengths
from mistudio.datasets.statistics_schemas import (
    NearDuplicatesOut,
    SimilarRowsOut,
    StatisticsOut,
    StatisticsParams,
)
from mistudio.datasets.survey_files import STATISTICS, survey_folder, text_key
from mistudio.datasets.surveys import note_survey
from mistudio.datasets.tables import Dataset
from mistudio.datasets.text_slices import slices, texts_at
from mistudio.datasets.text_store import TextStore
from mistudio.db import utc_now
from mistudio.jobs import JobCancelled, JobContext
from mistudio.models.subjects import announce_changed, working_for
from mistudio.store import atomic_file, delete_folder, sweep_temporaries

MOST_FOR_NEAR_DUPLICATES = 20_000_000
_TALLIES = ("characters", "words", "code_points")
_COUNTS = ("rows", "missing", "empty", "blank", "bytes")


def compute_statistics(context: JobContext, params: StatisticsParams) -> dict[str, Any]:
    """Measure every row once, then look at candidates and samples; writes `statistics.json`, whole or not at all."""
    with context.database.reading() as session:
        dataset = get_dataset(session, params.dataset_id)
        column, key = dataset.text_column or "", text_key(dataset)
    store = TextStore(dataset_folder(context.settings, params.dataset_id))
    folder = survey_folder(context.settings, params.dataset_id)
    with working_for(context, Dataset, params.dataset_id, folder):
        folder.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(folder)
        try:
            found = text_statistics(store, column, key, folder / "statistics.part", context.progress)
        except JobCancelled:
            delete_folder(context.data_dir, folder / "statistics.part")
            raise
        with atomic_file(folder / STATISTICS, make_parents=False) as file:
            file.write(found.model_dump_json(indent=1).encode())
        delete_folder(context.data_dir, folder / "statistics.part")
        with context.database.session() as session:
            note_survey(session, context.settings, params.dataset_id, "dataset_statistics", key)
    announce_changed(context, "dataset_statistics", params.dataset_id)
    announce_changed(context, "datasets", params.dataset_id)
    return {"rows": found.rows, "seconds": round(found.seconds, 3)}


def text_statistics(
    store: TextStore,
    column: str,
    key: str,
    folder: Path,
    progress: Callable[[float, float | None, str, str], None],
) -> StatisticsOut:
    """Statistics of a column of texts; `folder` keeps what is counted of the text `key`, and is used if it is there.

    `progress(done, total, unit, stage)` may raise to leave.
    """
    began = time.monotonic()
    _begin(folder, key, store.n_rows)
    for number, (first, table) in enumerate(store.tables()):
        if not _counts_path(folder, number).exists():
            tell = partial(_tell, progress, first, store.n_rows)
            _count_shard(folder, number, table.column(column), tell)
    progress(store.n_rows, store.n_rows, "rows", "Count")

    shards = range(sum(1 for _ in store.tables()))
    sums, hashes, blank = _gathered(folder, shards)
    read = partial(texts_at, store, column)
    repeated, firsts = duplicates(hashes, blank, lambda row: str(read(np.array([row]))[0]))
    considered = firsts[:MOST_FOR_NEAR_DUPLICATES]
    bands = [partial(_band, folder, shards, band) for band in range(similar_rows.BANDS)]
    stages = {"bands": "Bring similar rows together", "pairs": "Compare similar rows"}
    near = find_similar_rows(
        bands,
        considered,
        read,
        check=lambda stage, done, total: progress(done, total, stage, stages[stage]),
    )
    shown = _beginnings(read, np.array([row for row, _, _ in near.examples], np.int64))
    some = min(SAMPLE, store.n_rows)
    sample = np.sort(np.random.default_rng(0).choice(store.n_rows, some, replace=False, shuffle=False))
    texts = _beginnings(read, sample)
    spoken = languages(texts, store.n_rows, lambda done: progress(done, len(texts), "rows", "Tell languages"))
    return StatisticsOut(
        text_column=column,
        text_key=key,
        rows=sums.rows,
        missing=sums.missing,
        empty=sums.empty,
        blank=sums.blank,
        bytes=sums.bytes,
        characters=lengths(sums.characters),
        words=lengths(sums.words),
        duplicates=repeated,
        near_duplicates=NearDuplicatesOut(
            rows=near.rows,
            standard_error=near.standard_error,
            threshold=similar_rows.THRESHOLD,
            considered=len(considered),
            candidates=near.candidates,
            compared=near.compared,
            examples=[
                SimilarRowsOut(row=row, earlier_row=earlier, similarity=similarity, text=text)
                for (row, earlier, similarity), text in zip(near.examples, shown, strict=True)
            ],
        ),
        languages=spoken,
        character_classes=characters(sums.code_points),
        seconds=time.monotonic() - began,
        computed_at=utc_now(),
    )


def _tell(progress: Callable[..., None], first: int, total: int, done: int) -> None:
    progress(first + done, total, "rows", "Count")


def _begin(folder: Path, key: str, rows: int) -> None:
    """Keep what an earlier attempt has counted of the same text; otherwise begin anew."""
    folder.mkdir(exist_ok=True)
    plan = {"text": key, "rows": rows}
    path = folder / "plan.json"
    if path.exists() and json.loads(path.read_bytes()) == plan:
        return
    for old in folder.iterdir():
        old.unlink()
    with atomic_file(path, make_parents=False) as file:
        file.write(json.dumps(plan).encode())


def _count_shard(folder: Path, number: int, column: pa.ChunkedArray, tell: Callable[[int], None]) -> None:
    sums = Sums()
    hashes: list[NDArray[np.uint64]] = []
    blank: list[NDArray[np.bool_]] = []
    bands: list[NDArray[np.uint32]] = []
    for measures, keys in _measured(column):
        sums.add(measures)
        hashes.append(measures.hashes)
        blank.append(measures.words == 0)
        bands.append(keys)
        tell(sums.rows)
    with atomic_file(_bands_path(folder, number), make_parents=False) as file:
        np.save(file, np.concatenate(bands, axis=1))
    parts: dict[str, Any] = {
        "hashes": np.concatenate(hashes),
        "is_blank": np.concatenate(blank),
        "sums": np.array([getattr(sums, name) for name in _COUNTS]),
    }
    for name in _TALLIES:
        tally: Tally = getattr(sums, name)
        parts[name] = np.stack([tally.values, tally.counts])
    with atomic_file(_counts_path(folder, number), make_parents=False) as file:
        np.savez(file, **parts)


def _measured(column: pa.ChunkedArray) -> Iterator[tuple[Measures, NDArray[np.uint32]]]:
    """Slices measured on all cores (numpy and Arrow let go of the interpreter), in order."""
    cores = min(8, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(cores) as pool:
        ahead: deque[Future[tuple[Measures, NDArray[np.uint32]]]] = deque()
        try:
            for part in slices(column):
                ahead.append(pool.submit(_measure_slice, part))
                if len(ahead) > 2 * cores:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _measure_slice(part: pa.LargeStringArray) -> tuple[Measures, NDArray[np.uint32]]:
    measures, words = measure(part)
    return measures, band_keys(words)


def _gathered(folder: Path, shards: range) -> tuple[Sums, NDArray[np.uint64], NDArray[np.bool_]]:
    sums = Sums()
    hashes: list[NDArray[np.uint64]] = []
    blank: list[NDArray[np.bool_]] = []
    for number in shards:
        with np.load(_counts_path(folder, number)) as parts:
            one = Sums(**dict(zip(_COUNTS, parts["sums"].tolist(), strict=True)))
            for name in _TALLIES:
                values, counts = parts[name]
                setattr(one, name, Tally(values, counts))
            sums.merge(one)
            hashes.append(parts["hashes"])
            blank.append(parts["is_blank"])
    return sums, np.concatenate(hashes), np.concatenate(blank)


def _band(folder: Path, shards: range, band: int) -> NDArray[np.uint32]:
    return np.concatenate([np.load(_bands_path(folder, number), mmap_mode="r")[band] for number in shards])


def _beginnings(
    read: Callable[[NDArray[np.int64]], pa.LargeStringArray], rows: NDArray[np.int64]
) -> list[str]:
    """The beginnings of these rows, of which a few at a time are held whole."""
    found: list[str] = []
    for start in range(0, len(rows), 50):
        found += [text[:CHARACTERS] for text in read(rows[start : start + 50]).to_pylist()]
    return found


def _counts_path(folder: Path, number: int) -> Path:
    return folder / f"counts-{number:06d}.npz"


def _bands_path(folder: Path, number: int) -> Path:
    return folder / f"bands-{number:06d}.npy"
