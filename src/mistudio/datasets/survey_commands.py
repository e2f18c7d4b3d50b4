"""The commands of `mistudio datasets …` for looking at rows, their statistics and their search index."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from mistudio.console import Console, open_console
from mistudio.datasets import surveys
from mistudio.datasets.library import ready_dataset
from mistudio.datasets.rows_schemas import SearchMode, SearchOrder
from mistudio.datasets.statistics_schemas import StatisticsOut
from mistudio.datasets.surveys import Survey
from mistudio.datasets.tables import Dataset
from mistudio.models.names import find_row

Key = Annotated[str, typer.Argument(help="Id or name.")]


def rows(
    key: Key,
    offset: Annotated[int, typer.Option(min=0, help="First row; by rank: first place.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 10,
    q: Annotated[
        str | None, typer.Option("--search", "-q", help="Only rows whose text matches this.")
    ] = None,
    mode: Annotated[
        SearchMode,
        typer.Option(help="words (by the search index), text (exactly this, ignoring case) or regex (RE2)."),
    ] = "words",
    order: Annotated[SearchOrder, typer.Option(help="row: by number; rank: best match first.")] = "row",
    row: Annotated[int | None, typer.Option(min=0, help="This row alone, whole.")] = None,
    random: Annotated[bool, typer.Option("--random", help="A random row, whole.")] = False,
    characters: Annotated[int, typer.Option(min=20, help="Longer texts are cut to this.")] = 200,
) -> None:
    """Print rows: a page, those that match, one, or a random one."""
    from mistudio.datasets.rows import one_row, open_rows, page_of_rows, random_row

    with open_console() as console, ExitStack() as stack:
        with console.reading() as session:
            dataset = ready_dataset(session, find_row(session, Dataset, key, "dataset").id)
        store = open_rows(console.settings, dataset)
        if random or row is not None:
            console.emit(random_row(store) if row is None else one_row(store, row))
            return
        index = surveys.open_index(console.settings, dataset) if q else None
        if index is not None:
            stack.callback(index.close)
        page = page_of_rows(
            store,
            dataset.text_column or "",
            offset=offset,
            limit=limit,
            q=q,
            mode=mode,
            order=order,
            index=index,
            characters=characters,
        )
        columns = [f"values.{column['name']}" for column in dataset.columns]
        console.emit(page.items, table=["index", *columns], title="rows")
        if page.note:
            console.say(page.note)


def statistics(
    key: Key,
    again: Annotated[bool, typer.Option("--again", help="Compute them anew.")] = False,
) -> None:
    """Show the statistics of a data set's text, computing them if need be."""
    with open_console() as console:
        dataset_id = _id_of(console, key)
        with console.reading() as session:
            found = surveys.statistics_of(session, console.settings, ready_dataset(session, dataset_id))
        if again or found.statistics is None or found.stale:
            _run(console, dataset_id, "dataset_statistics")
            with console.reading() as session:
                found = surveys.statistics_of(session, console.settings, ready_dataset(session, dataset_id))
        assert found.statistics is not None
        if console.as_json:
            console.emit(found.statistics)
        else:
            console.emit(_lines(found.statistics), table=["figure", "value"], title="figures")


def index(
    key: Key,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it instead.")] = False,
) -> None:
    """Build the search index of a data set's text, or remove it."""
    with open_console() as console:
        dataset_id = _id_of(console, key)
        if remove:
            with console.session() as session:
                surveys.remove_index(session, console.settings, dataset_id)
        else:
            _run(console, dataset_id, "dataset_search")
        with console.reading() as session:
            found = surveys.search_index_of(session, console.settings, ready_dataset(session, dataset_id))
        console.emit(found, table=["ready", "text_column", "bytes"])


def _id_of(console: Console, key: str) -> str:
    with console.reading() as session:
        return ready_dataset(session, find_row(session, Dataset, key, "dataset").id).id


def _run(console: Console, dataset_id: str, survey: Survey) -> None:
    with console.session() as session:
        job_id = surveys.start_survey(session, dataset_id, survey).id
    console.run(job_id)


def _lines(found: StatisticsOut) -> list[dict[str, str]]:
    near = found.near_duplicates
    estimate = f" ± {near.standard_error:,.0f}" if near.compared < near.candidates else ""
    figures: dict[str, str] = {
        "text column": found.text_column,
        "rows": f"{found.rows:,}",
        "empty rows": f"{found.empty:,} (of them null: {found.missing:,})",
        "blank rows": f"{found.blank:,}",
        "bytes": f"{found.bytes:,}",
    }
    for name, lengths in (("characters", found.characters), ("words", found.words)):
        shown = ", ".join(f"{p}%: {lengths.percentiles[p]:,}" for p in ("5", "50", "95"))
        figures[name] = f"{lengths.total:,}"
        figures[f"{name} per row"] = (
            f"mean {lengths.mean:,.1f}, {shown}, from {lengths.minimum:,} to {lengths.maximum:,}"
        )
    figures |= {
        "exact duplicates": f"{found.duplicates.rows:,}",
        "near duplicates": f"{near.rows:,}{estimate} (Jaccard ≥ {near.threshold})",
        "languages": ", ".join(f"{one.name} {one.share:.1%}" for one in found.languages.shares[:8])
        + f" (of {found.languages.sampled:,} sampled rows, ± {found.languages.standard_error:.1%})",
        "characters by class": ", ".join(
            f"{one.name} {one.share:.1%}" for one in found.character_classes.classes
        ),
        "letters by script": ", ".join(
            f"{one.name} {one.share:.1%}" for one in found.character_classes.scripts[:8]
        ),
    }
    return [{"figure": name, "value": value} for name, value in figures.items()]
