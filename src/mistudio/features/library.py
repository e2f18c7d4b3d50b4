"""The extractions that are there: create with sensible defaults, list, delete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mistudio.activations.caches import ready_cache
from mistudio.activations.schemas import HarvestSettings
from mistudio.activations.tables import ActivationCache
from mistudio.db import new_id
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.features.schemas import ExtractionCreate, ExtractionOut, ExtractionSettings, ExtractParams
from mistudio.features.tables import Extraction, Feature
from mistudio.jobs import Job, JobOut, latest_jobs, submit
from mistudio.models.deletion import delete_owner
from mistudio.saes.library import ready_sae
from mistudio.saes.placement import check_place, tokenization_for
from mistudio.saes.tables import Sae
from mistudio.saes.uses import check_use
from mistudio.settings import Settings
from mistudio.store import owner_folder

TABLE = "extractions"
JOB_KIND = "features.extract"
CACHED_TOKENS, HARVESTED_TOKENS = 2_000_000, 500_000
"""How many tokens are read unless told otherwise."""


def create_extraction(session: Session, sae_id: str, wanted: ExtractionCreate) -> tuple[Extraction, Job]:
    """Note an extraction and queue its job.

    What is left out is chosen: the tokenization of the SAE's training (else the newest of its model), a cache that
    holds its hook point under the same conventions, the number of tokens.
    Raises NotFound; Conflict `sae_not_ready`, `tokenization_not_ready`, `cache_not_ready`; StudioError
    `sae_not_supported`, `sae_without_place`, `no_tokenization`, `tokenization_of_another_model`, `cache_does_not_fit`.
    """
    sae = ready_sae(session, sae_id)
    check_use(sae, "features")
    check_place(session, sae)
    assert sae.hook is not None  # crosscoders were refused above
    cache = ready_cache(session, wanted.cache_id) if wanted.cache_id is not None else None
    given = wanted.tokenization_id or (cache.tokenization_id if cache is not None else None)
    tokenization = tokenization_for(session, sae, given)
    settings = wanted.settings
    if cache is not None:
        reason = _misfit(cache, sae.hook, tokenization.id, settings)
        if reason is not None:
            raise StudioError(
                "cache_does_not_fit",
                f"The activation cache “{cache.name}” {reason}.",
                hint="Choose another cache, or none: then the model reads the tokens again.",
                fields={"cache_id": reason},
            )
    elif wanted.use_cache:
        cache = _fitting_cache(session, sae.hook, tokenization.id, settings)
    if cache is not None:
        n_tokens = min(settings.n_tokens or CACHED_TOKENS, cache.n_tokens or 0)
    else:
        n_tokens = min(settings.n_tokens or HARVESTED_TOKENS, tokenization.n_tokens or 0)
    extraction = Extraction(
        id=new_id("ex"),
        name=wanted.name or f"{sae.name} · {n_tokens:,} tokens",
        sae_id=sae.id,
        tokenization_id=tokenization.id,
        cache_id=cache.id if cache is not None else None,
        settings=settings.model_copy(update={"n_tokens": n_tokens}).model_dump(mode="json"),
    )
    session.add(extraction)
    session.flush()
    job = submit(
        session,
        JOB_KIND,
        subject=f"{TABLE}/{extraction.id}",
        title=f"Find features of {sae.name}",
        params=ExtractParams(extraction_id=extraction.id),
    )
    return extraction, job


def _misfit(
    cache: ActivationCache, hook: str, tokenization_id: str, settings: ExtractionSettings
) -> str | None:
    """Why activations of this cache are not those asked for; None when they are."""
    if cache.tokenization_id != tokenization_id:
        return "was made from another tokenization"
    if hook not in cache.hooks:
        return f"does not hold {hook}, but {', '.join(cache.hooks)}"
    made = HarvestSettings.model_validate(cache.settings)
    for name, what in (
        ("skip_bos", "leaving out BOS"),
        ("skip_special_tokens", "leaving out special tokens"),
        ("outlier_multiple", "leaving out outliers"),
    ):
        if getattr(made, name) != getattr(settings, name):
            return f"was made under another convention about {what} ({name} = {getattr(made, name)})"
    return None


def _fitting_cache(
    session: Session, hook: str, tokenization_id: str, settings: ExtractionSettings
) -> ActivationCache | None:
    """The largest cache that fits, if it holds as many tokens as are asked for."""
    caches = session.scalars(
        select(ActivationCache)
        .where(ActivationCache.tokenization_id == tokenization_id, ActivationCache.n_tokens > 0)
        .order_by(ActivationCache.n_tokens.desc())
    )
    for cache in caches:
        enough = settings.n_tokens is None or (cache.n_tokens or 0) >= settings.n_tokens
        if enough and _misfit(cache, hook, tokenization_id, settings) is None:
            return cache
    return None


def get_extraction(session: Session, extraction_id: str) -> Extraction:
    """The extraction of this id. Raises NotFound."""
    extraction = session.get(Extraction, extraction_id)
    if extraction is None:
        raise NotFound("extraction", extraction_id)
    return extraction


def ready_extraction(session: Session, extraction_id: str) -> Extraction:
    """As `get_extraction`, and its features are there. Raises Conflict `extraction_not_ready`."""
    extraction = get_extraction(session, extraction_id)
    if not extraction.ready:
        raise Conflict(
            "extraction_not_ready",
            f"The features of “{extraction.name}” are not found yet.",
            hint="Wait for its job, or retry it if it failed.",
        )
    return extraction


def delete_extraction(session: Session, settings: Settings, extraction_id: str) -> list[tuple[str, str]]:
    """Delete an extraction with its features and their labels; returns (table, id) of every row with an id."""
    extraction = get_extraction(session, extraction_id)
    return delete_owner(session, settings, TABLE, extraction.id, name=extraction.name, force=True)


def extractions_out(session: Session, extractions: Sequence[Extraction]) -> list[ExtractionOut]:
    """Extractions as they cross the API, each with its SAE, its latest job and how many features have labels."""
    ids = [extraction.id for extraction in extractions]
    jobs = latest_jobs(session, [f"{TABLE}/{id}" for id in ids])
    saes = {
        sae.id: sae for sae in session.scalars(select(Sae).where(Sae.id.in_({e.sae_id for e in extractions})))
    }
    found: list[ExtractionOut] = []
    for extraction in extractions:
        out = ExtractionOut.model_validate(extraction)
        sae = saes[extraction.sae_id]
        out.sae_name, out.model_id, out.hook, out.d_sae = sae.name, sae.model_id, sae.hook, sae.d_sae
        if job := jobs.get(f"{TABLE}/{extraction.id}"):
            out.job = JobOut.model_validate(job)
        found.append(out)
    marked = (
        select(Feature.extraction_id, func.count(Feature.label), func.count().filter(Feature.starred))
        .where(Feature.extraction_id.in_(ids), Feature.label.is_not(None) | Feature.starred)
        .group_by(Feature.extraction_id)
    )
    counts = {id: (labelled, starred) for id, labelled, starred in session.execute(marked)}
    for out in found:
        out.labelled, out.starred = counts.get(out.id, (0, 0))
    return found


def extraction_folder(settings: Settings, extraction_id: str) -> Path:
    """Where an extraction's examples, histograms and logits are."""
    return owner_folder(settings.data_dir, TABLE, extraction_id)


def progress_folder(settings: Settings, extraction_id: str) -> Path:
    """Where a running extraction keeps what it has counted so far."""
    return owner_folder(settings.data_dir, "extraction_progress", extraction_id)
