"""What the job `features.extract` does: one pass over tokens, then what directions mean, then files and rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from sqlalchemy import delete, insert

from mistudio.activations.harvesting import open_cache
from mistudio.datasets.tokenize import open_tokens
from mistudio.errors import StudioError
from mistudio.features.feature_pass import FeaturePass
from mistudio.features.labels_current import search_text
from mistudio.features.library import (
    TABLE,
    extraction_folder,
    get_extraction,
    progress_folder,
)
from mistudio.features.logit_lens import CONVENTION, extreme_logits, neighbours
from mistudio.features.schemas import (
    Conventions,
    ExtractionSettings,
    ExtractionSummary,
    ExtractParams,
)
from mistudio.features.streams import Batch, from_cache, from_model
from mistudio.features.tables import SEPARATOR, Extraction, Feature
from mistudio.features.windows import choose, cut_windows
from mistudio.jobs import JobCancelled, JobContext, JobInterrupted
from mistudio.models.library import open_model, open_tokenizer
from mistudio.models.tokenizer import ModelTokenizer
from mistudio.saes.library import get_sae, open_sae
from mistudio.saes.weights import histogram
from mistudio.store import (
    ArrayFolder,
    Examples,
    StoreError,
    TokenStore,
    delete_folder,
    folder_bytes,
    sweep_temporaries,
    write_arrays,
    write_examples,
)

RARE, DENSE = 1e-4, 0.1
_CHECKPOINT_SECONDS = 60.0
_ROWS_AT_ONCE = 5_000
_TOP_TOKENS = 8


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

    columns, excerpts = run.result()
    columns |= extreme_logits(
        model, sae.W_dec, progress=lambda done, total: context.progress(done, total, "latents", "Logits")
    )
    clock.stage("logits")
    columns |= neighbours(
        sae.W_dec, progress=lambda done, total: context.progress(done, total, "latents", "Neighbours")
    )
    columns["decoder_norm"] = sae.decoder_norms().cpu().numpy()
    clock.stage("neighbours")

    chosen = choose(excerpts, settings.quantile_examples)
    columns["quantiles"] = chosen.borders
    examples = cut_windows(
        excerpts,
        chosen,
        tokens,
        settings.window,
        lambda done, total: context.progress(done, total, "examples", "Cut examples"),
    )
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
    context.progress(0, None, "examples", "Write files")
    meta = {"conventions": conventions.model_dump(), "n_tokens": run.statistics.n_tokens}
    write_examples(folder, examples, columns, meta)
    clock.stage("examples")
    _write_rows(context, extraction.id, columns, examples, tokens, open_tokenizer(context.settings, model_id))
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


def _write_rows(
    context: JobContext,
    extraction_id: str,
    columns: dict[str, Any],
    examples: Examples,
    tokens: TokenStore,
    tokenizer: ModelTokenizer,
) -> None:
    """One row per latent, in transactions short enough for others to write between them."""
    with context.database.session() as session:
        session.execute(delete(Feature).where(Feature.extraction_id == extraction_id))
    frequency, maximum, mean = (columns[name].tolist() for name in ("frequency", "maximum", "mean"))
    texts = top_tokens_texts(examples, tokenizer)
    total = len(frequency)
    for start in range(0, total, _ROWS_AT_ONCE):
        rows: list[dict[str, Any]] = [
            {
                "extraction_id": extraction_id,
                "index": index,
                "frequency": frequency[index],
                "max_activation": maximum[index],
                "mean_activation": mean[index],
                "density": density(frequency[index]),
                "top_tokens_text": texts[index],
                "starred": False,
                "notes": "",
                "search_text": search_text(None, None, texts[index]),
            }
            for index in range(start, min(start + _ROWS_AT_ONCE, total))
        ]
        with context.database.session() as session:
            if session.get(Extraction, extraction_id) is None:
                raise JobCancelled  # deleted while this ran
            session.execute(insert(Feature), rows)
        context.progress(start + len(rows), total, "latents", "Write rows")


def density(frequency: float) -> str:
    """dead, rare (under 1 in 10,000 tokens), dense (over 1 in 10) or normal."""
    if frequency == 0:
        return "dead"
    return "rare" if frequency < RARE else "dense" if frequency > DENSE else "normal"


def top_tokens_texts(examples: Examples, tokenizer: ModelTokenizer) -> list[str]:
    """For each latent the strongest tokens of its top examples, each once, strongest first, joined by SEPARATOR."""
    places = examples.window_offsets[:-1] + (examples.position - examples.window_start.astype(np.int64))
    ids = examples.tokens[places].tolist() if len(places) else []
    top = (examples.group == 0).tolist()
    cuts = examples.offsets.tolist()
    known: dict[int, str] = {}
    texts: list[str] = []
    for first, end in pairwise(cuts):
        found = list(dict.fromkeys(ids[i] for i in range(first, end) if top[i]))[:_TOP_TOKENS]
        for id in found:
            if id not in known:
                # NUL is what PostgreSQL cannot store, and the separator must stay one.
                known[id] = tokenizer.text_of(id).replace("\0", "␀").replace(SEPARATOR, "␟")
        texts.append(SEPARATOR.join(known[id] for id in found))
    return texts


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
