"""`mistudio activations …`"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from mistudio import jobs
from mistudio.activations import caches
from mistudio.activations.schemas import CacheCreate, HarvestSettings
from mistudio.activations.statistics import report_of
from mistudio.activations.tables import ActivationCache
from mistudio.console import open_console
from mistudio.datasets.tables import Tokenization
from mistudio.models.carrying import again, carry_out
from mistudio.models.deletion import users_of
from mistudio.models.names import find_row
from mistudio.templates.commands import find_template

app = typer.Typer(
    no_args_is_help=True,
    help="Activation caches: forecast, harvest, cancel, retry, list, statistics, uses, delete.",
)

COLUMNS = ("id", "name", "model_name", "dataset_name", "hooks", "dtype", "n_tokens", "bytes", "job.state")
FIGURES = (
    "hook",
    "mean",
    "std",
    "mean_norm",
    "max_norm",
    "token_kurtosis",
    "loud_dimensions",
    "far_dimensions",
    "massive_values",
    "hoyer",
    "zeros",
    "error",
)
Key = Annotated[str, typer.Argument(help="Id or name.")]
TokenizationKey = Annotated[str, typer.Argument(help="Id or name of the tokenization.")]
Hooks = Annotated[
    list[str] | None,
    typer.Option(
        "--hook",
        help="Hook point or pattern of them, e.g. blocks.6.hook_resid_post, blocks.*/3.hook_resid_post; may be "
        "repeated.",
    ),
]


@app.command("harvest")
def harvest(
    tokenization: TokenizationKey,
    hook: Hooks = None,
    template: Annotated[
        str | None, typer.Option(help="Start from this template (id or name); options given here win.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16 (the default), bfloat16, float32 or int8.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="NAME=VALUE", help=f"Any of {', '.join(HarvestSettings.model_fields)}."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--forecast", help="Only say what it would take.")] = False,
) -> None:
    """Keep what a model computes at some hook points on a tokenization's tokens."""
    if not hook and not template:
        raise typer.BadParameter("Name hook points, or a template.", param_hint="--hook")
    values: dict[str, str] = {}
    for assignment in set_ or []:
        field, equals, value = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"“{assignment}” is not NAME=VALUE.", param_hint="--with")
        values[field.strip()] = value.strip()
    with open_console() as console:
        with console.session() as session:
            body: dict[str, Any] = {}
            if template:
                found = find_template(session, template, "extraction")
                body = {**found.body, "template_id": found.id}
            body |= {
                "tokenization_id": find_row(session, Tokenization, tokenization, "tokenization").id,
                "name": name,
                "settings": {**body.get("settings", {}), **values},
            }
            body |= {key: value for key, value in (("hooks", hook), ("dtype", dtype)) if value}
            try:
                wanted = CacheCreate.model_validate(body)
            except ValidationError as error:
                first = error.errors()[0]
                raise typer.BadParameter(f"{first['loc'][-1]}: {first['msg']}") from error
            if dry_run:
                console.emit(caches.forecast(session, console.settings, wanted))
                return
            cache, job = caches.add_cache(session, console.settings, wanted)
            cache_id, job_id = cache.id, job.id
        carry_out(console, job_id, lambda session: caches.delete_cache(session, console.settings, cache_id))
        with console.reading() as session:
            out = caches.caches_out(session, [caches.get_cache(session, cache_id)])[0]
        console.emit(out, table=[*COLUMNS[:-1], "statistics"])


@app.command("list")
def list_caches() -> None:
    """List activation caches."""
    with open_console() as console, console.reading() as session:
        found = session.scalars(caches.list_query().order_by(ActivationCache.created_at)).all()
        console.emit(caches.caches_out(session, found), table=COLUMNS, title="activation caches")


@app.command("show")
def show(key: Key) -> None:
    """Show a cache with its conventions and statistics."""
    with open_console() as console, console.reading() as session:
        cache = find_row(session, ActivationCache, key, "activation_cache")
        console.emit(caches.caches_out(session, [caches.get_cache(session, cache.id)])[0])


@app.command("statistics")
def statistics(
    key: Key,
    hook: Annotated[
        str | None,
        typer.Option(help="Everything about this hook point, plots included. Default: all, in short."),
    ] = None,
) -> None:
    """Show what the activations look like: norms, kurtosis, outlier dimensions, massive activations, sparsity."""
    with open_console() as console, console.reading() as session:
        cache = caches.ready_cache(session, find_row(session, ActivationCache, key, "activation_cache").id)
        if hook is not None:
            console.emit(report_of(console.settings, cache, hook))
            return
        out = caches.caches_out(session, [cache])[0].statistics
        rows = [{"hook": name, **one.model_dump()} for name, one in (out.hooks if out else {}).items()]
        console.emit(rows, table=FIGURES, title="hook points")


@app.command("rename")
def rename(key: Key, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Give a cache another name."""
    with open_console() as console:
        with console.session() as session:
            cache = find_row(session, ActivationCache, key, "activation_cache")
            out = caches.caches_out(session, [caches.rename_cache(session, cache.id, name)])[0]
        console.emit(out, table=COLUMNS)


@app.command("cancel")
def cancel(key: Key) -> None:
    """Stop a harvest that waits or runs; nothing of it stays."""
    with open_console() as console, console.session() as session:
        cache = find_row(session, ActivationCache, key, "activation_cache")
        jobs.cancel_subject(session, f"activation_caches/{cache.id}")
        console.emit(caches.caches_out(session, [cache])[0], table=COLUMNS)


@app.command("retry")
def retry(key: Key) -> None:
    """Harvest again what failed or was cancelled, going on at the last finished part, and wait for it."""
    with open_console() as console:
        with console.session() as session:
            cache_id = find_row(session, ActivationCache, key, "activation_cache").id
            job_id = again(session, "activations.harvest", f"activation_caches/{cache_id}")
        console.run(job_id)
        with console.reading() as session:
            cache = caches.get_cache(session, cache_id)
            console.emit(caches.caches_out(session, [cache])[0], table=COLUMNS)


@app.command("uses")
def uses(key: Key) -> None:
    """Show what refers to a cache: trainings that read it, which stay without it, and extractions."""
    with open_console() as console, console.reading() as session:
        cache = find_row(session, ActivationCache, key, "activation_cache")
        found = users_of(session, "activation_caches", [cache.id])
        console.emit(found, table=["kind", "id", "name"], title="uses")


@app.command("delete")
def delete(
    key: Key,
    force: Annotated[bool, typer.Option("--force", help="Even while trainings refer to it.")] = False,
) -> None:
    """Delete a cache and free its disk space."""
    with open_console() as console:
        with console.session() as session:
            cache = find_row(session, ActivationCache, key, "activation_cache")
            gone = caches.delete_cache(session, console.settings, cache.id, force=force)
        console.emit({"deleted": [id for _, id in gone]})
