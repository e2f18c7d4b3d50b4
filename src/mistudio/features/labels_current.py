"""The label that a feature shows, its star and its notes. The history of labels belongs to the labels domain.

One rule holds for everybody who writes here: a machine never overwrites a person.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from mistudio.errors import NotFound
from mistudio.features.tables import SEPARATOR, Feature

PERSON = "person"


def get_feature(session: Session, extraction_id: str, index: int) -> Feature:
    """One feature's row. Raises NotFound."""
    feature = session.get(Feature, (extraction_id, index))
    if feature is None:
        raise NotFound("feature", f"{extraction_id}/{index}")
    return feature


def set_label(
    session: Session, extraction_id: str, index: int, text: str | None, source: str, score: float | None
) -> bool:
    """Put a label on a feature; False if a person's label stands there and `source` is not “person”.

    Without text (or with spaces only) the label is taken away. Raises NotFound.
    """
    feature = get_feature(session, extraction_id, index)
    if feature.label_source == PERSON and source != PERSON:
        return False
    text = text.strip() if text else None
    feature.label = text or None
    feature.label_source = source if text else None
    feature.label_score = score if text else None
    refresh_search(feature)
    session.flush()
    return True


def change_feature(
    session: Session, extraction_id: str, index: int, *, starred: bool | None = None, notes: str | None = None
) -> Feature:
    """Set a feature's star or notes; None leaves them. Raises NotFound."""
    feature = get_feature(session, extraction_id, index)
    if starred is not None:
        feature.starred = starred
    if notes is not None:
        feature.notes = notes
        refresh_search(feature)
    session.flush()
    return feature


def refresh_search(feature: Feature) -> None:
    """Keep the text that the table's search looks through in step with label, notes and top tokens."""
    feature.search_text = search_text(feature.label, feature.notes, feature.top_tokens_text)


def search_text(label: str | None, notes: str | None, top_tokens_text: str) -> str:
    """What a search looks through, in lower case; parts stand apart so that no match spans two."""
    return SEPARATOR.join(part for part in (label, notes, top_tokens_text) if part).lower()
