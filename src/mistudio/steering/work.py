"""The job of a steering session: model and SAEs stay loaded, requests come through the inbox, text streams out."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from mistudio.db import utc_now
from mistudio.errors import NotFound
from mistudio.jobs import Job, JobCancelled, JobContext, JobInterrupted
from mistudio.jobs.failures import public_error
from mistudio.models.library import model_folder
from mistudio.saes.library import open_sae
from mistudio.saes.tables import Sae
from mistudio.steering.generations import announce_generation, finish_cancelled, generations_out
from mistudio.steering.schemas import (
    GenerateRequest,
    ResolvedFeature,
    SessionParams,
    SessionSettings,
    Side,
    TextOutput,
    TokenPiece,
    TokensEvent,
)
from mistudio.steering.sessions import LOADING, READY, WRITING, channel_of, get_session
from mistudio.steering.tables import SteeringGeneration

if TYPE_CHECKING:
    from mistudio.lm import GeneratedToken, LanguageModel
    from mistudio.steering.compare import PlacedSAE, Plan

_STREAM_SECONDS = 0.08
_STORE_SECONDS = 0.5
_LISTEN_SECONDS = 0.2
_OTHERS_CHECK_SECONDS = 1.0
_OTHERS_WAIT_SECONDS = 2.0


def run_session(context: JobContext, params: SessionParams) -> dict[str, Any]:
    """Load, then serve requests until idle, asked to end, cancelled, or in the way of other work."""
    return _Session(context, params.session_id).run()


@dataclass
class _Writing:
    """One side's text so far, and what of it has been sent to clients."""

    output: TextOutput = field(default_factory=TextOutput)
    sent: int = 0


class _Session:
    def __init__(self, context: JobContext, session_id: str) -> None:
        self._context = context
        self._id = session_id
        self._channel = channel_of(session_id)
        self._waiting: deque[str] = deque()
        self._cancelled: set[str] = set()
        self._served = 0

    def run(self) -> dict[str, Any]:
        """Serve; the returned dict says why the session ended."""
        self._say(LOADING)
        model, saes, settings = self._load()
        self._say(READY)
        quiet_since = checked = time.monotonic()
        while True:
            self._listen(0.0 if self._waiting else _LISTEN_SECONDS)
            if self._context.stop_requested:
                return self._ended("asked")
            if self._waiting:
                self._serve(self._waiting.popleft(), model, saes)
                if not self._waiting:
                    self._say(READY)
                quiet_since = time.monotonic()
                continue
            now = time.monotonic()
            if now - quiet_since >= settings.idle_seconds:
                return self._ended("idle")
            if now - quiet_since >= settings.yield_seconds and now - checked >= _OTHERS_CHECK_SECONDS:
                checked = now
                if self._others_wait():
                    return self._ended("yielded")

    def _load(self) -> tuple[LanguageModel, dict[str, PlacedSAE], SessionSettings]:
        from mistudio.lm import load_language_model
        from mistudio.steering.compare import PlacedSAE, check_fit

        with self._context.database.reading() as session:
            opened = get_session(session, self._id)
            model_id, sae_ids = opened.model_id, opened.sae_ids
            settings = SessionSettings.model_validate(opened.settings)
            rows = {sae.id: sae for sae in session.scalars(select(Sae).where(Sae.id.in_(sae_ids)))}
        if gone := [id for id in sae_ids if id not in rows]:
            raise NotFound("sae", gone[0])
        folder = model_folder(self._context.settings, model_id)
        model = load_language_model(folder, dtype=settings.dtype, device=self._context.device)
        saes: dict[str, PlacedSAE] = {}
        for id in sae_ids:
            sae = open_sae(self._context.settings, id, device=self._context.device)
            saes[id] = PlacedSAE(sae, rows[id].hook or "")
            check_fit(model, saes[id], f"The SAE “{rows[id].name}”")
        return model, saes, settings

    def _say(self, stage: str) -> None:
        self._context.progress(self._served, None, "texts", stage=stage)

    def _ended(self, why: str) -> dict[str, Any]:
        self._context.log(f"Ended ({why}) after {self._served} texts.")
        return {"ended": why, "texts": self._served}

    def _listen(self, timeout: float) -> None:
        """Take what is in the inbox, waiting up to `timeout` for the first message."""
        while (message := self._context.inbox(timeout)) is not None:
            timeout = 0.0
            if "generate" in message:
                self._waiting.append(str(message["generate"]))
            elif "cancel" in message:
                self._cancelled.add(str(message["cancel"]))

    def _others_wait(self) -> bool:
        """Whether a job has been queued for a while that may need the place which this idle session holds."""
        pools = ["gpu"] if self._context.device != "cpu" else ["gpu", "cpu"]
        with self._context.database.reading() as session:
            oldest = session.scalar(
                select(Job.created_at)
                .where(Job.state == "queued", Job.resource.in_(pools))
                .order_by(Job.created_at)
                .limit(1)
            )
        return oldest is not None and (utc_now() - oldest).total_seconds() > _OTHERS_WAIT_SECONDS

    # One request

    def _serve(self, generation_id: str, model: LanguageModel, saes: dict[str, PlacedSAE]) -> None:
        with self._context.database.session() as session:
            made = session.get(SteeringGeneration, generation_id)
            if made is None or made.finished_at is not None:
                return
            made.started_at = utc_now()
            request = GenerateRequest.model_validate(made.request)
            features = [ResolvedFeature.model_validate(one) for one in made.features]
            self._announce(session, made)
        self._say(WRITING)
        try:
            self._write(generation_id, request, features, model, saes)
        except (JobCancelled, JobInterrupted):
            raise
        except Exception as error:
            known = public_error(error, self._context.job_id, self._context.settings)
            self._context.log(f"{generation_id}: {known.message}", "error")
            with self._context.database.session() as session:
                if (made := session.get(SteeringGeneration, generation_id)) is not None:
                    made.error, made.finished_at = known.model_dump(), utc_now()
                    self._announce(session, made)
        self._served += 1

    def _write(
        self,
        generation_id: str,
        request: GenerateRequest,
        features: list[ResolvedFeature],
        model: LanguageModel,
        saes: dict[str, PlacedSAE],
    ) -> None:
        from mistudio.steering.compare import compare, perplexity

        planned = plan_request(request, features, model, saes)
        prompt_tokens = [model.tokenizer.decode([id]) for id in planned.prompt]
        sides: tuple[Side, ...] = ("unsteered", "steered") if request.compare else ("steered",)
        writing: dict[Side, _Writing] = {side: _Writing() for side in sides}
        streamed = stored = 0.0
        stopped = False
        try:
            for step in compare(
                model,
                planned,
                sides=sides,
                max_new_tokens=request.max_new_tokens,
                temperature=request.temperature,
                top_p=request.top_p,
                seed=request.seed,
                stop=request.stop,
            ):
                for side, token in step:
                    _append(writing[side].output, token)
                now = time.monotonic()
                if now - streamed >= _STREAM_SECONDS:
                    streamed = now
                    self._stream(generation_id, writing)
                if now - stored >= _STORE_SECONDS:
                    stored = now
                    self._store(generation_id, prompt_tokens, writing)
                self._listen(0.0)
                if generation_id in self._cancelled or self._context.stop_requested:
                    stopped = True
                    break
        except BaseException:
            self._finish(generation_id, prompt_tokens, writing, stopped=True)
            raise
        self._stream(generation_id, writing)
        if not stopped:
            for one in writing.values():
                ids = [token.id for token in one.output.tokens]
                one.output.perplexity = perplexity(model, planned.prompt, ids)
        self._finish(generation_id, prompt_tokens, writing, stopped=stopped)

    def _stream(self, generation_id: str, writing: dict[Side, _Writing]) -> None:
        for side, one in writing.items():
            new = one.output.tokens[one.sent :]
            if new:
                event = TokensEvent(
                    generation=generation_id, side=side, start=one.sent, tokens=new, finish=one.output.finish
                )
                one.sent += len(new)
                self._context.publish(self._channel, "tokens", event.model_dump(mode="json"))

    def _store(self, generation_id: str, prompt_tokens: list[str], writing: dict[Side, _Writing]) -> None:
        with self._context.database.session() as session:
            made = session.get(SteeringGeneration, generation_id)
            if made is None:
                self._cancelled.add(generation_id)  # deleted while it was being written
            else:
                made.outputs = _outputs(prompt_tokens, writing)

    def _finish(
        self, generation_id: str, prompt_tokens: list[str], writing: dict[Side, _Writing], *, stopped: bool
    ) -> None:
        with self._context.database.session() as session:
            made = session.get(SteeringGeneration, generation_id)
            if made is None:
                return
            made.outputs = _outputs(prompt_tokens, writing)
            if stopped:
                finish_cancelled(made)
            made.finished_at = utc_now()
            self._announce(session, made)

    def _announce(self, session: Any, made: SteeringGeneration) -> None:
        announce_generation(session, self._context, generations_out(session, [made])[0])


def plan_request(
    request: GenerateRequest,
    features: list[ResolvedFeature],
    model: LanguageModel,
    saes: dict[str, PlacedSAE],
) -> Plan:
    """The checked plan of a request: strengths become values in the latents' own scale."""
    from mistudio.steering.compare import Edit, plan

    edits: dict[str, list[Edit]] = {}
    for feature in features:
        value = feature.strength
        if feature.maximum is not None:
            value *= feature.maximum
            if feature.decoder_norm == "folded":
                # The maximum was counted in units of length; the latent's own scale is that over its direction's.
                value /= float(saes[feature.sae_id].sae.decoder_norms()[feature.index])
        edits.setdefault(feature.sae_id, []).append(Edit(feature.index, value, feature.mode))
    prompt = request.prompt
    if prompt is None:
        prompt = [message.model_dump() for message in request.messages or []]
    return plan(
        model,
        saes,
        prompt,
        edits,
        where=request.positions,
        steer_special_tokens=request.steer_special_tokens,
    )


def _append(output: TextOutput, token: GeneratedToken) -> None:
    output.tokens.append(TokenPiece(id=token.token, text=token.text, logprob=token.logprob))
    output.text += token.text
    output.finish = token.finish


def _outputs(prompt_tokens: list[str], writing: dict[Side, _Writing]) -> dict[str, Any]:
    texts = {side: one.output.model_dump(mode="json") for side, one in writing.items()}
    return {"prompt_tokens": prompt_tokens, **texts}
