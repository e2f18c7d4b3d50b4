"""Labelling runs as things: created, listed, described."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.errors import NotFound, StudioError
from mistudio.features.labels_current import PERSON
from mistudio.features.library import ready_extraction
from mistudio.features.tables import Extraction, Feature
from mistudio.jobs import JobOut, latest_jobs
from mistudio.labels.schemas import (
    LabellingForm,
    LabellingParams,
    LabellingRunCreate,
    LabellingRunOut,
    LabelScope,
    ScoreDetail,
    SourceInfo,
)
from mistudio.labels.scoring import SCORE_METHODS
from mistudio.labels.tables import Label, LabellingRun
from mistudio.models.library import ready_model
from mistudio.models.tables import Model
from mistudio.settings import Settings
from mistudio.templates.library import use_template

TABLE = "labelling_runs"
LONGEST_SOURCE = 100


def create_run(
    session: Session, settings: Settings, extraction_id: str, wanted: LabellingRunCreate
) -> LabellingRun:
    """Choose the features, check the source, insert the run and queue its job.

    Raises NotFound, Conflict `extraction_not_ready`; StudioError `no_features_in_scope`, `feature_unknown`,
    `labels_endpoint_unset`, `no_chat_template`, `extraction_without_text`.
    """
    if wanted.template_id is not None:
        use_template(session, wanted.template_id, "labelling")
    extraction = ready_extraction(session, extraction_id)
    if extraction.tokenization_id is None or extraction.sae.model_id is None:
        raise StudioError(
            "extraction_without_text",
            f"The text or the model that “{extraction.name}” was made with has been deleted.",
            hint="Extract the features again; labels need passages in which a feature is silent.",
        )
    source = _source(session, settings, extraction, wanted)
    indices = features_in_scope(session, extraction_id, wanted.scope)
    if not indices:
        raise StudioError(
            "no_features_in_scope",
            "No feature is left to label: none fits the scope, or all that do have labels.",
            hint="Widen the scope, or set “only” to all.",
            status=422,
            fields={"scope": "leaves no feature"},
        )
    run = LabellingRun(
        extraction_id=extraction_id,
        source=source[:LONGEST_SOURCE],
        request=wanted.model_dump(mode="json"),
        n_features=len(indices),
        indices=indices,
    )
    session.add(run)
    session.flush()
    jobs.submit(
        session,
        "labels.run_remote" if wanted.source == "openai" else "labels.run",
        subject=f"{TABLE}/{run.id}",
        title=f"Label {len(indices):,} features of {extraction.name}",
        params=LabellingParams(run_id=run.id),
    )
    return run


def _source(session: Session, settings: Settings, extraction: Extraction, wanted: LabellingRunCreate) -> str:
    if wanted.source == "contrast":
        return "machine:contrast"
    if wanted.source == "openai":
        from mistudio.labels.endpoint import Endpoint

        return f"machine:openai:{Endpoint.of(settings, wanted.model or '').model}"
    model = chat_model(session, extraction, wanted.model)
    return f"machine:local:{model.name}"


def chat_model(session: Session, extraction: Extraction, wanted: str | None) -> Model:
    """The local model that labels: the one named, else the SAE's own. Raises NotFound, StudioError."""
    model = ready_model(session, wanted or str(extraction.sae.model_id))
    if not model.has_chat_template:
        raise StudioError(
            "no_chat_template",
            f"The model “{model.name}” has no chat template, so it cannot be asked for labels.",
            hint="Name a model that was tuned for chat, or use the source “contrast”.",
            fields={"model": "not a chat model"},
        )
    return model


def features_in_scope(session: Session, extraction_id: str, scope: LabelScope) -> list[int]:
    """The features that a run labels, in its order. Raises StudioError `feature_unknown` for one that is not there."""
    statement = select(Feature.index).where(
        Feature.extraction_id == extraction_id, Feature.max_activation > 0
    )
    if scope.only == "unlabelled":
        statement = statement.where(Feature.label.is_(None))
    elif scope.only == "not_by_person":
        statement = statement.where(func.coalesce(Feature.label_source, "") != PERSON)
    if scope.min_frequency is not None and scope.indices is None:
        statement = statement.where(Feature.frequency >= scope.min_frequency)
    if scope.max_frequency is not None and scope.indices is None:
        statement = statement.where(Feature.frequency <= scope.max_frequency)
    if scope.starred is not None:
        statement = statement.where(Feature.starred == scope.starred)
    order = {
        "max_activation": Feature.max_activation.desc(),
        "frequency": Feature.frequency.desc(),
        "index": Feature.index.asc(),
    }[scope.order]
    ranked = session.scalars(statement.order_by(order, Feature.index))
    if scope.indices is None:
        return list(ranked.fetchmany(scope.limit))
    named = set(scope.indices)
    highest = session.scalar(select(func.max(Feature.index)).where(Feature.extraction_id == extraction_id))
    unknown = sorted(index for index in named if not 0 <= index <= (highest if highest is not None else -1))
    if unknown:
        raise StudioError(
            "feature_unknown",
            f"This extraction has no feature {unknown[0]}: they are 0 to {highest}.",
            status=422,
            fields={"scope.indices": f"{unknown[0]} is not a feature"},
        )
    return [index for index in ranked if index in named][: scope.limit]


def get_run(session: Session, run_id: str) -> LabellingRun:
    """The run of this id. Raises NotFound."""
    run = session.get(LabellingRun, run_id)
    if run is None:
        raise NotFound("labelling_run", run_id)
    return run


def runs_out(session: Session, runs: Sequence[LabellingRun]) -> list[LabellingRunOut]:
    """Runs as they cross the API, each with its job and the number of labels it gave."""
    newest = latest_jobs(session, [f"{TABLE}/{run.id}" for run in runs])
    counted = session.execute(
        select(Label.run_id, func.count())
        .where(Label.run_id.in_([run.id for run in runs]))
        .group_by(Label.run_id)
    ).all()
    counts = {row[0]: row[1] for row in counted}
    found: list[LabellingRunOut] = []
    for run in runs:
        out = LabellingRunOut.model_validate(run)
        out.labels = counts.get(run.id, 0)
        if job := newest.get(f"{TABLE}/{run.id}"):
            out.job = JobOut.model_validate(job)
        found.append(out)
    return found


def labelling_form(settings: Settings) -> LabellingForm:
    """The schema of a run, the sources with whether they can be used, and what scores mean."""
    has_endpoint = bool(settings.labels_base_url)
    return LabellingForm(
        form=LabellingRunCreate.model_json_schema(),
        sources=[
            SourceInfo(
                source="contrast",
                title="Contrast (no model)",
                description="The words and contexts that set a feature's examples apart from other text.",
                available=True,
            ),
            SourceInfo(
                source="local",
                title="Local chat model",
                description="A chat model of this library reads the examples. Small models label poorly: look at the "
                "scores.",
                available=True,
            ),
            SourceInfo(
                source="openai",
                title="OpenAI-compatible endpoint",
                description="A model behind the endpoint that the server's settings name.",
                available=has_endpoint,
                why_not=None
                if has_endpoint
                else "Set MISTUDIO_LABELS_BASE_URL (and MISTUDIO_LABELS_API_KEY) and restart.",
            ),
        ],
        score_methods=SCORE_METHODS,
        score_fields={name: field.description or "" for name, field in ScoreDetail.model_fields.items()},
    )
