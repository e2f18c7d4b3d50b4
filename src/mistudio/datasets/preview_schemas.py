"""What crosses the API before a data set is there: previews and uploads."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from mistudio.datasets.rows_schemas import RowOut
from mistudio.datasets.schemas import AboutOut, ColumnOut, DatasetSource, Recipe


class PreviewRequest(BaseModel):
    """A source to look at before it is added."""

    model_config = ConfigDict(extra="forbid")

    source: DatasetSource
    upload: str | None = Field(
        default=None, max_length=40, description="Id of a finished upload, whose file the source is."
    )
    rows: int = Field(default=10, ge=1, le=100, description="Rows to show.")
    recipe: Recipe | None = Field(
        default=None, description="A recipe for the text, to see what it makes of the rows shown."
    )


class DatasetPreview(BaseModel):
    """What would be added."""

    name: str = Field(description="The file's or repository's name.")
    about: AboutOut
    card: str | None = Field(description="The data set's card, as Markdown; null where there is none.")
    config: str | None = Field(description="The configuration that is shown.")
    split: str | None = Field(description="The split that is shown.")
    columns: list[ColumnOut] = Field(
        description="As they look in the rows shown; later rows may widen a type."
    )
    chat_columns: list[str] = Field(description="Columns that hold chats.")
    text_column: str | None = Field(
        description="The column that would be the text; null where one must choose."
    )
    rows: list[RowOut]
    texts: list[str] | None = Field(description="What the recipe makes of these rows; null without one.")
    free_bytes: int = Field(description="Bytes free in the data folder.")


class UploadStart(BaseModel):
    """A file about to be sent in pieces."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field(min_length=1, max_length=400)
    size: int = Field(ge=1, description="Its size in bytes.")


class UploadOut(BaseModel):
    """A file sent in pieces. It is whole when `received` is `size`."""

    id: str
    filename: str
    size: int = Field(description="Bytes in all.")
    received: int = Field(description="Bytes that are here: where the next piece begins.")
    updated_at: datetime


class FinishedUpload(BaseModel):
    """Which file format an upload has, as far as its name and content tell."""

    id: str
    filename: str
    size: int
    source: DatasetSource | None = Field(
        description="A source for it, to preview and add; null where its format must be said."
    )


class CardOut(BaseModel):
    """What the authors of a data set wrote about it."""

    markdown: str | None


class DeletedOut(BaseModel):
    """What went."""

    deleted: list[str] = Field(description="Ids of everything that was deleted.")


class RecipeIn(BaseModel):
    """A recipe to try."""

    model_config = ConfigDict(extra="forbid")

    recipe: Recipe


class ColumnPreview(BaseModel):
    """The texts that a recipe makes."""

    texts: list[str]
