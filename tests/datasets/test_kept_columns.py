"""Columns kept with a tokenization: copied into it, bounded, and there whatever becomes of the data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mistudio.datasets import library, tokenizations
from mistudio.datasets.kept_columns import FILE, KeptColumns
from mistudio.datasets.schemas import DatasetCreate, JsonLinesSource
from mistudio.datasets.tokenize import tokenization_folder
from mistudio.store.errors import TornFile
from tests.datasets.test_tokenize import get, make
from tests.models.job_runs import run_here


def test_kept_columns_outlive_the_columns_of_the_data_set(
    settings: Any, database: Any, tmp_path: Path, tiny_model: Any
) -> None:
    file = tmp_path / "kept.jsonl"
    with file.open("w") as out:
        for i in range(400):
            one = {"text": f"row {i} of some text to read", "row": -i, "who": {"id": i}, "note": "ü" * 2000}
            out.write(json.dumps(one | ({"year": 1900 + i} if i % 2 else {})) + "\n")
    with database.session() as session:
        dataset, job = library.add_dataset(
            session, settings, DatasetCreate(source=JsonLinesSource(path=str(file))), any_folder=True
        )
        dataset_id, job_id = dataset.id, job.id
    run_here(settings, database, job_id)
    with database.reading() as session:
        data = library.get_dataset(session, dataset_id)
    columns = ["year", "row", "who", "note"]
    key, job_id = make(
        settings,
        database,
        data,
        tiny_model,
        context_length=8,
        packing="one_per_row",
        metadata_columns=columns,
        filters={"drop_pattern": "row 7 "},
    )
    run_here(settings, database, job_id)
    older, job_id = make(settings, database, data, tiny_model, context_length=8, packing="one_per_row")
    run_here(settings, database, job_id)
    shutil.rmtree(library.dataset_folder(settings, dataset_id))
    # As those were that were made before columns were copied: wanted, and not there.
    made_before = get(database, older)
    made_before.settings = made_before.settings | {"metadata_columns": columns}
    unkept = tokenizations.page_of_sequences(settings, made_before, offset=0, limit=100)
    assert unkept.items and all(not any(one.metadata.values()) for one in unkept.items)
    page = tokenizations.page_of_sequences(settings, get(database, key), offset=0, limit=100)
    assert page.total is not None and page.total > 400  # rows are longer than a sequence
    assert {one.row for one in page.items} >= {0, 6, 8} and 7 not in {one.row for one in page.items}
    for one in page.items:
        i = one.row
        assert list(one.metadata) == columns
        assert (one.metadata["row"], one.metadata["who"]) == (-i, json.dumps({"id": i}))
        assert one.metadata["year"] == (1900 + i if i % 2 else None)
        assert set(one.metadata["note"]) == {"ü"} and len(one.metadata["note"]) <= 1000
    folder = tokenization_folder(settings, key)
    kept = KeptColumns(folder)
    assert kept.of(7) == {} == kept.of(400) and len(kept.of(399)["note"]) == 1000
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-9])
    with pytest.raises(TornFile):
        KeptColumns(folder)
