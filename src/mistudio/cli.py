"""The `mistudio` command: assembles every domain's commands; adds `serve`, `worker`, `demo`, `db` and `settings`."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from typer.main import get_command

from mistudio.console import console_options, open_console
from mistudio.domain import load
from mistudio.domains import all_domains, import_tables, job_kinds, template_kinds
from mistudio.errors import StudioError
from mistudio.jobs import register_kinds
from mistudio.sae.format_info import Format
from mistudio.saes.eval_command import evaluate_command
from mistudio.settings import Settings, load_settings, public_text
from mistudio.templates.kinds import register_template_kinds
from mistudio.templates.shipped import ship_templates
from mistudio.version import __version__

app = typer.Typer(
    name="mistudio",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A workbench for research on sparse autoencoders. Exit codes: 0 done, 1 failed, 2 wrong usage.",
)
database_commands = typer.Typer(
    no_args_is_help=True, help="Bring the database schema up or down, or check it."
)
app.add_typer(database_commands, name="db")
app.command("eval")(evaluate_command)


def _set_json(value: bool) -> bool:
    console_options.as_json = console_options.as_json or value
    return value


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with settings. Default: mistudio.toml in the current folder.", dir_okay=False
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder that holds everything miStudio stores.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any setting that `mistudio settings` lists; may be repeated."
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Read the flags that every command shares."""
    flags: dict[str, Any] = {}
    for assignment in set_ or []:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"“{assignment}” is not NAME=VALUE.", param_hint="--set")
        flags[name.strip()] = _typed(name.strip(), value)
    if data_dir is not None:
        flags["data_dir"] = data_dir
    console_options.config = config
    console_options.flags = flags


def _typed(name: str, value: str) -> Any:
    field = Settings.model_fields.get(name)
    if field is not None and "list" in str(field.annotation):
        return [item.strip() for item in value.split(",") if item.strip()]
    return None if value == "" else value


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the browser at the address.")] = False,
) -> None:
    """Serve the app and run its jobs."""
    from mistudio.serving import serve as serve_app

    console_options.flags |= {k: v for k, v in (("host", host), ("port", port)) if v is not None}
    serve_app(console_options.load(), open_browser=open_browser, as_json=console_options.as_json)


@app.command()
def worker(
    queues: Annotated[str, typer.Option(help="Queues to work on, separated by commas.")] = "cpu,gpu,io",
) -> None:
    """Run jobs from Redis (dispatch=celery) on this machine; cpu_slots, gpu_slots and io_slots say how many at once."""
    loaded = console_options.load()
    if loaded.settings.dispatch != "celery" or loaded.settings.redis_url is None:
        raise StudioError(
            "worker_needs_celery",
            "A worker takes its jobs from Redis, but dispatch is not “celery” or redis_url is not set.",
            hint="Set MISTUDIO_DISPATCH=celery and MISTUDIO_REDIS_URL; else `mistudio serve` runs the jobs itself.",
        )
    from mistudio.jobs.celery import run_workers

    raise typer.Exit(run_workers(loaded.settings, [queue.strip() for queue in queues.split(",")]))


@app.command()
def demo(
    headless: Annotated[bool, typer.Option(help="Stop after the summary instead of serving.")] = False,
    port: Annotated[int | None, typer.Option(help="Port to serve on afterwards.")] = None,
) -> None:
    """Carry one real run through it all: text, model, SAE, features, labels, steering; then serve it."""
    from mistudio.demo.run import run_demo

    if port is not None:
        console_options.flags["port"] = port
    run_demo(console_options, headless=headless)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Folder or file of the SAE, in any format.")],
    target: Annotated[Path, typer.Argument(help="Folder to write.")],
    to: Annotated[Format, typer.Option(help="Format to write.")],
    from_: Annotated[
        Format | None, typer.Option("--from", help="Format of the source, where its files could be of two.")
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="Precision of the weights. Default: that of the source."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the target folder if it is there.")
    ] = False,
) -> None:
    """Write an SAE in another format; refused where that cannot hold it (docs/formats.md has the table)."""
    import torch

    from mistudio.console import Console
    from mistudio.db import Database
    from mistudio.sae.formats import convert

    loaded = console_options.load()
    precision = None if dtype is None else getattr(torch, dtype)
    sae = convert(source, target, to=to, format=from_, dtype=precision, overwrite=overwrite)
    Console(loaded, Database("sqlite://"), as_json=console_options.as_json).emit(
        {
            "folder": str(target),
            "format": to,
            "architecture": sae.architecture.kind,
            "d_in": sae.d_in,
            "d_out": sae.d_out,
            "d_sae": sae.d_sae,
            "model_name": sae.metadata.get("model_name"),
            "hook_name": sae.metadata.get("hook_name"),
        }
    )


@app.command()
def settings() -> None:
    """Print the effective settings with the source of each."""
    from mistudio.console import Console
    from mistudio.db import Database

    loaded = console_options.load()
    values = loaded.settings.model_dump(mode="json")
    console = Console(loaded, Database("sqlite://"), as_json=console_options.as_json)
    console.emit(
        [
            {
                "name": name,
                "value": values[name],
                "source": loaded.sources[name],
                "meaning": field.description,
            }
            for name, field in Settings.model_fields.items()
        ]
    )


@database_commands.command("upgrade")
def database_upgrade(revision: Annotated[str, typer.Argument(help="Target revision.")] = "head") -> None:
    """Migrate the database up (by default to this version's schema)."""
    from mistudio.db import Base
    from mistudio.db.migrate import check, upgrade

    with open_console(migrate=False) as console:
        upgrade(console.database, Base.metadata, revision)
        state = check(console.database, Base.metadata)
        console.emit({"revision": state.current, "newest": state.head})


@database_commands.command("downgrade")
def database_downgrade(revision: Annotated[str, typer.Argument(help="Target revision, or base.")]) -> None:
    """Migrate the database down. What the older schema cannot hold is lost."""
    from mistudio.db import Base
    from mistudio.db.migrate import downgrade

    with open_console(migrate=False) as console:
        downgrade(console.database, Base.metadata, revision)
        console.emit({"revision": revision})


@database_commands.command("check")
def database_check() -> None:
    """Compare the database with this version's schema; exit 1 if they differ."""
    from mistudio.db import Base
    from mistudio.db.migrate import check

    with open_console(migrate=False) as console:
        state = check(console.database, Base.metadata)
        console.emit({"revision": state.current, "newest": state.head, "differences": state.differences})
        if not state.up_to_date:
            behind = state.current != state.head
            advice = "Run `mistudio db upgrade`." if behind else "It was altered by hand or by another build."
            console.say(f"mistudio: The database differs from this version's schema. {advice}")
            raise typer.Exit(1)


def _plugins() -> list[str]:
    try:
        return load_settings().settings.plugins
    except StudioError:
        return []  # the command itself will say what is wrong with the settings; --help must work without


def _command_of(arguments: list[str]) -> str | None:
    """The command's name: the first argument that is neither an option of `root` nor its value."""
    left = iter(arguments)
    for argument in left:
        if argument in ("--config", "--data-dir", "--set"):
            next(left, None)
        elif not argument.startswith("-"):
            return argument
    return None


def build_command(wanted: str | None = None) -> Any:
    """The command tree: built-in commands, each domain's, and `--json` on every one.

    Where `wanted` names a command of the first level, other domains' commands are left out: what they import takes
    longer than most commands do.
    """
    domains = all_domains(_plugins())
    import_tables(domains)
    register_kinds(job_kinds(domains))
    register_template_kinds(template_kinds(domains))
    console_options.prepare = [ship_templates]
    with_commands = {domain.name: domain.commands for domain in domains if domain.commands}
    if wanted in with_commands:
        with_commands = {wanted: with_commands[wanted]}
    elif wanted in _built_in(get_command(app)):
        with_commands = {}
    for name, commands in with_commands.items():
        app.add_typer(load(commands), name=name)
    command = get_command(app)
    _add_json_flag(command)
    return command


def _built_in(command: Any) -> set[str]:
    return set(command.commands)


def _add_json_flag(command: Any) -> None:
    """Typer has no option that every command inherits, so each is given the one of this pattern."""
    pattern = typer.Typer(add_completion=False)

    @pattern.command()
    def only_json(  # pyright: ignore[reportUnusedFunction]
        as_json: Annotated[
            bool,
            typer.Option("--json", expose_value=False, callback=_set_json, help="Print the result as JSON."),
        ] = False,
    ) -> None:
        del as_json

    option = next(found for found in get_command(pattern).params if found.name == "as_json")
    waiting = [command]
    while waiting:
        one = waiting.pop()
        one.params.append(option)
        waiting += getattr(one, "commands", {}).values()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a StudioError is one line on stderr and exit code 1."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        build_command(_command_of(given))(args=given, prog_name="mistudio")
    except Exception as error:
        settings = _settings_or_none()
        message = public_message(error)
        if message is None:
            if settings is None or settings.log_level == "debug":
                raise
            message = (
                f"A defect in miStudio stopped this command ({type(error).__name__}: {_first_line(error)}). "
                "Run it again with `mistudio --set log_level=debug …` for the details, and report them."
            )
        sys.stderr.write(f"mistudio: {message if settings is None else public_text(message, settings)}\n")
        sys.exit(1)


def _settings_or_none() -> Settings | None:
    try:
        return console_options.load().settings
    except StudioError:
        return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no message")


def public_message(error: Exception) -> str | None:
    """The one line that a person is shown for this error; None for a defect of ours."""
    if isinstance(error, StudioError):
        # The sentence of any other error already names its field.
        named = error.fields if error.code == "invalid_input" else {}
        told = {name: problem.rstrip(".") for name, problem in named.items()}
        more = "".join(f" {name}: {said}." for name, said in told.items() if said not in error.message)
        return f"{error}{more}"
    if isinstance(getattr(error, "code", None), str) and hasattr(error, "message"):  # the science floor's own
        hint = getattr(error, "hint", None)
        return f"{error.message} {hint}" if hint else str(error.message)  # type: ignore[attr-defined]
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the request"
        return f"“{where}” is not valid: {fault['msg'].removeprefix('Value error, ')}."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full. Free some space, or choose another data folder with --data-dir."
    if isinstance(error, OperationalError):
        return f"The database refused: {_first_line(cast(Exception, error.orig))}. Try again in a moment."
    return None


if __name__ == "__main__":
    main()
