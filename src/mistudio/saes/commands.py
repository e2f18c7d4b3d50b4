"""`mistudio saes …`"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from mistudio.console import open_console
from mistudio.errors import StudioError
from mistudio.models.carrying import carry_out
from mistudio.models.names import find_row
from mistudio.models.tables import Model
from mistudio.sae.format_info import Format
from mistudio.saes import archive, library, weights
from mistudio.saes.schemas import SaeImport
from mistudio.saes.tables import Sae
from mistudio.store import atomic_file

app = typer.Typer(no_args_is_help=True, help="Sparse autoencoders: list, look at, import, export, delete.")

COLUMNS = (
    "id",
    "name",
    "architecture",
    "d_in",
    "d_sae",
    "hook",
    "metrics.fvu",
    "metrics.l0",
    "extraction_count",
)
Key = Annotated[str, typer.Argument(help="Id or name.")]


@app.command("list")
def list_saes() -> None:
    """List the SAEs, newest first."""
    with open_console() as console, console.reading() as session:
        saes = session.scalars(select(Sae).order_by(Sae.created_at.desc())).all()
        console.emit(library.saes_out(session, saes), table=COLUMNS, title="SAEs")


@app.command("show")
def show(
    key: Key,
    weights_too: Annotated[bool, typer.Option("--weights", help="With histograms of its weights.")] = False,
) -> None:
    """Show an SAE."""
    with open_console() as console:
        with console.reading() as session:
            out = library.saes_out(session, [find_row(session, Sae, key, "sae")])[0]
        shown = out.model_dump(mode="json")
        if weights_too and out.ready:
            shown["weights"] = weights.describe(library.sae_folder(console.settings, out.id)).model_dump()
        console.emit(shown)


@app.command("import")
def import_(
    path: Annotated[str, typer.Argument(help="A folder, file or zip file, in any known format.")],
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    model: Annotated[str | None, typer.Option(help="The model it belongs to (id or name).")] = None,
    hook: Annotated[str | None, typer.Option(help="Its hook point, e.g. blocks.6.hook_resid_post.")] = None,
) -> None:
    """Import an SAE."""
    with open_console() as console:
        with console.session() as session:
            model_id = find_row(session, Model, model, "model").id if model is not None else None
            wanted = SaeImport(path=path, name=name, model_id=model_id, hook=hook)
            sae, job = library.add_import(session, console.settings, wanted, any_folder=True)
            sae_id, job_id = sae.id, job.id
        carry_out(
            console, job_id, lambda session: library.delete_sae(session, console.settings, sae_id, force=True)
        )
        with console.reading() as session:
            console.emit(library.saes_out(session, [library.get_sae(session, sae_id)])[0], table=COLUMNS)


@app.command("export")
def export(
    key: Key,
    target: Annotated[
        Path, typer.Argument(help="Where to write: a file name ending in .zip, or a new folder.")
    ],
    format: Annotated[
        Format | None,
        typer.Option(help="The format to write. Default: SAELens', or our own where that cannot hold it."),
    ] = None,
) -> None:
    """Write an SAE in a community format, as a zip file or a folder."""
    with open_console() as console:
        with console.reading() as session:
            sae = library.ready_sae(session, find_row(session, Sae, key, "sae").id)
            folder, name = library.sae_folder(console.settings, sae.id), sae.name
        if target.exists():
            raise StudioError("already_there", f"“{target}” exists already.", hint="Choose another name.")
        packed = target.suffix.lower() == ".zip"
        with tempfile.TemporaryDirectory(prefix=".export-", dir=console.settings.data_dir) as scratch:
            if format is not None or not packed:
                from mistudio.sae import save_sae

                folder = Path(scratch, "sae") if packed else target
                save_sae(library.open_sae(console.settings, sae), folder, format=format)
            if packed:
                with atomic_file(target) as file:
                    for block in archive.zip_folder(folder):
                        file.write(block)
        console.emit({"sae": name, "written": str(target)})


@app.command("delete")
def delete(
    key: Key,
    force: Annotated[bool, typer.Option("--force", help="Also delete everything else made with it.")] = False,
) -> None:
    """Delete an SAE with its features and files."""
    with open_console() as console:
        with console.session() as session:
            sae = find_row(session, Sae, key, "sae")
            gone = library.delete_sae(session, console.settings, sae.id, force=force)
        console.emit({"deleted": [id for _, id in gone]})
