"""`mistudio datasets change`, `compose`, `columns` and `uses`."""

from __future__ import annotations

from typing import Annotated

import typer

from mistudio.console import open_console
from mistudio.datasets import library, surveys
from mistudio.datasets.schemas import ChatRecipe, ColumnCreate, DatasetChange, TemplateRecipe
from mistudio.datasets.tables import Dataset
from mistudio.models.carrying import carry_out
from mistudio.models.names import find_row
from mistudio.models.uses import show_uses

Key = Annotated[str, typer.Argument(help="Id or name.")]
Template = Annotated[str | None, typer.Option(help="Join columns: 'Question: {question} Answer: {answer}'.")]
Chat = Annotated[str | None, typer.Option(help="The column of chats to render.")]
ChatModel = Annotated[
    str | None, typer.Option("--model", help="With --chat: the model whose chat template is used.")
]


def column_wanted(
    name: str | None, template: str | None, chat: str | None, model: str | None, *, prompt: bool = False
) -> ColumnCreate | None:
    """The column that the options ask for; None when they ask for none."""
    if template is not None:
        return ColumnCreate(name=name or "joined", recipe=TemplateRecipe(template=template))
    if chat is None:
        return None
    if model is None:
        raise typer.BadParameter("--chat needs the model whose chat template is used.", param_hint="--model")
    recipe = ChatRecipe(column=chat, model_id=model, generation_prompt=prompt)
    return ColumnCreate(name=name or "chat text", recipe=recipe)


def change(
    key: Key,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    text_column: Annotated[
        str | None, typer.Option(help="The column that tokenizations made from now on read.")
    ] = None,
    favourite: Annotated[bool | None, typer.Option("--favourite/--no-favourite", help="Star it.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Its tags, in place of those it has.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all its tags away.")] = False,
) -> None:
    """Change a data set's name, text column, star or tags."""
    wanted = DatasetChange(
        name=name, text_column=text_column, favourite=favourite, tags=[] if no_tags else tag or None
    )
    with open_console() as console:
        with console.session() as session:
            dataset = find_row(session, Dataset, key, "dataset")
            library.change_dataset(session, dataset.id, wanted)
            anew = surveys.follow_text(session, console.settings, dataset) if text_column else []
            out = library.datasets_out(session, [dataset])[0]
        console.emit(out, table=["id", "name", "text_column", "favourite", "tags"])
        if anew and not console.as_json:
            console.say(
                "Its statistics and search index are of another column now; the server makes them anew."
            )


def compose(
    key: Key,
    name: Annotated[str, typer.Argument(help="What the new column is called.")],
    template: Template = None,
    chat: Chat = None,
    model: ChatModel = None,
    generation_prompt: Annotated[
        bool, typer.Option("--generation-prompt", help="With --chat: end with the beginning of an answer.")
    ] = False,
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Leave the text column as it is.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what the first rows become.")] = False,
) -> None:
    """Compose a column from the others, and make it the text."""
    from mistudio.datasets import composing

    wanted = column_wanted(name, template, chat, model, prompt=generation_prompt)
    if wanted is None:
        raise typer.BadParameter("Say how: --template or --chat.", param_hint="--template")
    wanted = wanted.model_copy(update={"use_as_text": not keep_text})
    with open_console() as console:
        with console.session() as session:
            dataset = library.ready_dataset(session, find_row(session, Dataset, key, "dataset").id)
            if dry_run:
                recipe = composing.resolve_recipe(session, wanted.recipe)
                texts = composing.preview_column(console.settings, dataset, recipe, offset=0, limit=5)
                console.emit([{"text": text} for text in texts])
                return
            column, job = composing.add_column(session, console.settings, dataset.id, wanted)
            column_id, job_id = column.id, job.id
        carry_out(
            console,
            job_id,
            lambda session: composing.delete_column(
                session, console.settings, composing.get_column(session, column_id)
            ),
        )
        with console.reading() as session:
            console.emit(composing.columns_out(session, [composing.get_column(session, column_id)])[0])


def uses(key: Key) -> None:
    """Show what was made from a data set, which is what deleting it would take with it."""
    show_uses(
        "datasets", lambda session: find_row(session, Dataset, key, "dataset").id, parts=library.OWN_PARTS
    )


def columns(
    key: Key,
    delete: Annotated[
        str | None, typer.Option(help="Delete this composed column (id or name) instead.")
    ] = None,
) -> None:
    """List a data set's columns, or delete one that was composed."""
    from mistudio.datasets import composing

    with open_console() as console:
        with console.session() as session:
            dataset = find_row(session, Dataset, key, "dataset")
            if delete is not None:
                found = composing.find_column(session, dataset.id, delete)
                composing.delete_column(session, console.settings, found)
            made = {one.id: one for one in composing.list_columns(session, dataset.id)}
            rows = [
                {
                    **column,
                    "text": column["name"] == dataset.text_column,
                    "recipe": made[column["composed"]].recipe if column.get("composed") in made else None,
                }
                for column in dataset.columns
            ]
        console.emit(rows, table=["name", "type", "text", "recipe"], title="columns")
