"""What the web may ask about extractions and features."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from sqlalchemy import select

from mistudio.features import browse, labels_current, library, pages
from mistudio.features.schemas import (
    Density,
    ExtractionChange,
    ExtractionCreate,
    ExtractionOut,
    FeatureChange,
    FeaturePage,
    FeatureRow,
    LabelState,
)
from mistudio.features.tables import Extraction
from mistudio.models.announce import announce
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, SettingsDep, StudioDep, paginate, problems

router = APIRouter(tags=["features"])

Index = Annotated[int, Path(ge=0, le=2**31 - 1, description="The latent.")]


@router.post(
    "/saes/{sae_id}/extractions",
    response_model=ExtractionOut,
    status_code=202,
    summary="Find an SAE's features",
    responses=problems(400, 404, 409, 422),
)
def create_extraction(
    sae_id: str,
    session: SessionDep,
    studio: StudioDep,
    wanted: Annotated[ExtractionCreate | None, Body()] = None,
) -> ExtractionOut:
    """One pass over tokens. An empty body takes the tokens it was trained on. The answer's `job` does it."""
    extraction, _ = library.create_extraction(session, sae_id, wanted or ExtractionCreate())
    announce(session, studio.events, "extractions", extraction.id, "created")
    return library.extractions_out(session, [extraction])[0]


@router.get(
    "/extractions", response_model=Page[ExtractionOut], summary="List extractions", responses=problems(422)
)
def list_extractions(
    session: ReadingDep,
    page: PageDep,
    sae_id: Annotated[str | None, Query(description="Only those of this SAE.")] = None,
) -> Page[ExtractionOut]:
    """Newest first. `sort`: name, created_at, n_tokens, id."""
    statement = select(Extraction)
    if sae_id is not None:
        statement = statement.where(Extraction.sae_id == sae_id)
    sorts = {
        "name": Extraction.name,
        "created_at": Extraction.created_at,
        "n_tokens": Extraction.n_tokens,
        "id": Extraction.id,
    }
    found = paginate(
        session, statement, page, sorts=sorts, default_sort="-created_at", search=[Extraction.name]
    )
    return Page(
        items=library.extractions_out(session, found.items), total=found.total, next_cursor=found.next_cursor
    )


@router.get(
    "/extractions/{extraction_id}",
    response_model=ExtractionOut,
    summary="One extraction",
    responses=problems(404),
)
def show_extraction(extraction_id: str, session: ReadingDep) -> ExtractionOut:
    """Its settings, conventions and summary."""
    return library.extractions_out(session, [library.get_extraction(session, extraction_id)])[0]


@router.patch(
    "/extractions/{extraction_id}",
    response_model=ExtractionOut,
    summary="Rename an extraction",
    responses=problems(404, 422),
)
def change_extraction(
    extraction_id: str, change: ExtractionChange, session: SessionDep, studio: StudioDep
) -> ExtractionOut:
    """Give it another name."""
    extraction = library.get_extraction(session, extraction_id)
    extraction.name = change.name.strip()
    announce(session, studio.events, "extractions", extraction.id, "changed")
    return library.extractions_out(session, [extraction])[0]


@router.delete(
    "/extractions/{extraction_id}", status_code=204, summary="Delete an extraction", responses=problems(404)
)
def delete_extraction(
    extraction_id: str, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> Response:
    """Its features and their labels go with it; a running job is cancelled."""
    for table, id in library.delete_extraction(session, settings, extraction_id):
        announce(session, studio.events, table, id, "deleted")
    return Response(status_code=204)


@router.get(
    "/extractions/{extraction_id}/features",
    response_model=Page[FeatureRow],
    summary="The table of features",
    responses=problems(404, 422),
)
def list_features(
    extraction_id: str,
    session: ReadingDep,
    page: PageDep,
    min_frequency: Annotated[float | None, Query(ge=0, le=1)] = None,
    max_frequency: Annotated[float | None, Query(ge=0, le=1)] = None,
    min_activation: Annotated[float | None, Query(description="Least maximum.")] = None,
    label_state: Annotated[
        LabelState | None, Query(description="person and machine: who labelled it.")
    ] = None,
    density: Annotated[Density | None, Query()] = None,
    starred: Annotated[bool | None, Query()] = None,
) -> Page[FeatureRow]:
    """`q` searches labels, notes and top tokens; `#123` is the latent of that number.

    `sort`: frequency, max_activation, mean_activation, label_score, label, starred, index.
    """
    filters = browse.Filters(
        min_frequency=min_frequency,
        max_frequency=max_frequency,
        min_activation=min_activation,
        label_state=label_state,
        density=density,
        starred=starred,
    )
    library.get_extraction(session, extraction_id)
    return browse.list_features(session, extraction_id, page, filters)


@router.get(
    "/extractions/{extraction_id}/features/{index}",
    response_model=FeaturePage,
    summary="The page of one feature",
    responses=problems(404, 409),
)
def show_feature(extraction_id: str, index: Index, session: ReadingDep, settings: SettingsDep) -> FeaturePage:
    """Statistics, histogram, examples with activations per token, logits, neighbours."""
    return pages.feature_page(session, settings, extraction_id, index)


@router.patch(
    "/extractions/{extraction_id}/features/{index}",
    response_model=FeatureRow,
    summary="Star or annotate a feature",
    responses=problems(404, 422),
)
def change_feature(
    extraction_id: str, index: Index, change: FeatureChange, session: SessionDep, studio: StudioDep
) -> FeatureRow:
    """Set its star or its notes."""
    row = labels_current.change_feature(
        session, extraction_id, index, starred=change.starred, notes=change.notes
    )
    announce(session, studio.events, "extractions", extraction_id, "changed")
    return FeatureRow.model_validate(row)
