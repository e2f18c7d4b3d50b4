"""`mistudio steer …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError
from sqlalchemy import select

from mistudio.console import Console, open_console
from mistudio.errors import StudioError
from mistudio.models.names import find_row
from mistudio.saes.tables import Sae
from mistudio.steering import generations, sessions
from mistudio.steering.schemas import (
    ChatMessage,
    GenerateRequest,
    GenerationOut,
    Mode,
    SessionCreate,
    SessionSettings,
    SteeredFeature,
)
from mistudio.steering.tables import SteeringGeneration, SteeringSession
from mistudio.templates.commands import find_template

app = typer.Typer(no_args_is_help=True, help="Steer a model with features, and look at what was written.")

_COLUMNS = ("id", "name", "phase", "generation_count", "created_at")


def _features(help: str) -> Any:
    return typer.Option(metavar="[SAE/]LATENT=STRENGTH", help=help)


def parse_features(texts: list[str], mode: Mode, saes: list[Sae], unit: str) -> list[SteeredFeature]:
    """`12=4` or `my-sae/12=4` as features. Raises StudioError `invalid_input` saying what is wrong with which."""
    found: list[SteeredFeature] = []
    for text in texts:
        place, _, strength = text.partition("=")
        named, _, index = place.rpartition("/")
        sae = next((one for one in saes if named in (one.id, one.name)), None) if named else saes[0]
        if sae is None or (not named and len(saes) > 1):
            raise StudioError(
                "invalid_input",
                f"“{text}” does not say which of the SAEs it means.",
                hint="Write it as SAE/LATENT=STRENGTH, with one of the SAEs given by --sae.",
            )
        try:
            found.append(
                SteeredFeature.model_validate(
                    {
                        "sae_id": sae.id,
                        "index": int(index),
                        "mode": mode,
                        "strength": float(strength),
                        "unit": unit,
                    }
                )
            )
        except ValueError as error:
            raise StudioError(
                "invalid_input", f"“{text}” is not LATENT=STRENGTH, such as 12=4 or 12=-0.5."
            ) from error
    return found


@app.command("run")
def run(
    sae: Annotated[list[str], typer.Option("--sae", help="SAE by id or name; several may be given.")],
    prompt: Annotated[
        str | None, typer.Argument(help="Text to continue, or with --chat the user's message.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="Prompt and sampling of this steering template (id or name); what is given here wins."
        ),
    ] = None,
    add: Annotated[
        list[str] | None, _features("Add this much of a feature, e.g. 12=4; may be repeated.")
    ] = None,
    clamp: Annotated[
        list[str] | None, _features("Hold a feature at this value, e.g. 12=0; may be repeated.")
    ] = None,
    unit: Annotated[
        str, typer.Option(help="max: in units of the feature's own maximum. raw: as it is.")
    ] = "max",
    chat: Annotated[bool, typer.Option("--chat", help="Use the model's chat template.")] = False,
    positions: Annotated[str | None, typer.Option(help="all, prompt or generated. Default: all.")] = None,
    tokens: Annotated[int | None, typer.Option(help="New tokens at most. Default: 64.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0, the default, takes the most probable token.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling. Default: 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random draws; the same for both texts.")] = None,
) -> None:
    """Write one text with and without steering, side by side."""
    with open_console() as console:
        kept: dict[str, Any] = {}
        with console.reading() as session:
            saes = [find_row(session, Sae, key, "sae") for key in sae]
            if template is not None:
                found = find_template(session, template, "steering")
                kept = {**found.body, "template_id": found.id}
        if prompt is not None:
            kept |= (
                {"prompt": None, "messages": [ChatMessage(role="user", content=prompt)]}
                if chat
                else {
                    "prompt": prompt,
                    "messages": None,
                }
            )
        given = {
            "positions": positions,
            "max_new_tokens": tokens,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
        }
        kept |= {name: value for name, value in given.items() if value is not None}
        features = parse_features(add or [], "add", saes, unit) + parse_features(
            clamp or [], "clamp", saes, unit
        )
        if not features:
            raise StudioError(
                "invalid_input",
                "No feature is given.",
                hint="Name at least one, like --add 12=4 or --clamp 12=0.",
            )
        try:
            request = GenerateRequest.model_validate({**kept, "features": features})
        except ValidationError as error:
            raise StudioError(
                "invalid_input",
                "The request is not valid.",
                fields={
                    ".".join(map(str, item["loc"])) or "request": item["msg"].removeprefix("Value error, ")
                    for item in error.errors()
                },
            ) from error
        _show(console, write_once(console, saes, request))


def write_once(console: Console, saes: list[Sae], request: GenerateRequest) -> GenerationOut:
    """Open a session for a single request, wait for it, and return what was written."""
    model_id = next((sae.model_id for sae in saes if sae.model_id), None)
    if model_id is None:
        raise StudioError(
            "sae_without_model",
            f"The SAE “{saes[0].name}” does not say which model it belongs to.",
            hint="Set its model first.",
        )
    with console.session() as session:
        opened = sessions.create_session(
            session,
            SessionCreate(
                model_id=model_id,
                sae_ids=[sae.id for sae in saes],
                settings=SessionSettings(idle_seconds=0),
            ),
        )
        made = generations.request_generation(session, opened.id, request)
        job = sessions.open_job(session, opened)
        generation_id, job_id = made.id, job.id
    console.run(job_id)
    with console.reading() as session:
        out = generations.generations_out(session, [generations.get_generation(session, generation_id)])[0]
    if out.error is not None:
        raise StudioError(out.error.code, out.error.message, hint=out.error.hint)
    return out


def _show(console: Console, out: GenerationOut) -> None:
    if console.as_json:
        console.emit(out)
        return
    shown: dict[str, object] = {
        "generation": out.id,
        "features": ", ".join(
            f"{one.mode} {one.strength:g}{' × max' if one.unit == 'max' else ''} of latent {one.index}"
            f"{f' ({one.label})' if one.label else ''}"
            for one in out.features
        ),
    }
    for side, text in out.outputs.items():
        shown[side] = text.text
        shown[f"{side} perplexity"] = text.perplexity
    console.emit(shown)


@app.command("sessions")
def list_sessions() -> None:
    """List steering sessions, newest first."""
    with open_console() as console, console.reading() as session:
        found = session.scalars(select(SteeringSession).order_by(SteeringSession.created_at.desc())).all()
        console.emit(sessions.sessions_out(session, found), table=_COLUMNS, title="steering sessions")


@app.command("show")
def show(key: Annotated[str, typer.Argument(help="A session (ss_…) or a generation (gn_…).")]) -> None:
    """Show a generation, or what a session wrote."""
    with open_console() as console, console.reading() as session:
        if key.startswith("gn_"):
            _show(
                console, generations.generations_out(session, [generations.get_generation(session, key)])[0]
            )
            return
        opened = sessions.get_session(session, key)
        written = session.scalars(
            select(SteeringGeneration)
            .where(SteeringGeneration.session_id == opened.id)
            .order_by(SteeringGeneration.created_at)
        ).all()
        console.emit(
            generations.generations_out(session, written),
            table=("id", "state", "request.prompt", "outputs.steered.text", "outputs.unsteered.text"),
            title="texts",
        )


@app.command("end")
def end(key: Annotated[str, typer.Argument(help="Session (ss_…).")]) -> None:
    """End a session that is open; what it wrote stays."""
    with open_console() as console, console.session() as session:
        sessions.end_session(session, key)
        console.emit({"id": key, "asked": "end"})


@app.command("delete")
def delete(key: Annotated[str, typer.Argument(help="Session (ss_…).")]) -> None:
    """Delete a session with all that it wrote."""
    with open_console() as console, console.session() as session:
        sessions.delete_session(session, console.settings, key)
        console.emit({"deleted": key})
