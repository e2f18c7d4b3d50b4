"""`mistudio models generate` and `mistudio models lens`: one question, answered, and the model unloaded again."""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from mistudio.console import Console, open_console
from mistudio.errors import StudioError
from mistudio.models import requests
from mistudio.models.names import find_row
from mistudio.models.request_schemas import (
    ChatMessage,
    GenerationWanted,
    LensResult,
    LensWanted,
    ModelRequestOut,
    RequestKind,
)
from mistudio.models.tables import Model

Wanted = TypeVar("Wanted", GenerationWanted, LensWanted)
Key = Annotated[str, typer.Argument(help="Id or name.")]
Text = Annotated[str, typer.Argument(help="Text to continue, or with --chat the user's message.")]
Chat = Annotated[bool, typer.Option("--chat", help="Use the model's chat template.")]


def generate(
    key: Key,
    prompt: Text,
    chat: Chat = False,
    tokens: Annotated[int, typer.Option(help="New tokens at most.")] = 64,
    temperature: Annotated[float, typer.Option(help="0 takes the most probable token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw among the most probable up to this sum.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal texts.")] = 0,
    alternatives: Annotated[
        int, typer.Option(help="Also list this many of the most probable tokens at each place.")
    ] = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="Text at which writing ends; may be repeated.")
    ] = None,
) -> None:
    """Continue a text with the model alone."""
    wanted = _wanted(
        GenerationWanted,
        prompt,
        chat,
        max_new_tokens=tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        alternatives=alternatives,
        stop=stop or [],
    )
    with open_console() as console:
        out = answer(console, key, "generate", wanted)
        result = out.generation
        if console.as_json or result is None:
            console.emit(out)
            return
        console.emit(result.text)
        if alternatives:
            rows = [
                {
                    "token": repr(one.text),
                    "probability": math.exp(one.logprob),
                    "most probable": ", ".join(
                        f"{other.text!r} {math.exp(other.logprob):.3g}" for other in one.alternatives
                    ),
                }
                for one in result.tokens
            ]
            console.emit(rows, title="tokens")


def lens(
    key: Key,
    prompt: Text,
    chat: Chat = False,
    last: Annotated[int, typer.Option(help="How many of the prompt's last tokens.")] = 8,
    top_k: Annotated[int, typer.Option(help="How many of the most probable tokens at each place.")] = 5,
) -> None:
    """What each layer would say next if it were the last (the logit lens)."""
    wanted = _wanted(LensWanted, prompt, chat, last=last, top_k=top_k)
    with open_console() as console:
        out = answer(console, key, "lens", wanted)
        if console.as_json or out.lens is None:
            console.emit(out)
            return
        console.emit(_grid(out.lens), title="most probable next token after each, layer by layer")


def _grid(found: LensResult) -> list[dict[str, Any]]:
    heads = [f"{found.first + i} {t.text!r}" for i, t in enumerate(found.prompt_tokens[found.first :])]
    return [
        {"hook point": hook}
        | {
            head: f"{found.texts[ids[0]]!r} {shares[0]:.2f}"
            for head, ids, shares in zip(heads, row, probabilities, strict=True)
        }
        for hook, row, probabilities in zip(found.hooks, found.ids, found.probabilities, strict=True)
    ]


def answer(
    console: Console, key: str, kind: RequestKind, wanted: GenerationWanted | LensWanted
) -> ModelRequestOut:
    """Ask the model once, wait for it, and return what it said. Raises StudioError with the request's own error."""
    with console.session() as session:
        model_id = find_row(session, Model, key, "model").id
        made = requests.ask_once(session, model_id, kind, wanted)
        request_id, job_id = made.id, str(made.job_id)
    console.run(job_id)
    with console.reading() as session:
        out = requests.requests_out(session, [requests.get_request(session, model_id, request_id)])[0]
    if out.error is not None:
        raise StudioError(out.error.code, out.error.message, hint=out.error.hint)
    return out


def _wanted(schema: type[Wanted], prompt: str, chat: bool, **more: Any) -> Wanted:
    said: dict[str, Any] = (
        {"messages": [ChatMessage(role="user", content=prompt)]} if chat else {"prompt": prompt}
    )
    try:
        return schema.model_validate(said | more)
    except ValidationError as error:
        raise StudioError(
            "invalid_input",
            "The request is not valid.",
            fields={
                ".".join(map(str, item["loc"])) or "request": item["msg"].removeprefix("Value error, ")
                for item in error.errors()
            },
        ) from error
