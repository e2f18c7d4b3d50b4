"""The job of a model's playground: the model stays loaded, requests come through the inbox, tokens stream out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mistudio.db import utc_now
from mistudio.jobs import JobCancelled, JobContext, JobInterrupted
from mistudio.jobs.failures import public_error
from mistudio.models.library import open_model
from mistudio.models.request_schemas import (
    Alternative,
    GeneratedPiece,
    GenerationResult,
    GenerationWanted,
    LensResult,
    LensWanted,
    ModelTokensEvent,
    PromptToken,
    SessionParams,
)
from mistudio.models.requests import announce_request, channel_of, finish_cancelled, requests_out
from mistudio.models.tables import ModelRequest
from mistudio.models.warm import Warm

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel
    from mistudio.lm.generation import GeneratedToken
    from mistudio.lm.lens import LensGrid

_STREAM_SECONDS = 0.08
_STORE_SECONDS = 0.5


def run_session(context: JobContext, params: SessionParams) -> dict[str, Any]:
    """Load, then serve requests until idle, asked to end, cancelled, or in the way of other work."""
    serving = _Playground(context, params.model_id)
    return serving.warm.run(
        lambda: open_model(context.settings, params.model_id, loading=params.loading, device=context.device),
        serving.serve,
        idle_seconds=params.idle_seconds,
        yield_seconds=params.yield_seconds,
    )


class _Playground:
    def __init__(self, context: JobContext, model_id: str) -> None:
        self.warm = Warm(context, "requests")
        self._context = context
        self._channel = channel_of(model_id)

    def serve(self, request_id: str, model: LanguageModel) -> None:
        with self._context.database.session() as session:
            made = session.get(ModelRequest, request_id)
            if made is None or made.finished_at is not None:
                return
            made.started_at = utc_now()
            kind, wanted = made.kind, made.request
            self._announce(session, made)
        self.warm.begin()
        try:
            if kind == "generate":
                self._generate(request_id, GenerationWanted.model_validate(wanted), model)
            else:
                self._look(request_id, LensWanted.model_validate(wanted), model)
        except (JobCancelled, JobInterrupted):
            raise
        except Exception as error:
            known = public_error(error, self._context.job_id, self._context.settings)
            self._context.log(f"{request_id}: {known.message}", "error")
            with self._context.database.session() as session:
                if (made := session.get(ModelRequest, request_id)) is not None:
                    made.error, made.finished_at = known.model_dump(), utc_now()
                    self._announce(session, made)

    def _generate(self, request_id: str, wanted: GenerationWanted, model: LanguageModel) -> None:
        from mistudio.lm import generate
        from mistudio.lm.generation import prompt_tokens

        prompt = prompt_tokens(model, prompt_of(wanted))
        result = GenerationResult(prompt_tokens=_shown(model, prompt))
        sent, streamed, stored, stopped = 0, 0.0, 0.0, False
        try:
            for token in generate(
                model,
                prompt,
                max_new_tokens=wanted.max_new_tokens,
                temperature=wanted.temperature,
                top_p=wanted.top_p,
                seed=wanted.seed,
                stop=wanted.stop,
                alternatives=wanted.alternatives,
            ):
                result.tokens.append(_piece(model, token))
                result.text += token.text
                result.finish = token.finish
                now = time.monotonic()
                if now - streamed >= _STREAM_SECONDS:
                    streamed, sent = now, self._stream(request_id, result, sent)
                if now - stored >= _STORE_SECONDS:
                    stored = now
                    self._store(request_id, result)
                self.warm.listen()
                if self.warm.is_stopped(request_id):
                    stopped = True
                    break
        except BaseException:
            self._finish(request_id, result.model_dump(mode="json"), stopped=True)
            raise
        self._stream(request_id, result, sent)
        self._finish(request_id, result.model_dump(mode="json"), stopped=stopped)

    def _look(self, request_id: str, wanted: LensWanted, model: LanguageModel) -> None:
        from mistudio.lm.generation import prompt_tokens
        from mistudio.lm.lens import logit_lens_grid

        prompt = prompt_tokens(model, prompt_of(wanted))

        class Stopped(Exception):
            pass

        def on_row(_done: int, _total: int) -> None:
            self._context.check()
            self.warm.listen()
            if self.warm.is_stopped(request_id):
                raise Stopped

        try:
            grid = logit_lens_grid(model, prompt, top_k=wanted.top_k, last=wanted.last, on_row=on_row)
        except Stopped:
            self._finish(request_id, {}, stopped=True)
            return
        self._finish(request_id, lens_result(model, prompt, grid).model_dump(mode="json"), stopped=False)

    def _stream(self, request_id: str, result: GenerationResult, sent: int) -> int:
        """Send the tokens from `sent` on; returns how many have been sent by now."""
        if new := result.tokens[sent:]:
            event = ModelTokensEvent(request=request_id, start=sent, tokens=new, finish=result.finish)
            self._context.publish(self._channel, "tokens", event.model_dump(mode="json"))
        return len(result.tokens)

    def _store(self, request_id: str, result: GenerationResult) -> None:
        with self._context.database.session() as session:
            made = session.get(ModelRequest, request_id)
            if made is None:
                self.warm.forget(request_id)
            else:
                made.result = result.model_dump(mode="json")

    def _finish(self, request_id: str, result: dict[str, Any], *, stopped: bool) -> None:
        with self._context.database.session() as session:
            made = session.get(ModelRequest, request_id)
            if made is None:
                return
            made.result = result
            if stopped:
                finish_cancelled(made)
            made.finished_at = utc_now()
            self._announce(session, made)

    def _announce(self, session: Any, made: ModelRequest) -> None:
        announce_request(session, self._context, requests_out(session, [made], grids=False)[0])


def prompt_of(wanted: GenerationWanted | LensWanted) -> Any:
    """The prompt as the language model takes it: text, or messages."""
    if wanted.prompt is not None:
        return wanted.prompt
    return [message.model_dump() for message in wanted.messages or []]


def lens_result(model: LanguageModel, prompt: list[int], grid: LensGrid) -> LensResult:
    """A grid as it crosses the API, with the texts of its tokens."""
    ids = sorted(set(grid.ids.flatten().tolist()))
    return LensResult(
        prompt_tokens=_shown(model, prompt),
        first=grid.first,
        hooks=grid.hooks,
        ids=grid.ids.tolist(),
        probabilities=[[[round(p, 6) for p in cell] for cell in row] for row in grid.probabilities.tolist()],
        kl=[[round(value, 4) for value in row] for row in grid.kl.tolist()],
        rank=grid.rank.tolist(),
        texts={id: model.tokenizer.decode([id]) for id in ids},
    )


def _shown(model: LanguageModel, ids: list[int]) -> list[PromptToken]:
    special = model.special_ids
    return [PromptToken(id=id, text=model.tokenizer.decode([id]), special=id in special) for id in ids]


def _piece(model: LanguageModel, token: GeneratedToken) -> GeneratedPiece:
    return GeneratedPiece(
        id=token.token,
        text=token.text,
        logprob=token.logprob,
        alternatives=[
            Alternative(id=id, text=model.tokenizer.decode([id]), logprob=logprob)
            for id, logprob in token.alternatives
        ],
    )
