"""Several trainings side by side: where their settings differ, and what came out, with the best marked."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.engine.changes import read_changes
from mistudio.errors import StudioError
from mistudio.settings import Settings
from mistudio.training.control import change_out
from mistudio.training.fields import Field as RunField
from mistudio.training.fields import all_fields
from mistudio.training.filter_language import Term, render
from mistudio.training.listing import ListRequest, list_trainings
from mistudio.training.listing_schemas import ListedTraining, Value
from mistudio.training.tables import Training
from mistudio.training.views import get_sweep, get_training, training_folder

MOST_COMPARED = 64
_COMPARED = ("model", "dataset", "tokenization", "hook", "cache", "held_out_tokens")


class ComparedSetting(BaseModel):
    """A setting in which the trainings differ."""

    name: str
    title: str
    unit: str
    description: str
    kind: str
    values: list[Value] = Field(description="By training; null where a training has no such setting.")


class ComparedFigure(BaseModel):
    """A measure of the trainings."""

    name: str
    title: str
    unit: str
    description: str = Field(description="How to read it.")
    formula: str
    better: str
    group: str = Field(description="On held-out tokens, or last recorded while training.")
    values: list[float | None]
    best: list[int] = Field(
        description="Positions of the best; empty where no end is the good one, or most share it."
    )


class Comparison(BaseModel):
    """Trainings side by side."""

    trainings: list[ListedTraining]
    settings: list[ComparedSetting] = Field(description="Only those that differ.")
    shared: dict[str, Value] = Field(description="What all have in common, by setting.")
    figures: list[ComparedFigure] = Field(description="Only those that at least one has.")
    changes: list[str] = Field(
        description="By training: what was changed while it trained, in words; its settings are those it began with."
    )


def chosen_ids(session: Session, ids: Sequence[str], sweep_id: str | None) -> list[str]:
    """The trainings that a request names: by themselves, or all of a sweep.

    Raises NotFound, StudioError `nothing_to_compare` for none or too many.
    """
    found = [get_training(session, id).id for id in dict.fromkeys(ids)]
    if sweep_id is not None:
        get_sweep(session, sweep_id)
        members = select(Training.id).where(Training.sweep_id == sweep_id).order_by(Training.position)
        found = list(dict.fromkeys([*found, *session.scalars(members)]))
    if not found or len(found) > MOST_COMPARED:
        raise StudioError(
            "nothing_to_compare",
            f"A comparison needs 1 to {MOST_COMPARED} trainings, and {len(found)} were named.",
            hint="Name trainings with ids=…, or a sweep with sweep=….",
            status=422,
            fields={"ids": f"1 to {MOST_COMPARED}"},
        )
    return found


def compare(session: Session, settings: Settings, ids: Sequence[str]) -> Comparison:
    """These trainings side by side, in this order."""
    fields = [one for one in all_fields() if one.group == "Settings" or one.name in _COMPARED]
    metrics = [one for one in all_fields() if one.group in ("On held-out tokens", "Last recorded")]
    wanted = ListRequest(
        filter=render(Term("id", "=", tuple(ids))),
        columns=[one.name for one in (*fields, *metrics)],
        limit=len(ids),
    )
    found = {one.id: one for one in list_trainings(session, settings, wanted).items}
    trainings = [found[id] for id in ids]
    differing: list[ComparedSetting] = []
    shared: dict[str, Value] = {}
    for one in fields:
        values = [training.values[one.name] for training in trainings]
        if any(value != values[0] for value in values):
            differing.append(_setting(one, values))
        elif values[0] is not None:
            shared[one.name] = values[0]
    figures = [_figure(one, [training.values[one.name] for training in trainings]) for one in metrics]
    if len({training.sweep_id for training in trainings}) == 1:
        # What is trained in one pass is equally fast.
        figures = [
            one.model_copy(update={"best": []}) if one.name == "tokens_per_second" else one for one in figures
        ]
    return Comparison(
        trainings=trainings,
        settings=differing,
        shared=shared,
        figures=sorted(
            (one for one in figures if any(value is not None for value in one.values)),
            key=lambda one: one.group != "On held-out tokens",
        ),
        changes=[_changes(settings, id) for id in ids],
    )


def _changes(settings: Settings, training_id: str) -> str:
    told = map(change_out, read_changes(training_folder(settings, training_id)))
    return "; ".join(
        f"{one.title} {one.before:.6g} → {one.after:.6g} after step {one.step:,}" for one in told
    )


def _setting(one: RunField, values: list[Value]) -> ComparedSetting:
    return ComparedSetting(
        name=one.name,
        title=one.title,
        unit=one.unit,
        description=one.description,
        kind=one.kind,
        values=values,
    )


def _figure(one: RunField, values: list[Value]) -> ComparedFigure:
    numbers = [float(value) if isinstance(value, (int, float)) else None for value in values]
    known = [value for value in numbers if value is not None]
    best: list[int] = []
    if one.better and len(known) > 1:
        top = max(known) if one.better == "higher" else min(known)
        best = [place for place, value in enumerate(numbers) if value == top]
        if 2 * len(best) > len(known):  # where most are the best, none stands out
            best = []
    return ComparedFigure(
        name=one.name,
        title=one.title,
        unit=one.unit,
        description=one.description,
        formula=one.formula,
        better=one.better,
        group=one.group,
        values=numbers,
        best=best,
    )
