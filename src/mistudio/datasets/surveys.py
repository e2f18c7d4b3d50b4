"""What is found out about a data set's text: its statistics and its search index. Start, read, remove.

Both are of one column, the text column at the time; when another is chosen they are stale until made anew.
"""

from __future__ import annotations

import logging
from typing import Literal

from sqlalchemy.orm import Session

from mistudio.datasets.library import get_dataset, ready_dataset
from mistudio.datasets.rows_schemas import IndexParams, SearchIndexOut
from mistudio.datasets.search_index import FILE, SearchIndex
from mistudio.datasets.statistics_schemas import (
    DatasetStatisticsOut,
    StatisticsOut,
    StatisticsParams,
    definitions_of,
)
from mistudio.datasets.survey_files import SEARCH, STATISTICS, survey_folder, text_key
from mistudio.datasets.tables import Dataset
from mistudio.errors import StudioError
from mistudio.jobs import Job, JobOut, cancel_subject, latest_jobs, submit
from mistudio.jobs.schemas import FINAL_STATES
from mistudio.settings import Settings
from mistudio.store import delete_folder, folder_bytes

logger = logging.getLogger(__name__)
Survey = Literal["dataset_statistics", "dataset_search"]
KINDS: dict[Survey, str] = {"dataset_statistics": "datasets.statistics", "dataset_search": "datasets.index"}
_TITLES: dict[Survey, str] = {
    "dataset_statistics": "Statistics of {}",
    "dataset_search": "Search index of {}",
}
_PARAMS: dict[Survey, type[StatisticsParams] | type[IndexParams]] = {
    "dataset_statistics": StatisticsParams,
    "dataset_search": IndexParams,
}


def start_survey(session: Session, dataset_id: str, survey: Survey) -> Job:
    """Queue the job that makes it anew, unless one is under way. Raises StudioError `no_text_column`."""
    dataset = ready_dataset(session, dataset_id)
    if dataset.text_column is None:
        raise StudioError(
            "no_text_column",
            f"The data set “{dataset.name}” has no text column.",
            hint="Choose or compose one first.",
            status=409,
        )
    job = _latest(session, dataset_id, survey)
    if job is not None and job.state not in FINAL_STATES:
        return job
    return _submit(session, dataset, survey)


def _submit(session: Session, dataset: Dataset, survey: Survey) -> Job:
    params = _PARAMS[survey](dataset_id=dataset.id)
    return submit(
        session,
        KINDS[survey],
        subject=f"{survey}/{dataset.id}",
        title=_TITLES[survey].format(dataset.name),
        params=params,
        priority=-1,
    )


def survey_on_arrival(session: Session, settings: Settings, dataset: Dataset) -> None:
    """Queue statistics and search index of a data set that has just arrived, unless it is too large for that."""
    if dataset.text_column is not None and (dataset.bytes or 0) <= settings.survey_up_to_bytes:
        start_survey(session, dataset.id, "dataset_statistics")
        start_survey(session, dataset.id, "dataset_search")


def follow_text(session: Session, settings: Settings, dataset: Dataset) -> list[Survey]:
    """Queue anew, after another text column was chosen, what there is of the one before; which those are.

    Of a large data set nothing is: it is told to be stale, and made anew when somebody asks for it. A job under way
    sees by itself that its column is no longer the text (see `note_survey`).
    """
    if (dataset.bytes or 0) > settings.survey_up_to_bytes:
        return []
    stale: list[Survey] = []
    if statistics_of(session, settings, dataset).stale:
        stale.append("dataset_statistics")
    if search_index_of(session, settings, dataset).stale:
        stale.append("dataset_search")
    for survey in stale:
        start_survey(session, dataset.id, survey)
    return stale


def note_survey(session: Session, settings: Settings, dataset_id: str, survey: Survey, key: str) -> None:
    """Note, at the end of a survey's job, what the surveys take; queue it anew if the text is another than `key` now.

    Raises NotFound for a data set that was deleted meanwhile.
    """
    dataset = get_dataset(session, dataset_id)
    dataset.survey_bytes = _survey_bytes(settings, dataset_id)
    small = (dataset.bytes or 0) <= settings.survey_up_to_bytes
    if dataset.text_column is not None and text_key(dataset) != key and small:
        _submit(session, dataset, survey)


def _survey_bytes(settings: Settings, dataset_id: str) -> int:
    folder = survey_folder(settings, dataset_id)
    statistics = folder / STATISTICS
    return folder_bytes(folder / SEARCH) + (statistics.stat().st_size if statistics.is_file() else 0)


def statistics_of(session: Session, settings: Settings, dataset: Dataset) -> DatasetStatisticsOut:
    """A data set's statistics, if there are any, and their job."""
    path = survey_folder(settings, dataset.id) / STATISTICS
    try:
        found = StatisticsOut.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValueError):
        found = None  # not computed, or by another version: they are computed anew
    return DatasetStatisticsOut(
        statistics=found,
        stale=found is not None and found.text_key != text_key(dataset),
        definitions=definitions_of(found),
        job=_job_out(session, dataset.id, "dataset_statistics"),
    )


def search_index_of(session: Session, settings: Settings, dataset: Dataset) -> SearchIndexOut:
    """Whether a data set can be searched by its index, and the index's job."""
    out = SearchIndexOut(
        ready=False,
        text_column=None,
        stale=False,
        bytes=None,
        job=_job_out(session, dataset.id, "dataset_search"),
    )
    index = open_index(settings, dataset, stale=True)
    if index is not None:
        with index:
            out.text_column, out.bytes = index.text_key, index.bytes
            out.stale = index.text_key != text_key(dataset)
            out.ready = not out.stale
    return out


def open_index(settings: Settings, dataset: Dataset, *, stale: bool = False) -> SearchIndex | None:
    """The search index of the text (with `stale`, of any), or None; a damaged one counts as none. Close it."""
    folder = survey_folder(settings, dataset.id) / SEARCH
    if not (folder / FILE).exists():
        return None
    try:
        index = SearchIndex(folder)
    except StudioError as error:
        logger.warning("%s: %s", dataset.id, error)
        return None
    if stale or index.text_key == text_key(dataset):
        return index
    index.close()
    return None


def remove_index(session: Session, settings: Settings, dataset_id: str) -> None:
    """Remove a data set's search index and cancel its job."""
    cancel_subject(session, f"dataset_search/{dataset_id}")
    delete_folder(settings.data_dir, survey_folder(settings, dataset_id) / SEARCH)
    get_dataset(session, dataset_id).survey_bytes = _survey_bytes(settings, dataset_id)


def _latest(session: Session, dataset_id: str, survey: Survey) -> Job | None:
    subject = f"{survey}/{dataset_id}"
    return latest_jobs(session, [subject]).get(subject)


def _job_out(session: Session, dataset_id: str, survey: Survey) -> JobOut | None:
    job = _latest(session, dataset_id, survey)
    return None if job is None else JobOut.model_validate(job)
