"""What the web may ask about the rows of a data set, their statistics and their search index."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from mistudio.datasets import surveys
from mistudio.datasets.library import get_dataset, ready_dataset
from mistudio.datasets.rows_schemas import RowOut, RowPage, SearchIndexOut, SearchMode, SearchOrder
from mistudio.datasets.statistics_schemas import DatasetStatisticsOut
from mistudio.models.announce import announce
from mistudio.web import ReadingDep, SessionDep, SettingsDep, StudioDep, problems

survey_router = APIRouter(prefix="/datasets/{dataset_id}", tags=["datasets"])


@survey_router.get("/rows", response_model=RowPage, summary="Rows", responses=problems(404, 409, 422))
def list_rows(
    dataset_id: str,
    session: ReadingDep,
    settings: SettingsDep,
    offset: Annotated[
        int,
        Query(
            ge=0,
            le=2**53,
            description="First row; with `q` the row where the search starts, or by rank the place in the ranking.",
        ),
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    q: Annotated[
        str | None, Query(max_length=500, description="Only rows whose text matches this (see `mode`).")
    ] = None,
    mode: Annotated[
        SearchMode,
        Query(
            description='words: all of these words, whatever their case and accents ("a phrase", begin*, -without, '
            "this OR that), by the search index. text: exactly this text, ignoring case. regex: RE2's syntax."
        ),
    ] = "words",
    order: Annotated[SearchOrder, Query(description="By row number, or by BM25 (words only).")] = "row",
    characters: Annotated[int, Query(ge=20, le=100_000, description="Longer texts are cut to this.")] = 2000,
) -> RowPage:
    """Rows of any page, or those that match. Searches without the index read rows for 1.5 seconds at most."""
    from contextlib import ExitStack

    from mistudio.datasets.rows import open_rows, page_of_rows

    dataset = ready_dataset(session, dataset_id)
    with ExitStack() as stack:
        index = surveys.open_index(settings, dataset) if q else None
        if index is not None:
            stack.callback(index.close)
        return page_of_rows(
            open_rows(settings, dataset),
            dataset.text_column or "",
            offset=offset,
            limit=limit,
            q=q,
            mode=mode,
            order=order,
            index=index,
            characters=characters,
        )


@survey_router.get(
    "/rows/random", response_model=RowOut, summary="A random row", responses=problems(404, 409)
)
def show_random_row(dataset_id: str, session: ReadingDep, settings: SettingsDep) -> RowOut:
    """Any row, whole."""
    from mistudio.datasets.rows import open_rows, random_row

    return random_row(open_rows(settings, ready_dataset(session, dataset_id)))


@survey_router.get(
    "/rows/{index}", response_model=RowOut, summary="One row", responses=problems(404, 409, 422)
)
def show_row(
    dataset_id: str,
    index: int,
    session: ReadingDep,
    settings: SettingsDep,
    q: Annotated[str | None, Query(max_length=500, description="Mark what matches this.")] = None,
    mode: Annotated[SearchMode, Query(description="How `q` is understood.")] = "words",
) -> RowOut:
    """A row, whole."""
    from mistudio.datasets.rows import one_row, open_rows

    dataset = ready_dataset(session, dataset_id)
    return one_row(open_rows(settings, dataset), index, dataset.text_column or "", q, mode)


@survey_router.get(
    "/statistics",
    response_model=DatasetStatisticsOut,
    summary="Statistics of the text",
    responses=problems(404),
)
def show_statistics(dataset_id: str, session: ReadingDep, settings: SettingsDep) -> DatasetStatisticsOut:
    """With what each figure means, and the job that computes them."""
    return surveys.statistics_of(session, settings, get_dataset(session, dataset_id))


@survey_router.post(
    "/statistics",
    response_model=DatasetStatisticsOut,
    status_code=202,
    summary="Compute the statistics",
    responses=problems(404, 409),
)
def compute_statistics(
    dataset_id: str, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> DatasetStatisticsOut:
    """Anew where there are any. While a job of this is under way, that one is answered."""
    surveys.start_survey(session, dataset_id, "dataset_statistics")
    announce(session, studio.events, "dataset_statistics", dataset_id, "changed")
    return surveys.statistics_of(session, settings, get_dataset(session, dataset_id))


@survey_router.get(
    "/search-index",
    response_model=SearchIndexOut,
    summary="The search index",
    responses=problems(404),
)
def show_search_index(dataset_id: str, session: ReadingDep, settings: SettingsDep) -> SearchIndexOut:
    """Its size, whether it is in use, and the job that builds it."""
    return surveys.search_index_of(session, settings, get_dataset(session, dataset_id))


@survey_router.post(
    "/search-index",
    response_model=SearchIndexOut,
    status_code=202,
    summary="Build the search index",
    responses=problems(404, 409),
)
def build_search_index(
    dataset_id: str, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> SearchIndexOut:
    """Anew where there is one, which answers meanwhile."""
    surveys.start_survey(session, dataset_id, "dataset_search")
    announce(session, studio.events, "dataset_search", dataset_id, "changed")
    return surveys.search_index_of(session, settings, get_dataset(session, dataset_id))


@survey_router.delete(
    "/search-index", status_code=204, summary="Remove the search index", responses=problems(404)
)
def remove_search_index(
    dataset_id: str, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> Response:
    """Frees its disk space; searches read rows then."""
    surveys.remove_index(session, settings, get_dataset(session, dataset_id).id)
    announce(session, studio.events, "dataset_search", dataset_id, "changed")
    return Response(status_code=204)
