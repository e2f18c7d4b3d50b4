"""`mistudio labels …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from mistudio.console import open_console
from mistudio.errors import StudioError
from mistudio.jobs import latest_jobs
from mistudio.labels import history, runs
from mistudio.labels.schemas import LabellingRunCreate
from mistudio.templates.commands import find_template

app = typer.Typer(no_args_is_help=True, help="Label features, by hand or by machine.")

Extraction = Annotated[str, typer.Argument(help="Extraction (ex_…).")]
Index = Annotated[int, typer.Argument(min=0, help="The feature's number.")]
_COLUMNS = ("text", "source", "score", "score_detail.baseline", "created_at")


def run_request(scope: dict[str, Any], **fields: Any) -> LabellingRunCreate:
    """A validated request out of options; None means the default. Raises StudioError `invalid_input`."""
    body = {name: value for name, value in fields.items() if value is not None}
    body["scope"] = {name: value for name, value in scope.items() if value is not None}
    try:
        return LabellingRunCreate.model_validate(body)
    except ValidationError as error:
        faults = {
            ".".join(map(str, item["loc"])) or "request": item["msg"].removeprefix("Value error, ")
            for item in error.errors()
        }
        raise StudioError("invalid_input", "The labelling run is not valid.", fields=faults) from error


@app.command("run")
def run(
    extraction: Extraction,
    source: Annotated[str, typer.Option(help="contrast, local or openai.")] = "contrast",
    model: Annotated[
        str | None, typer.Option(help="local: a chat model (md_…). openai: the endpoint's name for it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many features.")] = None,
    feature: Annotated[list[int] | None, typer.Option(help="Only this feature; may be given often.")] = None,
    only: Annotated[str | None, typer.Option(help="unlabelled, not_by_person or all.")] = None,
    order: Annotated[str | None, typer.Option(help="max_activation, frequency or index.")] = None,
    min_frequency: Annotated[float | None, typer.Option(help="Least share of tokens.")] = None,
    max_frequency: Annotated[float | None, typer.Option(help="Greatest share of tokens.")] = None,
    score: Annotated[bool, typer.Option(help="Test each label on held-out examples.")] = True,
    seed: Annotated[int | None, typer.Option(help="Chooses passages and what is held out.")] = None,
    examples: Annotated[int | None, typer.Option(help="Examples that a chat model is shown.")] = None,
    template: Annotated[
        str | None,
        typer.Option(help="Ask as this labelling template says (id or name); options given here win."),
    ] = None,
) -> None:
    """Label features by machine and wait for it. Labels made by hand stay."""
    with open_console() as console:
        with console.session() as session:
            kept: dict[str, Any] = {}
            if template is not None:
                found = find_template(session, template, "labelling")
                kept = {**found.body, "template_id": found.id}
            request = run_request(
                {
                    "indices": feature or None,
                    "limit": limit,
                    "only": only,
                    "order": order,
                    "min_frequency": min_frequency,
                    "max_frequency": max_frequency,
                },
                **{
                    **kept,
                    "source": source,
                    "model": model,
                    "score": score,
                    "seed": seed,
                    "examples": examples if examples is not None else kept.get("examples"),
                },
            )
            run_id = runs.create_run(session, console.settings, extraction, request).id
            subject = f"{runs.TABLE}/{run_id}"
            job_id = latest_jobs(session, [subject])[subject].id
        result = console.run(job_id)
        console.emit({"run": run_id, **result} if console.as_json else _summary(run_id, result))


def _summary(run_id: str, result: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in result.items() if name != "failures" and value is not None}
    return {"run": run_id, **shown}


@app.command("set")
def set_label(
    extraction: Extraction,
    index: Index,
    text: Annotated[str, typer.Argument(help="The label; an empty one takes it away.")],
) -> None:
    """Label a feature by hand."""
    with open_console() as console, console.session() as session:
        if text.strip():
            found = history.write_by_hand(session, extraction, index, text)
        else:
            found = history.take_away(session, extraction, index)
        console.emit(found.model_dump(mode="json", exclude={"history"}))


@app.command("show")
def show(extraction: Extraction, index: Index) -> None:
    """Show every label that a feature was given, newest first."""
    with open_console() as console, console.reading() as session:
        found = history.labels_of(session, extraction, index)
        if console.as_json:
            console.emit(found)
        else:
            console.emit(found.history, table=_COLUMNS, title="labels")
