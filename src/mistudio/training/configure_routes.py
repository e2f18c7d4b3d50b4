"""What the web may ask before a training is started: its form, its forecast, and its configuration as texts."""

from __future__ import annotations

from fastapi import APIRouter

from mistudio.engine.recordings.infos import CURVE_METRICS
from mistudio.training.copying import command_of, document_of, python_of
from mistudio.training.documents import checked, read_document, write_json, write_toml
from mistudio.training.forecast import forecast_sweep
from mistudio.training.schemas import (
    DocumentOut,
    DocumentText,
    Forecast,
    TrainingCreate,
    TrainingForm,
    TrainingTexts,
)
from mistudio.web import ReadingDep, SettingsDep, problems

router = APIRouter()


@router.get("/trainings/form", response_model=TrainingForm, summary="The schema of the training form")
def training_form() -> TrainingForm:
    """The JSON schema that validates a new training, and what each recorded metric means."""
    return TrainingForm(
        form=TrainingCreate.model_json_schema(),
        metrics={
            name: {"title": m.title, "unit": m.unit, "formula": m.formula, "description": m.description}
            for name, m in CURVE_METRICS.items()
        },
    )


@router.post(
    "/trainings/forecast",
    response_model=Forecast,
    summary="Forecast trainings",
    responses=problems(404, 409, 422),
)
def forecast_training(session: ReadingDep, settings: SettingsDep, request: TrainingCreate) -> Forecast:
    """The SAEs that would be trained, the memory, disk and time that they would take, and what to know before."""
    return forecast_sweep(session, settings, request)


@router.post(
    "/trainings/document",
    response_model=DocumentOut,
    summary="Read a configuration from a text",
    responses=problems(422),
)
def read_training_document(request: DocumentText) -> DocumentOut:
    """The training that a TOML or JSON text asks for, or what is wrong with it, line by line; nothing is started."""
    found, faults = checked(read_document(request.text, request.format))
    return DocumentOut(request=found, faults=faults)


@router.post(
    "/trainings/texts",
    response_model=TrainingTexts,
    summary="Write a configuration as texts",
    responses=problems(422),
)
def write_training_texts(request: TrainingCreate) -> TrainingTexts:
    """The configuration as TOML and JSON, as the command that starts it and as a Python program that runs it."""
    body = document_of(request)
    return TrainingTexts.model_validate(
        {
            "toml": write_toml(body),
            "json": write_json(body),
            "command": command_of(request),
            "python": python_of(request),
        }
    )
