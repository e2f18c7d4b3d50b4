"""Evaluations of SAEs with their model: queue one, keep its report in a file, read it. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.datasets.tables import Tokenization
from mistudio.datasets.tokenizations import ready_tokenization
from mistudio.db import Base
from mistudio.engine.evaluation.infos import EVALUATION_METRICS
from mistudio.engine.evaluation.settings import EvaluationSettings
from mistudio.errors import StudioError
from mistudio.jobs import Job, submit
from mistudio.models.library import ready_model
from mistudio.saes.library import check_hook, ready_sae
from mistudio.saes.schemas import EvaluateParams, EvaluationCreate, EvaluationOut, EvaluationRecord, MetricOut
from mistudio.saes.tables import Sae
from mistudio.settings import Settings
from mistudio.store import atomic_file, owner_folder

REPORT = "report.json"


def add_evaluation(
    session: Session, sae_ids: Sequence[str], wanted: EvaluationCreate
) -> tuple[list[Sae], Job]:
    """Queue the job that evaluates these SAEs together.

    Raises NotFound; Conflict `sae_not_ready`, `tokenization_not_ready`; StudioError `sae_without_place`,
    `saes_of_several_models`, `no_tokenization`, `tokenization_of_another_model`.
    """
    saes = [ready_sae(session, sae_id) for sae_id in dict.fromkeys(sae_ids)]
    for sae in saes:
        if sae.model_id is None or sae.hook is None:
            missing = "model" if sae.model_id is None else "hook point"
            raise StudioError(
                "sae_without_place",
                f"It is not known which {missing} the SAE “{sae.name}” belongs to.",
                hint="Say so on its page first.",
                fields={"sae_id": f"has no {missing}"},
            )
        check_hook(ready_model(session, sae.model_id), sae.hook, sae.d_in)
    if len({sae.model_id for sae in saes}) > 1:
        raise StudioError(
            "saes_of_several_models",
            "These SAEs belong to several models; an evaluation runs one.",
            hint="Evaluate those of each model by themselves.",
            fields={"sae_ids": "belong to several models"},
        )
    tokenization = _tokenization(session, saes[0], wanted.tokenization_id)
    settings = EvaluationSettings.model_validate(
        wanted.model_dump(include=set(EvaluationSettings.model_fields))
    )
    more = f" and {len(saes) - 1} more" if len(saes) > 1 else ""
    job = submit(
        session,
        "saes.evaluate",
        subject=f"saes/{saes[0].id}",
        title=f"Evaluate SAE {saes[0].name}{more}",
        params=EvaluateParams(
            sae_ids=[sae.id for sae in saes], tokenization_id=tokenization.id, settings=settings
        ),
    )
    return saes, job


def _tokenization(session: Session, sae: Sae, wanted: str | None) -> Tokenization:
    if wanted is None:
        wanted = training_of(session, sae).get("tokenization_id")
    if wanted is not None:
        found = ready_tokenization(session, wanted)
        if found.model_id != sae.model_id:
            raise StudioError(
                "tokenization_of_another_model",
                f"The tokenization “{found.name}” was made for another model than the one of “{sae.name}”.",
                hint="Tokenize the data set for the SAE's model.",
                fields={"tokenization_id": "made for another model"},
            )
        return found
    newest = (
        select(Tokenization)
        .where(Tokenization.model_id == sae.model_id, Tokenization.n_tokens > 0)
        .order_by(Tokenization.created_at.desc())
        .limit(1)
    )
    newest_found = session.scalars(newest).one_or_none()
    if newest_found is None:
        raise StudioError(
            "no_tokenization",
            f"There is no tokenized data set for the model of “{sae.name}”.",
            hint="Tokenize a data set for that model first.",
            fields={"tokenization_id": "none is there"},
        )
    return newest_found


def training_of(session: Session, sae: Sae) -> dict[str, Any]:
    """What its training's row says of tokens: `tokenization_id`, `harvest`, `held_out_tokens`; empty without one.

    Trainings come later in the pipeline and know SAEs, not the other way round: the table is looked up by name.
    """
    trainings = Base.metadata.tables.get("trainings")
    if trainings is None or sae.training_id is None:
        return {}
    columns = [trainings.c[name] for name in ("tokenization_id", "harvest", "held_out_tokens")]
    row = session.execute(select(*columns).where(trainings.c.id == sae.training_id)).mappings().one_or_none()
    return {} if row is None else {str(name): value for name, value in row.items()}


def report_path(settings: Settings, sae_id: str) -> Path:
    """Where an SAE's newest report is kept."""
    return owner_folder(settings.data_dir, "sae_evaluations", sae_id) / REPORT


def write_evaluation(settings: Settings, sae_id: str, record: EvaluationRecord) -> None:
    """Keep a report in the place of the last one. Raises DiskFull."""
    with atomic_file(report_path(settings, sae_id)) as file:
        file.write(record.model_dump_json(indent=1).encode())


def read_evaluation(settings: Settings, sae_id: str) -> EvaluationOut | None:
    """An SAE's newest evaluation, or None; one written by another version that cannot be read counts as none."""
    try:
        record = EvaluationRecord.model_validate_json(report_path(settings, sae_id).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    infos = {
        name: MetricOut.model_validate(asdict(EVALUATION_METRICS[name]))
        for name in record.report.metrics
        if name in EVALUATION_METRICS
    }
    return EvaluationOut(**dict(record), infos=infos)
