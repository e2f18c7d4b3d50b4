"""The table of features: searched, filtered, sorted and paged in milliseconds over 10⁵ latents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from mistudio.features.labels_current import PERSON
from mistudio.features.schemas import Density, FeatureRow, LabelState
from mistudio.features.tables import Feature
from mistudio.web import Page, PageRequest, paginate

_NUMBER = re.compile(r"#\s*(\d{1,9})")


@dataclass(frozen=True)
class Filters:
    """Which features are listed; None means no restriction."""

    min_frequency: float | None = None
    max_frequency: float | None = None
    min_activation: float | None = None
    label_state: LabelState | None = None
    density: Density | None = None
    starred: bool | None = None


def list_features(
    session: Session, extraction_id: str, page: PageRequest, filters: Filters
) -> Page[FeatureRow]:
    """One page of an extraction's features. `page.q` searches labels, notes and top tokens, or is `#123`.

    Raises StudioError `sort_unknown`.
    """
    statement = matching(extraction_id, page.q, filters)
    sorts = {
        "frequency": Feature.frequency,
        "max_activation": Feature.max_activation,
        "mean_activation": Feature.mean_activation,
        # Databases disagree on where nulls go: here the unscored and unlabelled count as least.
        "label_score": func.coalesce(Feature.label_score, -1.0),
        "label": func.coalesce(Feature.label, ""),
        "starred": Feature.starred,
        "index": Feature.index,
    }
    asked = PageRequest(limit=page.limit, offset=page.offset, sort=page.sort)
    # Sorting the numbers alone keeps deep pages quick: the wide rows are fetched for one page only.
    numbers = statement.with_only_columns(Feature.index)
    found = paginate(session, numbers, asked, sorts=sorts, default_sort="index")
    wanted = select(Feature).where(Feature.extraction_id == extraction_id, Feature.index.in_(found.items))
    rows = {row.index: row for row in session.scalars(wanted)}
    return Page(
        items=[FeatureRow.model_validate(rows[index]) for index in found.items],
        total=found.total,
        next_cursor=found.next_cursor,
    )


def matching(extraction_id: str, q: str | None, filters: Filters) -> Select[Any]:
    """The query for the features that a search and filters leave."""
    statement = select(Feature).where(Feature.extraction_id == extraction_id)
    if q and (number := _NUMBER.fullmatch(q.strip())):
        statement = statement.where(Feature.index == int(number[1]))
    elif q:
        statement = statement.where(Feature.search_text.contains(q.lower(), autoescape=True))
    if filters.min_frequency is not None:
        statement = statement.where(Feature.frequency >= filters.min_frequency)
    if filters.max_frequency is not None:
        statement = statement.where(Feature.frequency <= filters.max_frequency)
    if filters.min_activation is not None:
        statement = statement.where(Feature.max_activation >= filters.min_activation)
    if filters.density is not None:
        statement = statement.where(Feature.density == filters.density)
    if filters.starred is not None:
        statement = statement.where(Feature.starred == filters.starred)
    match filters.label_state:
        case "labelled":
            statement = statement.where(Feature.label.is_not(None))
        case "unlabelled":
            statement = statement.where(Feature.label.is_(None))
        case "person":
            statement = statement.where(Feature.label_source == PERSON)
        case "machine":
            statement = statement.where(Feature.label.is_not(None), Feature.label_source != PERSON)
        case None:
            pass
    return statement
