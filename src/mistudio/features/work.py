"""What the job `features.extract` does: one pass over tokens, then what directions mean, then files and rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import delete, insert

from mistudio.activations.harvesting import open_cache
from mistudio.datasets.tokenize import open_tokens
from mistudio.errors import StudioError
from mistudio.features.dashboards import DENSE, RARE, feature_rows, write_dashboards
from mistudio.features.feature_pass import FeaturePass
from mistudio.features.library import (
    TABLE,
    extraction_folder,
    get_extraction,
    progress_folder,
)
from mistudio.features.logit_lens import CONVENTION
from mistudio.features.schemas import (
    Conventions,
    ExtractionSettings,
    ExtractionSummary,
    ExtractParams,
)
from mistudio.features.streams import Batch, from_cache, from_model
from mistudio.features.tables import Extraction, Feature
from mistudio.jobs import JobCancelled, JobContext, JobInterrupted
from mistudio.models.library import open_model, open_tokenizer
from mistudio.saes.library import get_sae, open_sae
from mistudio.saes.weights import histogram
from mistudio.store import (
    ArrayFolder,
    StoreError,
    delete_folder,
    folder_bytes,
    sweep_temporaries,
    write_arrays,
)

_CHECKPOINT_SECONDS = 60.0
_ROWS_AT_ONCE = 5_000
UNITS = {"Cut examples": "examples", "Write files": "files"}


def extract_features(context: JobContext, params: ExtractParams) -> dict[str, Any]:
    """Read the tokens, find each latent's statistics and examples, write files and rows; ready only at the very end.

    After a kill it goes on from its last checkpoint. Raises StudioError `no_activations`, TornFile.
    """
    clock = _Clock()
    with context.database.reading() as session:
        extraction = get_extraction(session, params.extraction_id)
        row = get_sae(session, extraction.sae_id)
        model_id, hook = str(row.model_id), str(row.hook)
    settings = ExtractionSettings.model_validate(extraction.settings)
    folder = extraction_folder(context.settings, extraction.id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(folder.parent)
    delete_folder(context.data_dir, folder)  # of an attempt that died between its last two steps

    context.progress(0, None, "tokens", "Load model and SAE")
    sae = open_sae(context.settings, row, device=context.device)
    model = open_model(context.settings, model_id, device=context.device)
    tokens = open_tokens(context.settings, str(extraction.tokenization_id))
    cache = open_cache(context.settings, extraction.cache_id) if extraction.cache_id is not None else None
    limit = settings.n_tokens or tokens.n_tokens
    clock.stage("load")

    run = FeaturePass(
        sae,
        top_examples=settings.top_examples,
        quantile_examples=settings.quantile_examples,
        window=settings.window,
        seed=settings.seed,
        decoder_norm=settings.decoder_norm,
    )
    progress = _Progress(context, extraction, run)

    def batches() -> Iterator[Batch]:
        left, start = limit - run.statistics.n_tokens, progress.next
        if left <= 0:
            return iter(())
        if cache is not None:
            return from_cache(cache, hook, left, sae.device, start)
        return from_model(model, tokens, hook, settings, left, start)

    try:
        context.progress(run.statistics.n_tokens, limit, "tokens", "Read tokens")
        for batch in batches():
            run.update(batch.x, batch.sequences, batch.positions)
            progress.done(batch)
            context.progress(min(run.statistics.n_tokens, limit), limit, "tokens", "Read tokens")
    except JobInterrupted:
        progress.save()
        raise
    if run.statistics.n_tokens == 0:
        raise StudioError(
            "no_activations",
            "Every token was left out: the tokenization holds special tokens only.",
            hint="Turn skip_special_tokens off, or tokenize again.",
        )
    clock.stage("read tokens")

    conventions = Conventions(
        skip_bos=settings.skip_bos,
        skip_special_tokens=settings.skip_special_tokens,
        outlier_multiple=settings.outlier_multiple,
        decoder_norm=settings.decoder_norm,
        activations="model" if cache is None else "cache",
        dtype="float32" if cache is None else cache.dtype,
        model_dtype=str(model.dtype).removeprefix("torch.") if cache is None else None,
        logits=CONVENTION,
    )
    columns, examples = write_dashboards(
        folder,
        run,
        model,
        tokens,
        settings,
        conventions,
        lambda stage, done, total: context.progress(done, total, UNITS.get(stage, "latents"), stage),
    )
    clock.stage("dashboards")
    tokenizer = open_tokenizer(context.settings, model_id)
    _write_rows(
        context, extraction.id, feature_rows(extraction.id, columns, examples, tokenizer), row.d_sae or 0
    )
    clock.stage("rows")

    summary = summarise(columns, run.statistics.n_tokens, progress.sequences, progress.left_out, clock.stages)
    _make_ready(context, extraction.id, conventions, summary)
    progress.forget()
    return {
        "n_tokens": summary.n_tokens,
        "n_dead": summary.n_dead,
        "l0": summary.l0,
        "seconds": summary.seconds,
    }


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._at = time.monotonic()

    def stage(self, name: str) -> None:
        """End a stage."""
        now = time.monotonic()
        self.stages[name] = round(now - self._at, 3)
        self._at = now


class _Progress:
    """What was counted so far, kept in a folder of its own so that a killed job goes on from there."""

    def __init__(self, context: JobContext, extraction: Extraction, run: FeaturePass) -> None:
        self._context, self._run = context, run
        self._folder = progress_folder(context.settings, extraction.id)
        self._saved_at = time.monotonic()
        self.next = 0
        self.left_out = self.sequences = 0
        self._number = 0
        self._folder.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(self._folder)
        for path in sorted(self._folder.glob("at-*"), reverse=True):
            try:
                saved = ArrayFolder(path)
            except StoreError:
                continue
            run.restore(saved)
            self.next, self.left_out = int(saved.meta["next"]), int(saved.meta["left_out"])
            self.sequences = int(saved.meta["sequences"])
            self._number = int(saved.meta["number"])
            context.log(f"Going on after {run.statistics.n_tokens:,} tokens.")
            break

    def done(self, batch: Batch) -> None:
        """Note a batch; once a minute, keep everything."""
        self.next = batch.next
        self.left_out += batch.left_out
        self.sequences += len(batch.sequences.unique_consecutive())
        if time.monotonic() - self._saved_at >= _CHECKPOINT_SECONDS:
            self.save()

    def save(self) -> None:
        """Keep everything counted so far; the state before that is dropped once this one is whole."""
        self._number += 1
        meta = {
            "next": self.next,
            "left_out": self.left_out,
            "sequences": self.sequences,
            "number": self._number,
        }
        name = f"at-{self._number:08d}"
        write_arrays(self._folder / name, self._run.state(), meta)
        for path in self._folder.glob("at-*"):
            if path.name != name:
                shutil.rmtree(path, ignore_errors=True)
        self._saved_at = time.monotonic()

    def forget(self) -> None:
        """Remove the folder."""
        delete_folder(self._context.data_dir, self._folder)


def _write_rows(context: JobContext, extraction_id: str, rows: Iterator[dict[str, Any]], total: int) -> None:
    """Insert the rows in transactions short enough for others to write between them."""
    with context.database.session() as session:
        session.execute(delete(Feature).where(Feature.extraction_id == extraction_id))
    done = 0
    while block := list(islice(rows, _ROWS_AT_ONCE)):
        with context.database.session() as session:
            if session.get(Extraction, extraction_id) is None:
                raise JobCancelled  # deleted while this ran
            session.execute(insert(Feature), block)
        done += len(block)
        context.progress(done, total, "latents", "Write rows")


def summarise(
    columns: dict[str, Any], n_tokens: int, n_sequences: int, left_out: int, stages: dict[str, float]
) -> ExtractionSummary:
    """The counts over all latents."""
    frequency, fired = columns["frequency"], columns["count"] > 0
    return ExtractionSummary(
        n_sequences=n_sequences,
        n_tokens=n_tokens,
        tokens_left_out=left_out,
        l0=float(columns["count"].sum() / n_tokens),
        n_latents=len(frequency),
        n_dead=int((~fired).sum()),
        n_rare=int((fired & (frequency < RARE)).sum()),
        n_dense=int((frequency > DENSE).sum()),
        log10_frequencies=histogram(np.log10(frequency[fired])),
        max_activations=histogram(columns["maximum"][fired]),
        seconds=round(sum(stages.values()), 3),
        seconds_by_stage=stages,
    )


def _make_ready(
    context: JobContext, extraction_id: str, conventions: Conventions, summary: ExtractionSummary
) -> None:
    folder = extraction_folder(context.settings, extraction_id)
    size = folder_bytes(folder)
    with context.database.session() as session:
        row = session.get(Extraction, extraction_id)
        if row is not None:
            row.conventions, row.summary = conventions.model_dump(), summary.model_dump()
            row.n_tokens, row.bytes = summary.n_tokens, size
    if row is None:  # deleted while this ran
        delete_folder(context.data_dir, folder)
        raise JobCancelled
    for channel in (TABLE, f"{TABLE}/{extraction_id}"):
        context.publish(channel, "changed", {"id": extraction_id})
