"""What the web may ask about the recordings of trainings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from mistudio.training import recordings
from mistudio.training.recordings import Environment, Histograms, Looks, LooksAsked
from mistudio.web import ReadingDep, SettingsDep, problems

router = APIRouter(prefix="/trainings", tags=["trainings"])


@router.get(
    "/{training_id}/histograms",
    response_model=Histograms,
    summary="Histograms of the latents over time",
    responses=problems(400, 404, 422),
)
def training_histograms(
    session: ReadingDep,
    settings: SettingsDep,
    training_id: str,
    names: Annotated[
        list[str] | None, Query(description="Which of them. Default: all that were recorded.")
    ] = None,
) -> Histograms:
    """How often latents are active, and the norms and biases of their weights, at up to some 256 steps."""
    return recordings.histograms(session, settings, training_id, names)


@router.get(
    "/{training_id}/looks",
    response_model=Looks,
    summary="Early looks at features",
    responses=problems(404, 422),
)
def training_looks(
    session: ReadingDep,
    settings: SettingsDep,
    training_id: str,
    step: Annotated[
        int | None, Query(ge=0, description="The look of this step. Default: the newest.")
    ] = None,
) -> Looks:
    """What a few latents fire on, as the dictionary was at some step of its training."""
    return recordings.looks(session, settings, training_id, step)


@router.put(
    "/{training_id}/looks",
    response_model=Looks,
    summary="Ask for latents in early looks",
    responses=problems(400, 404, 422),
)
def ask_training_looks(
    session: ReadingDep, settings: SettingsDep, training_id: str, request: LooksAsked
) -> Looks:
    """Have these latents in every look from now on; a running training takes one within seconds."""
    recordings.ask_looks(session, settings, training_id, request)
    return recordings.looks(session, settings, training_id)


@router.get(
    "/{training_id}/environments",
    response_model=list[Environment],
    summary="What its attempts ran in",
    responses=problems(404),
)
def training_environments(session: ReadingDep, settings: SettingsDep, training_id: str) -> list[Environment]:
    """Packages, hardware, threads, seeds and settings of each attempt, the newest first."""
    return recordings.environments(session, settings, training_id)
