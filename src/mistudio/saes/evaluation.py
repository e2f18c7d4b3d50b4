"""Evaluations of SAEs with their model: queue one, keep its report in a file, read it. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.orm import Session

from mistudio.engine.evaluation.infos import EVALUATION_METRICS
from mistudio.engine.evaluation.settings import EvaluationSettings
from mistudio.errors import StudioError
from mistudio.jobs import Job, submit
from mistudio.saes.library import ready_sae
from mistudio.saes.placement import check_place, tokenization_for
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
        check_place(session, sae)
    if len({sae.model_id for sae in saes}) > 1:
        raise StudioError(
            "saes_of_several_models",
            "These SAEs belong to several models; an evaluation runs one.",
            hint="Evaluate those of each model by themselves.",
            fields={"sae_ids": "belong to several models"},
        )
    tokenization = tokenization_for(session, saes[0], wanted.tokenization_id)
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
