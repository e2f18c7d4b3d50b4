"""Tokenizations of a data set: make, list, find, preview, read, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from mistudio.datasets.kept_columns import FILE as KEPT_FILE
from mistudio.datasets.kept_columns import KeptColumns
from mistudio.datasets.library import choose_text_column, get_dataset, ready_dataset
from mistudio.datasets.packing import Packer
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.tokenization_preview import preview_rows, sequence_out
from mistudio.datasets.tokenization_schemas import (
    SequencePage,
    TokenizationCreate,
    TokenizationOut,
    TokenizationPreview,
    TokenizationSettings,
    TokenizeParams,
)
from mistudio.datasets.tokenize import open_tokens
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, JobOut, latest_jobs, submit
from mistudio.models.deletion import delete_owner
from mistudio.models.library import open_tokenizer, ready_model
from mistudio.models.names import add_row, choose_name
from mistudio.models.tables import Model
from mistudio.settings import Settings


def add_tokenization(
    session: Session, settings: Settings, dataset_id: str, wanted: TokenizationCreate
) -> tuple[Tokenization, Job]:
    """Note a tokenization and queue the job that makes it.

    Raises StudioError `bad_pattern`, `context_too_long`, `no_bos`, `no_column`, `no_eos`, `no_text_column`; Conflict
    `dataset_not_ready`, `model_not_ready`, `name_taken`.
    """
    dataset = ready_dataset(session, dataset_id)
    model = ready_model(session, wanted.model_id)
    column = check_columns(dataset, wanted)
    check_settings(settings, model, wanted.settings)
    name = choose_name(
        session,
        Tokenization.name,
        wanted.name,
        f"{model.name} · {wanted.settings.context_length}",
        Tokenization.dataset_id == dataset.id,
    )
    tokenization = Tokenization(
        dataset=dataset,
        model=model,
        name=name,
        text_column=column,
        settings=wanted.settings.model_dump(mode="json"),
    )
    add_row(session, tokenization)
    job = submit(
        session,
        "datasets.tokenize",
        subject=f"tokenizations/{tokenization.id}",
        title=f"Tokenize {dataset.name} for {model.name}",
        params=TokenizeParams(tokenization_id=tokenization.id),
    )
    return tokenization, job


def check_columns(dataset: Dataset, wanted: TokenizationCreate) -> str:
    """The column to read. Raises StudioError `no_text_column`, `no_column` naming the columns there are."""
    types: dict[str, str] = {column["name"]: column["type"] for column in dataset.columns}
    column = choose_text_column(dataset.name, types, wanted.text_column or dataset.text_column)
    for name in wanted.settings.metadata_columns:
        if name not in types:
            raise StudioError(
                "no_column",
                f"{dataset.name} has no column “{name}”.",
                hint=f"Its columns are {', '.join(types)}.",
                status=422,
                fields={"settings.metadata_columns": f"no column “{name}”"},
            )
    return column


def check_settings(settings: Settings, model: Model, wanted: TokenizationSettings) -> None:
    """Refuse what this model or its tokenizer cannot do. Raises StudioError."""
    if model.context_length is not None and wanted.context_length > model.context_length:
        raise StudioError(
            "context_too_long",
            f"A context length of {wanted.context_length:,} tokens is more than {model.name} can read "
            f"({model.context_length:,}).",
            hint="Choose a shorter one.",
            status=422,
            fields={"settings.context_length": f"at most {model.context_length}"},
        )
    from mistudio.datasets.row_filters import RowFilters

    Packer(open_tokenizer(settings, model), wanted, model.vocab_size or 0)
    RowFilters(wanted.filters)


def get_tokenization(session: Session, tokenization_id: str) -> Tokenization:
    """The tokenization of this id. Raises NotFound."""
    found = session.scalar(_loaded().where(Tokenization.id == tokenization_id))
    if found is None:
        raise NotFound("tokenization", tokenization_id)
    return found


def find_tokenization(session: Session, dataset_id: str, key: str) -> Tokenization:
    """A data set's tokenization by its id or its name; a model's id or name finds the newest one for it.

    Raises NotFound.
    """
    of_dataset = _loaded().where(Tokenization.dataset_id == get_dataset(session, dataset_id).id)
    for condition in (
        Tokenization.id == key,
        Tokenization.name == key,
        Tokenization.model_id == key,
        Tokenization.model.has(Model.name == key),
    ):
        newest = of_dataset.where(condition).order_by(Tokenization.created_at.desc(), Tokenization.id.desc())
        found = session.scalars(newest.limit(1)).one_or_none()
        if found is not None:
            return found
    raise NotFound("tokenization", key)


def ready_tokenization(session: Session, tokenization_id: str) -> Tokenization:
    """As `get_tokenization`, and its tokens are there. Raises Conflict `tokenization_not_ready`."""
    tokenization = get_tokenization(session, tokenization_id)
    if not tokenization.ready:
        raise not_ready(tokenization)
    return tokenization


def not_ready(tokenization: Tokenization) -> Conflict:
    """The refusal to read a tokenization that is not there yet."""
    return Conflict(
        "tokenization_not_ready",
        f"The tokenization “{tokenization.name}” is not complete.",
        hint="Wait for its job, or retry it if it failed.",
    )


def list_query(dataset_id: str | None = None, model_id: str | None = None) -> Select[Any]:
    """Tokenizations, of one data set or of one model if given."""
    query = _loaded()
    if dataset_id is not None:
        query = query.where(Tokenization.dataset_id == dataset_id)
    return query if model_id is None else query.where(Tokenization.model_id == model_id)


def tokenizations_out(session: Session, tokenizations: Sequence[Tokenization]) -> list[TokenizationOut]:
    """Tokenizations as they cross the API, each with its latest job."""
    jobs = latest_jobs(session, [f"tokenizations/{t.id}" for t in tokenizations])
    found = [TokenizationOut.model_validate(t) for t in tokenizations]
    for out in found:
        if job := jobs.get(f"tokenizations/{out.id}"):
            out.job = JobOut.model_validate(job)
    return found


def job_of(session: Session, tokenization: Tokenization) -> Job:
    """The latest job that makes it. Raises NotFound."""
    subject = f"tokenizations/{tokenization.id}"
    job = latest_jobs(session, [subject]).get(subject)
    if job is None:
        raise NotFound("job", tokenization.id)
    return job


def delete_tokenization(
    session: Session, settings: Settings, tokenization: Tokenization, *, force: bool = False
) -> list[tuple[str, str]]:
    """Delete a tokenization. Raises Conflict `in_use` while trainings or caches use it, unless `force`."""
    return delete_owner(
        session, settings, "tokenizations", tokenization.id, name=tokenization.name, force=force
    )


def page_of_sequences(
    settings: Settings, tokenization: Tokenization, *, offset: int, limit: int
) -> SequencePage:
    """Finished sequences as tokens, padding left out."""
    store = open_tokens(settings, tokenization)
    tokenizer = open_tokenizer(settings, tokenization.model_id)
    columns = TokenizationSettings.model_validate(tokenization.settings).metadata_columns
    # Tokenizations of the time before columns were copied have none, and stay readable.
    kept = KeptColumns(store.folder) if columns and (store.folder / KEPT_FILE).exists() else None
    start = min(offset, store.n_sequences)
    end = min(store.n_sequences, offset + limit)
    sources = store.sources(start, max(start, end))
    items = [
        sequence_out(
            tokenizer,
            start + i,
            store[start + i],
            row=row,
            offset=at,
            values=kept.of(row) if kept else {},
            columns=columns,
        )
        for i, (row, at) in enumerate(zip(sources.row.tolist(), sources.offset.tolist(), strict=True))
    ]
    more = items and end < store.n_sequences
    return SequencePage(items=items, total=store.n_sequences, next_offset=end if more else None)


def preview_tokenization(
    settings: Settings,
    dataset: Dataset,
    model: Model,
    wanted: TokenizationCreate,
    *,
    offset: int,
    rows: int,
    limit: int,
) -> TokenizationPreview:
    """What `rows` rows from `offset` on would become, `limit` sequences of it. Raises as `add_tokenization` does."""
    from mistudio.datasets.rows import open_rows

    column = check_columns(dataset, wanted)
    check_settings(settings, model, wanted.settings)
    stop = min(dataset.rows or 0, wanted.settings.max_rows or dataset.rows or 0)
    found = open_rows(settings, dataset).rows(offset, max(0, min(rows, stop - offset)))
    return preview_rows(
        found,
        offset,
        column,
        open_tokenizer(settings, model),
        wanted.settings,
        vocab_size=model.vocab_size or 0,
        limit=limit,
        more=offset + len(found) < stop,
    )


def _loaded() -> Select[Any]:
    return select(Tokenization).options(joinedload(Tokenization.dataset), joinedload(Tokenization.model))
