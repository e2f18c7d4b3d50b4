"""What the job `datasets.index` does: build the full-text index of a data set; a killed run goes on where it was."""

from __future__ import annotations

from typing import Any

from mistudio.datasets.library import dataset_folder, get_dataset
from mistudio.datasets.rows_schemas import IndexParams
from mistudio.datasets.search_index import build_index
from mistudio.datasets.survey_files import SEARCH, survey_folder, text_key
from mistudio.datasets.surveys import note_survey
from mistudio.datasets.tables import Dataset
from mistudio.datasets.text_store import TextStore
from mistudio.jobs import JobCancelled, JobContext
from mistudio.models.subjects import announce_changed, working_for
from mistudio.store import delete_folder, folder_bytes
from mistudio.store.atomic import sync_folder


def index_rows(context: JobContext, params: IndexParams) -> dict[str, Any]:
    """Build the index beside the old one, which answers until the new one takes its place."""
    with context.database.reading() as session:
        dataset = get_dataset(session, params.dataset_id)
        column, key = dataset.text_column or "", text_key(dataset)
    store = TextStore(dataset_folder(context.settings, params.dataset_id))
    folder = survey_folder(context.settings, params.dataset_id)
    with working_for(context, Dataset, params.dataset_id, folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            build_index(
                lambda start: store.texts(column, start),
                store.n_rows,
                key,
                folder / f"{SEARCH}.part",
                context.progress,
            )
        except JobCancelled:
            delete_folder(context.data_dir, folder / f"{SEARCH}.part")
            raise
        delete_folder(context.data_dir, folder / SEARCH)
        (folder / f"{SEARCH}.part").rename(folder / SEARCH)
        sync_folder(folder)
        with context.database.session() as session:
            note_survey(session, context.settings, params.dataset_id, "dataset_search", key)
    announce_changed(context, "dataset_search", params.dataset_id)
    announce_changed(context, "datasets", params.dataset_id)
    return {"rows": store.n_rows, "bytes": folder_bytes(folder / SEARCH)}
