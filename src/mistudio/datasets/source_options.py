"""The options of the command line that name a source, written once for every command that takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from mistudio.datasets import library
from mistudio.datasets.formats import format_of, is_packed
from mistudio.datasets.schemas import DatasetSource, Documents, FileFormat, FolderSource, HubSource
from mistudio.errors import StudioError
from mistudio.settings import Settings


@dataclass(frozen=True)
class SourceOptions:
    """What is said on the command line about where rows come from."""

    source: Annotated[
        str,
        typer.Argument(
            help="A file (text, JSONL, CSV or Parquet; also .gz, .zst, .zip), a folder of such files, or a hub id "
            "(organisation/name). Files are read where they lie, however large they are."
        ),
    ]
    format: Annotated[FileFormat | None, typer.Option(help="Default: by the file's ending.")] = None
    documents: Annotated[
        Documents | None,
        typer.Option(
            help="Text files: what is one row. Default: paragraph; the file in folders, the line on the hub."
        ),
    ] = None
    delimiter: Annotated[
        str | None,
        typer.Option(help="CSV files: what separates the columns. Default: the comma, or the tab for .tsv."),
    ] = None
    pattern: Annotated[
        str, typer.Option(help="Folders: the names of the files to read, as **/*.jsonl.gz.")
    ] = "*.txt"
    name_pattern: Annotated[
        str | None, typer.Option(help="Folders: regular expression whose named groups become columns.")
    ] = None
    config: Annotated[str | None, typer.Option(help="Hub: configuration (subset).")] = None
    split: Annotated[str, typer.Option(help="Hub: split.")] = "train"
    revision: Annotated[str, typer.Option(help="Hub: branch, tag or commit.")] = "main"

    def chosen(self, settings: Settings) -> DatasetSource:
        """The source that they name. Raises StudioError `path_not_found`, `format_unknown`."""
        path = Path(self.source).expanduser()
        if path.is_dir():
            return FolderSource(
                path=self.source,
                pattern=self.pattern,
                format=self.format,
                documents=self.documents or "file",
                name_pattern=self.name_pattern,
            )
        if path.exists():
            from mistudio.datasets.sources import archive_format

            kind = self.format or archive_format(settings, path)
            return library.file_source(self.source, kind, documents=self.documents, delimiter=self.delimiter)
        named = format_of(path.name) or is_packed(path.name) or self.source.startswith((".", "/", "~"))
        if self.format or named:
            raise StudioError(
                "path_not_found", f"There is nothing at “{self.source}”.", hint="Check the spelling."
            )
        return HubSource(
            repo=self.source,
            config=self.config,
            split=self.split,
            revision=self.revision,
            documents=self.documents or "line",
        )


def with_source(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is `SourceOptions`, with these as options of its own."""
    own = list(inspect.signature(command).parameters.values())[1:]
    hints = get_type_hints(command, include_extras=True)
    kinds = get_type_hints(SourceOptions, include_extras=True)
    named = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.name == "source" else field.default,
            annotation=kinds[field.name],
        )
        for field in fields(SourceOptions)
    ]
    rest = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name]) for one in own]

    @wraps(command)
    def with_options(**given: Any) -> None:
        options = SourceOptions(**{field.name: given.pop(field.name) for field in fields(SourceOptions)})
        command(options, **given)

    parameters = [*named, *rest]
    shown: Any = with_options
    shown.__signature__ = inspect.Signature(parameters)
    shown.__annotations__ = {one.name: one.annotation for one in parameters}
    del shown.__wrapped__
    return with_options
