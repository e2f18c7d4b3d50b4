"""Tokenizations of a data set: make, list, find, preview, read, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from mistudio.datasets.library import get_dataset, ready_dataset
from mistudio.datasets.packing import Batch, Packer
from mistudio.datasets.schemas import (
    SequenceOut,
    SequencePage,
    TokenizationCreate,
    TokenizationOut,
    TokenizationSettings,
    TokenizeParams,
)
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.tokenize import open_tokens, split_text
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, JobOut, latest_jobs, submit
from mistudio.models.deletion import delete_owner
from mistudio.models.library import open_tokenizer, ready_model
from mistudio.models.names import add_row, choose_name
from mistudio.models.tables import Model
from mistudio.models.tokenizer import ModelTokenizer
from mistudio.settings import Settings

_PREVIEW_ROWS = 20
_PREVIEW_CHARACTERS = 20_000


def add_tokenization(
    session: Session, settings: Settings, dataset_id: str, wanted: TokenizationCreate
) -> tuple[Tokenization, Job]:
    """Note a tokenization and queue the job that makes it.

    Raises StudioError `context_too_long`, `no_bos`, `no_eos`; Conflict `dataset_not_ready`, `model_not_ready`,
    `name_taken`.
    """
    dataset = ready_dataset(session, dataset_id)
    model = ready_model(session, wanted.model_id)
    check_settings(settings, model, wanted.settings)
    name = choose_name(
        session,
        Tokenization.name,
        wanted.name,
        f"{model.name} · {wanted.settings.context_length}",
        Tokenization.dataset_id == dataset.id,
    )
    tokenization = Tokenization(
        dataset=dataset, model=model, name=name, settings=wanted.settings.model_dump(mode="json")
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
    Packer(open_tokenizer(settings, model), wanted, model.vocab_size or 0)


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
    end = min(store.n_sequences, offset + limit)
    items = [
        SequenceOut(index=i, tokens=tokenizer.tokens_of(store[i].tolist()))
        for i in range(min(offset, end), end)
    ]
    more = items and end < store.n_sequences
    return SequencePage(items=items, total=store.n_sequences, next_offset=end if more else None)


def preview_sequences(
    settings: Settings, dataset: Dataset, model: Model, wanted: TokenizationSettings, *, limit: int
) -> SequencePage:
    """What the first rows would become under these settings, before any run."""
    from mistudio.datasets.rows import open_rows

    check_settings(settings, model, wanted)
    tokenizer = open_tokenizer(settings, model)
    rows = open_rows(settings, dataset).rows(0, min(_PREVIEW_ROWS, wanted.max_rows or _PREVIEW_ROWS))
    texts = [str(row.get(dataset.text_column or "") or "")[:_PREVIEW_CHARACTERS] for row in rows]
    return SequencePage(
        items=pack_texts(tokenizer, wanted, model.vocab_size or 0, texts)[:limit],
        total=None,
        next_offset=None,
    )


def pack_texts(
    tokenizer: ModelTokenizer, wanted: TokenizationSettings, vocab_size: int, texts: Sequence[str]
) -> list[SequenceOut]:
    """A few texts as sequences of tokens."""
    packer = Packer(tokenizer, wanted, max(vocab_size, tokenizer.vocab_size))
    batch = Batch()
    for row, text in enumerate(texts):
        if packer.refusal(text) is None:
            batch.pieces += split_text(row, text)
    packed = packer.pack(batch, tokenizer.encode([piece.text for piece in batch.pieces]))
    return [
        SequenceOut(index=i, tokens=tokenizer.tokens_of(sequence.tolist()))
        for i, sequence in enumerate(packed.sequences)
    ]


def _loaded() -> Select[Any]:
    return select(Tokenization).options(joinedload(Tokenization.dataset), joinedload(Tokenization.model))
