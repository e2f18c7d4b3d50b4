"""The job that labels: random passages once, then feature after feature its evidence, a label and a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from mistudio.datasets.tokenize import open_tokens
from mistudio.errors import NotFound
from mistudio.features.library import get_extraction
from mistudio.features.pages import open_examples
from mistudio.features.tables import Extraction
from mistudio.jobs import JobCancelled, JobContext
from mistudio.labels.evidence import Evidence, collect
from mistudio.labels.history import MachineLabel, add_machine_labels
from mistudio.labels.labeller import ContrastLabeller, Failed, Found, Labeller, Question
from mistudio.labels.runs import TABLE, chat_model, get_run
from mistudio.labels.schemas import LabellingParams, LabellingRunCreate, ScoreDetail
from mistudio.labels.scoring import LEAST_CONTEXTS, balanced_accuracy, score_predictions
from mistudio.labels.tables import Label, LabellingRun
from mistudio.models.library import open_model, open_tokenizer
from mistudio.saes.library import open_sae
from mistudio.store import StoreError

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

_AT_ONCE = 32
_LISTED_FAILURES = 200


def label_features(context: JobContext, params: LabellingParams) -> dict[str, Any]:
    """Label the run's features; those that an earlier attempt labelled are left as they are.

    The result counts what became of them. Raises StudioError when a chat model or endpoint cannot be used at all.
    """
    try:
        return _Run(context, params.run_id).run()
    except (StoreError, NotFound) as error:
        with context.database.reading() as session:
            if session.get(LabellingRun, params.run_id) is None:
                raise JobCancelled from error  # deleted with its extraction while this ran
        raise


@dataclass
class _Tally:
    """What this attempt left without a label, and how many labels are in force."""

    in_force: int = 0
    skipped: int = 0
    failed: int = 0
    reasons: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class _Run:
    def __init__(self, context: JobContext, run_id: str) -> None:
        self._context = context
        with context.database.reading() as session:
            run = get_run(session, run_id)
            self._run_id, self._source = run.id, run.source
            self._request = LabellingRunCreate.model_validate(run.request)
            indices: list[int] = list(run.indices)
            done = set(session.scalars(select(Label.feature_index).where(Label.run_id == run_id)))
            self._extraction: Extraction = get_extraction(session, run.extraction_id)
            sae = self._extraction.sae
            self._model_id, self._hook = str(sae.model_id), str(sae.hook)
            self._labelling_model = (
                chat_model(session, self._extraction, self._request.model)
                if self._request.source == "local"
                else None
            )
        self._total, self._done = len(indices), len(done)
        self._todo = [index for index in indices if index not in done]
        self._tally = _Tally()

    def run(self) -> dict[str, Any]:
        """Prepare, then label in small batches, each stored and announced as it is done."""
        from mistudio.labels.background import read_silent_contexts

        context, request, extraction = self._context, self._request, self._extraction
        if not self._todo:
            return self._result()
        settings = context.settings

        @cache
        def model() -> LanguageModel:
            return open_model(settings, self._model_id, device=context.device)

        context.progress(0, request.background, "passages", "Read random passages")
        tokenizer = open_tokenizer(settings, self._model_id)
        contexts = read_silent_contexts(
            settings,
            extraction,
            open_sae(settings, extraction.sae_id, device=context.device),
            self._hook,
            tokenizer,
            self._todo,
            n_passages=request.background,
            seed=request.seed,
            model=model,
            progress=lambda done, total: context.progress(done, total, "passages", "Read random passages"),
        )
        labeller = self._labeller(model)
        store = open_examples(settings, extraction.id)
        context.progress(self._done, self._total, "features", "Label")
        try:
            for start in range(0, len(self._todo), _AT_ONCE):
                part = self._todo[start : start + _AT_ONCE]
                evidence = [collect(store, tokenizer, contexts, index, request.seed) for index in part]
                self._label(labeller, evidence)
                self._done += len(part)
                context.progress(self._done, self._total, "features", "Label")
        finally:
            close = getattr(labeller, "close", None)
            if close is not None:
                close()
        return self._result()

    def _result(self) -> dict[str, Any]:
        """Counts and means over all labels of the run. `failures` names the first features without one, with why."""
        with self._context.database.reading() as session:
            rows = session.scalars(select(Label).where(Label.run_id == self._run_id)).all()
        scores = [ScoreDetail.model_validate(row.score_detail) for row in rows if row.score_detail]
        baselines = [score.baseline for score in scores if score.baseline is not None]
        return {
            "labelled": len(rows),
            "in_force": self._tally.in_force,
            "skipped": self._tally.skipped,
            "failed": self._tally.failed,
            "scored": len(scores),
            "mean_score": fmean(s.balanced_accuracy for s in scores) if scores else None,
            "mean_baseline": fmean(baselines) if baselines else None,
            "mean_true_positive_rate": fmean(s.true_positive_rate for s in scores) if scores else None,
            "mean_true_negative_rate": fmean(s.true_negative_rate for s in scores) if scores else None,
            "failures": self._tally.reasons,
        }

    def _labeller(self, model: Any) -> Labeller:
        context, request = self._context, self._request
        if request.source == "openai":
            from mistudio.labels.endpoint import Endpoint, EndpointLabeller

            key = context.settings.labels_api_key
            return EndpointLabeller(
                Endpoint.of(context.settings, request.model or ""),
                key=key.get_secret_value() if key else None,
                examples=request.examples,
                concurrency=request.concurrency,
                seed=request.seed,
                prompt=request.prompt,
            )
        if self._labelling_model is not None:
            from mistudio.labels.local_model import LocalLabeller

            own = self._labelling_model.id == self._model_id
            loaded = (
                model() if own else open_model(context.settings, self._labelling_model, device=context.device)
            )
            return LocalLabeller(
                loaded, self._labelling_model.name, examples=request.examples, prompt=request.prompt
            )
        from mistudio.labels.background import count_corpus

        tokens = open_tokens(context.settings, str(self._extraction.tokenization_id))
        tokenizer = open_tokenizer(context.settings, self._model_id)
        return ContrastLabeller(count_corpus(tokens, tokenizer, request.seed))

    def _label(self, labeller: Labeller, evidence: Sequence[Evidence]) -> None:
        check = self._context.check
        answers = labeller.find(evidence, check)
        found = [
            (one, label) for one, label in zip(evidence, answers, strict=True) if isinstance(label, Found)
        ]
        for one, answer in zip(evidence, answers, strict=True):
            if isinstance(answer, Failed):
                self._without(one.index, answer)
        scores = self._scores(labeller, found) if self._request.score else [None] * len(found)
        labels = [
            MachineLabel(one.index, label.text, score)
            for (one, label), score in zip(found, scores, strict=True)
        ]
        with self._context.database.session() as session:
            get_extraction(session, self._extraction.id)  # deleted meanwhile: nothing may be written for it
            self._tally.in_force += add_machine_labels(
                session, self._extraction.id, self._run_id, self._source, labels
            )
        self._announce(labels)

    def _without(self, index: int, answer: Failed) -> None:
        if answer.skipped:
            self._tally.skipped += 1
        else:
            self._tally.failed += 1
            self._context.log(f"Feature {index} has no label: {answer.reason}.", "warning")
        if len(self._tally.reasons) < _LISTED_FAILURES:
            self._tally.reasons.append(
                {"index": index, "reason": answer.reason, "kind": "skipped" if answer.skipped else "failed"}
            )

    def _scores(
        self, labeller: Labeller, found: Sequence[tuple[Evidence, Found]]
    ) -> list[ScoreDetail | None]:
        """The score of each label; None where too little was held out, or the test itself failed."""
        tested = [
            number
            for number, (one, _) in enumerate(found)
            if min(len(one.held_out), len(one.held_out_silent)) >= LEAST_CONTEXTS
        ]
        questions: list[Question] = []
        for number in tested:
            evidence, own = found[number]
            passages = [*evidence.held_out, *evidence.held_out_silent]
            others = self._others(labeller, found, number)
            questions += [Question(label, passages) for label in (own, *others)]
        answers = iter(labeller.hold(questions, self._context.check))
        scores: list[ScoreDetail | None] = [None] * len(found)
        for number in tested:
            evidence = found[number][0]
            n = len(evidence.held_out)
            own = next(answers)
            others = [next(answers) for _ in self._others(labeller, found, number)]
            if isinstance(own, Failed):
                self._context.log(
                    f"The label of feature {evidence.index} has no score: {own.reason}.", "warning"
                )
                continue
            scores[number] = score_predictions(
                labeller.method,
                own[:n],
                own[n:],
                [one.group for one in evidence.held_out],
                baselines=[balanced_accuracy(o[:n], o[n:]) for o in others if not isinstance(o, Failed)],
            )
        return scores

    def _others(
        self, labeller: Labeller, found: Sequence[tuple[Evidence, Found]], number: int
    ) -> list[Found]:
        """Labels of other features of this batch that say something else."""
        if not self._request.baseline:
            return []
        ring = [found[(number + step) % len(found)][1] for step in range(1, len(found))]
        return [label for label in ring if label.text != found[number][1].text][: labeller.others]

    def _announce(self, labels: Sequence[MachineLabel]) -> None:
        extraction_id = self._extraction.id
        self._context.publish(
            f"extractions/{extraction_id}", "labels", {"indices": [label.index for label in labels]}
        )
        self._context.publish(
            f"{TABLE}/{self._run_id}", "changed", {"id": self._run_id}, key=f"run {self._run_id}"
        )
