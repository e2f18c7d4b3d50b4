"""Where what was found out about a data set's text is kept, beside the text: `data_dir/surveys/<id>`.

statistics.json     the statistics
statistics.part/    what a run of them has counted so far, shard by shard
search/             the search index
search.part/        an index being built
"""

from __future__ import annotations

from pathlib import Path

from mistudio.datasets.tables import Dataset
from mistudio.settings import Settings
from mistudio.store import owner_folder

STATISTICS, SEARCH = "statistics.json", "search"
SURVEYS = ("dataset_statistics", "dataset_search")
"""The subjects of their jobs are these, with the data set's id."""


def text_key(dataset: Dataset) -> str:
    """What a data set's text is, for telling whether a survey is of it: its column, and which composition of that."""
    name = dataset.text_column or ""
    composed = next((column.get("composed") for column in dataset.columns if column["name"] == name), None)
    return f"{name} ({composed})" if composed else name


def survey_folder(settings: Settings, dataset_id: str) -> Path:
    """The folder of a data set's statistics and search index; it may not be there."""
    return owner_folder(settings.data_dir, "surveys", dataset_id)
