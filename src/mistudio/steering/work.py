"""The job of a steering session: model and SAEs stay loaded, requests come through the inbox, text streams out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from mistudio.db import utc_now
from mistudio.errors import NotFound
from mistudio.jobs import JobCancelled, JobContext, JobInterrupted
from mistudio.jobs.failures import public_error
from mistudio.models.library import get_model, loading_of, open_model
from mistudio.models.warm import Warm
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
from mistudio.steering.sessions import channel_of, get_session
from mistudio.steering.tables import SteeringGeneration

if TYPE_CHECKING:
    from mistudio.lm import GeneratedToken, LanguageModel
    from mistudio.steering.compare import PlacedSAE, Plan

_STREAM_SECONDS = 0.08
_STORE_SECONDS = 0.5


def run_session(context: JobContext, params: SessionParams) -> dict[str, Any]:
    """Load, then serve requests until idle, asked to end, cancelled, or in the way of other work."""
    with context.database.reading() as session:
        settings = SessionSettings.model_validate(get_session(session, params.session_id).settings)
    serving = _Session(context, params.session_id, settings)
    return serving.warm.run(
        serving.load,
        serving.serve,
        idle_seconds=settings.idle_seconds,
        yield_seconds=settings.yield_seconds,
    )


@dataclass(frozen=True)
class _Loaded:
    """What stays loaded: the model, and the SAEs by their ids."""

    model: LanguageModel
    saes: dict[str, PlacedSAE]


@dataclass
class _Writing:
    """One side's text so far, and what of it has been sent to clients."""

    output: TextOutput = field(default_factory=TextOutput)
    sent: int = 0


class _Session:
    def __init__(self, context: JobContext, session_id: str, settings: SessionSettings) -> None:
        self.warm = Warm(context, "texts")
        self._context = context
        self._id = session_id
        self._settings = settings
        self._channel = channel_of(session_id)

    def load(self) -> _Loaded:
        from mistudio.steering.compare import PlacedSAE, check_fit

        with self._context.database.reading() as session:
            opened = get_session(session, self._id)
            model_row, sae_ids = get_model(session, opened.model_id), opened.sae_ids
            rows = {sae.id: sae for sae in session.scalars(select(Sae).where(Sae.id.in_(sae_ids)))}
        if gone := [id for id in sae_ids if id not in rows]:
            raise NotFound("sae", gone[0])
        loading = loading_of(model_row).model_copy(update={"dtype": self._settings.dtype})
        model = open_model(self._context.settings, model_row, loading=loading, device=self._context.device)
        saes: dict[str, PlacedSAE] = {}
        for id in sae_ids:
            # Where the model is: it may be kept on the CPU of a machine with a GPU.
            sae = open_sae(self._context.settings, id, device=str(model.device))
            saes[id] = PlacedSAE(sae, rows[id].hook or "")
            check_fit(model, saes[id], f"The SAE “{rows[id].name}”")
        return _Loaded(model, saes)

    # One request

    def serve(self, generation_id: str, loaded: _Loaded) -> None:
        with self._context.database.session() as session:
            made = session.get(SteeringGeneration, generation_id)
            if made is None or made.finished_at is not None:
                return
            made.started_at = utc_now()
            request = GenerateRequest.model_validate(made.request)
            features = [ResolvedFeature.model_validate(one) for one in made.features]
            self._announce(session, made)
        self.warm.begin()
        try:
            self._write(generation_id, request, features, loaded.model, loaded.saes)
        except (JobCancelled, JobInterrupted):
            raise
        except Exception as error:
            known = public_error(error, self._context.job_id, self._context.settings)
            self._context.log(f"{generation_id}: {known.message}", "error")
            with self._context.database.session() as session:
                if (made := session.get(SteeringGeneration, generation_id)) is not None:
                    made.error, made.finished_at = known.model_dump(), utc_now()
                    self._announce(session, made)

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
                self.warm.listen()
                if self.warm.is_stopped(generation_id):
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
                self.warm.forget(generation_id)
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
