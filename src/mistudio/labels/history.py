"""Every label a feature was ever given, and which of them is in force."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.errors import Conflict, StudioError
from mistudio.features.labels_current import PERSON, change_feature, get_feature, set_label
from mistudio.labels.schemas import LabelOut, LabelsOut, ScoreDetail
from mistudio.labels.tables import Label

_IN_ONE_QUERY = 500


@dataclass(frozen=True)
class MachineLabel:
    """A label that a machine found for a feature."""

    index: int
    text: str
    score: ScoreDetail | None = None


def labels_of(session: Session, extraction_id: str, index: int) -> LabelsOut:
    """The label in force and the whole history, newest first. Raises NotFound."""
    feature = get_feature(session, extraction_id, index)
    rows = session.scalars(
        select(Label)
        .where(Label.extraction_id == extraction_id, Label.feature_index == index)
        .order_by(Label.created_at.desc(), Label.id.desc())
    ).all()
    return LabelsOut(
        extraction_id=extraction_id,
        feature_index=index,
        label=feature.label,
        label_source=feature.label_source,
        label_score=feature.label_score,
        history=[LabelOut.model_validate(row) for row in rows],
    )


def write_by_hand(
    session: Session, extraction_id: str, index: int, text: str, *, notes: str | None = None
) -> LabelsOut:
    """Label a feature as a person; it stays in force whatever machines say. Raises NotFound, StudioError."""
    get_feature(session, extraction_id, index)
    text = " ".join(text.split()).replace("\0", "")
    if not text:
        raise StudioError(
            "label_empty",
            "The label is empty.",
            hint="Write what the feature stands for, or take the label away instead.",
            status=422,
            fields={"text": "empty"},
        )
    session.add(Label(extraction_id=extraction_id, feature_index=index, text=text, source=PERSON))
    session.flush()
    put_in_force(session, extraction_id, [index])
    if notes is not None:
        change_feature(session, extraction_id, index, notes=notes)
    return labels_of(session, extraction_id, index)


def take_away(session: Session, extraction_id: str, index: int) -> LabelsOut:
    """Take a label made by hand away: the best by a machine is in force again. Raises NotFound, Conflict."""
    feature = get_feature(session, extraction_id, index)
    if feature.label_source != PERSON:
        raise Conflict(
            "no_label_by_hand",
            f"Feature {index} has no label made by hand that could be taken away.",
            hint="Labels by machines stay in its history; write one by hand to put it in their place.",
        )
    session.add(Label(extraction_id=extraction_id, feature_index=index, text=None, source=PERSON))
    session.flush()
    put_in_force(session, extraction_id, [index])
    return labels_of(session, extraction_id, index)


def add_machine_labels(
    session: Session, extraction_id: str, run_id: str | None, source: str, found: Sequence[MachineLabel]
) -> int:
    """Note what a machine found; the number of features on which its label is now in force.

    Where a person's label stands, it goes on standing. Raises NotFound for a feature that is not there.
    """
    for label in found:
        session.add(
            Label(
                extraction_id=extraction_id,
                feature_index=label.index,
                text=label.text,
                source=source,
                score=label.score.balanced_accuracy if label.score else None,
                score_detail=label.score.model_dump(mode="json") if label.score else None,
                run_id=run_id,
            )
        )
    session.flush()
    indices = [label.index for label in found]
    in_force = put_in_force(session, extraction_id, indices)
    return sum(1 for row in in_force.values() if row is not None and row.source == source)


def put_in_force(session: Session, extraction_id: str, indices: Sequence[int]) -> Mapping[int, Label | None]:
    """Give features the label that their history calls for; which that is. Raises NotFound."""
    history: dict[int, list[Label]] = defaultdict(list)
    for start in range(0, len(indices), _IN_ONE_QUERY):
        part = list(indices[start : start + _IN_ONE_QUERY])
        rows = session.scalars(
            select(Label)
            .where(Label.extraction_id == extraction_id, Label.feature_index.in_(part))
            .order_by(Label.created_at, Label.id)
        )
        for row in rows:
            history[row.feature_index].append(row)
    chosen: dict[int, Label | None] = {}
    for index in dict.fromkeys(indices):
        label = chosen[index] = label_in_force(history[index])
        if label is not None and label.source == PERSON:
            set_label(session, extraction_id, index, label.text, PERSON, None)
            continue
        if any(row.source == PERSON for row in history[index]):
            set_label(session, extraction_id, index, None, PERSON, None)  # it was taken away
        if label is not None:
            set_label(session, extraction_id, index, label.text, label.source[:100], label.score)
    return chosen


def label_in_force(history: Iterable[Label]) -> Label | None:
    """Of a feature's labels, oldest first, the one that counts.

    A person's newest, unless it says that the label was taken away. Else, of each machine's newest label, the one
    with the best score; one without a score comes after all that have one, and the newer wins a tie.
    """
    newest: dict[str, Label] = {}
    for label in history:
        newest.pop(label.source, None)
        newest[label.source] = label
    person = newest.pop(PERSON, None)
    if person is not None and person.text is not None:
        return person
    best: Label | None = None
    for label in newest.values():
        if best is None or _rank(label) >= _rank(best):
            best = label
    return best


def _rank(label: Label) -> float:
    return -1.0 if label.score is None else label.score
