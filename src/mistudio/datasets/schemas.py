"""What crosses the API about data sets and tokenizations. Every field acts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mistudio.jobs import JobOut
from mistudio.models.schemas import REPO_PATTERN

Documents = Literal["file", "line", "paragraph"]
FileFormat = Literal["text", "jsonl", "csv", "parquet"]


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid")

    max_rows: int | None = Field(default=None, ge=1, description="Import only the first rows.")


class _FileSource(_Source):
    path: str = Field(max_length=4000, description="A file on the server. For an upload: the file's name.")
    uploaded: bool = Field(default=False, description="Set by the server: the file came with the upload.")


class TextSource(_FileSource):
    """A plain text file, UTF-8. Like every file it may be packed: .gz, .zst, .zip."""

    kind: Literal["text"] = "text"
    documents: Documents = Field(
        default="paragraph",
        title="One row is",
        description="What is one row: the whole file, each line, or each paragraph (ended by a blank line).",
    )


class JsonLinesSource(_FileSource):
    """A file with one JSON object a line, UTF-8."""

    kind: Literal["jsonl"] = "jsonl"


class CsvSource(_FileSource):
    """A CSV file with a header line, UTF-8."""

    kind: Literal["csv"] = "csv"
    delimiter: str = Field(default=",", min_length=1, max_length=1)


class ParquetSource(_FileSource):
    """A Parquet file."""

    kind: Literal["parquet"] = "parquet"


class FolderSource(_Source):
    """A folder of files on the server: UTF-8 texts, one row each, or JSONL, CSV or Parquet files, plain or packed."""

    kind: Literal["folder"] = "folder"
    path: str = Field(max_length=4000)
    pattern: str = Field(
        default="*.txt", max_length=200, description="Which files, e.g. *.txt or **/*.jsonl.gz."
    )
    format: FileFormat | None = Field(
        default=None,
        description="What the files are. Default: by their endings, text where those say nothing.",
    )
    documents: Documents = Field(
        default="file",
        title="One row is",
        description="Text files: what is one row: the whole file, each line, or each paragraph.",
    )
    name_pattern: str | None = Field(
        default=None,
        max_length=500,
        description="Text files: regular expression with named groups; each group becomes a column. It must match "
        "every file's name without its ending.",
        examples=[r"(?P<year>\d+)_(?P<president>.+)_(?P<party>\w+)"],
    )


class HubSource(_Source):
    """A data set on the Hugging Face hub (or the mirror that HF_ENDPOINT names)."""

    kind: Literal["hub"] = "hub"
    repo: str = Field(
        title="Repository",
        pattern=REPO_PATTERN,
        max_length=200,
        description="Id of the data set: organisation/name.",
        examples=["roneneldan/TinyStories"],
    )
    config: str | None = Field(
        default=None, max_length=200, description="Configuration (subset) of the data set."
    )
    split: str = Field(default="train", max_length=200)
    revision: str = Field(default="main", max_length=200, description="Branch, tag or commit.")
    documents: Documents = Field(
        default="line",
        description="Text files: what is one row: the whole file, each line, or each paragraph.",
    )


FileSource = Annotated[TextSource | JsonLinesSource | CsvSource | ParquetSource, Field(discriminator="kind")]
DatasetSource = Annotated[
    TextSource | JsonLinesSource | CsvSource | ParquetSource | FolderSource | HubSource,
    Field(discriminator="kind"),
]


class TemplateRecipe(BaseModel):
    """Columns joined by a template."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["template"] = "template"
    template: str = Field(
        min_length=1,
        max_length=20_000,
        description="Text with columns in braces: {question}. Fields within a column by dots: {meta.title}. "
        "A brace itself is doubled: {{.",
        examples=["Question: {question}\nAnswer: {answer}"],
    )


class ChatRecipe(BaseModel):
    """A column of chats, rendered by a tokenizer's chat template."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["chat"] = "chat"
    column: str = Field(
        max_length=400,
        description="The column that holds the messages: lists of {role, content}, or of {from, value}.",
    )
    model_id: str = Field(description="The model whose tokenizer's chat template is used (id or name).")
    generation_prompt: bool = Field(
        default=False, description="End each chat with the beginning of an answer by the assistant."
    )


Recipe = Annotated[TemplateRecipe | ChatRecipe, Field(discriminator="kind")]
Tag = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^\S(.*\S)?$")]


class ColumnCreate(BaseModel):
    """A column to compose from the others."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100, description="What the new column is called.")
    recipe: Recipe
    use_as_text: bool = Field(
        default=True, description="Make it the column that tokenizations made from then on read."
    )


class DatasetCreate(BaseModel):
    """A data set to add."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(
        default=None, min_length=1, max_length=200, description="Default: the file's or repository's name."
    )
    source: DatasetSource
    upload: str | None = Field(
        default=None, max_length=40, description="Id of a finished upload, whose file the source is."
    )
    text_column: str | None = Field(
        default=None,
        max_length=400,
        description="The column that holds the text. Default: `text`, or the only column of strings.",
    )
    compose: ColumnCreate | None = Field(
        default=None, description="Compose the text from other columns, as the last step of the import."
    )
    tags: list[Tag] = Field(default_factory=list[str], max_length=50, description="Words to find it by.")


class DatasetChange(BaseModel):
    """What may be changed about a data set: its name, its text column, and how it is found."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200)
    text_column: str | None = Field(default=None, max_length=400)
    favourite: bool | None = Field(default=None, description="Whether it is marked with a star.")
    tags: list[Tag] | None = Field(
        default=None, max_length=50, description="All its tags, in place of those it has."
    )


class ColumnOut(BaseModel):
    """A column."""

    name: str
    type: str = Field(examples=["string"], description="Its Arrow type.")
    composed: str | None = Field(default=None, description="Id of the composed column that it is.")


class SplitOut(BaseModel):
    """A split of a data set on the hub."""

    name: str
    files: int
    bytes: int = Field(description="Size of its files as they lie on the hub.")
    rows: int | None = Field(default=None, description="As the data set's card says; null where it does not.")


class ConfigurationOut(BaseModel):
    """A configuration (subset) of a data set on the hub."""

    name: str
    splits: list[SplitOut]


class AboutOut(BaseModel):
    """What the source says of itself. All but `files` and `source_bytes` is known of hub data sets only."""

    files: int = Field(description="Files that its rows were read from.")
    source_bytes: int = Field(description="Size of those files.")
    fetched_bytes: int | None = Field(
        default=None,
        description="How many of those bytes were fetched, where only the first rows were wanted.",
    )
    verified: Literal["files", "part"] | None = Field(
        default=None,
        description="files: each file fetched fits the checksum that the hub gives for it. part: of some only a part "
        "was fetched, for which there is none. null: there was nothing to compare with.",
    )
    commit: str | None = None
    license: str | None = None
    gated: bool = False
    languages: list[str] = []
    configurations: list[ConfigurationOut] = []


class ComposedColumnOut(BaseModel):
    """A column composed from the others."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    dataset_id: str
    name: str
    recipe: Recipe
    bytes: int | None = Field(description="Size on disk; null until it is complete.")
    ready: bool
    created_at: datetime
    job: JobOut | None = None


class DatasetOut(BaseModel):
    """A data set. `rows` and `bytes` are null until it is complete."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    source: DatasetSource
    text_column: str | None
    columns: list[ColumnOut]
    rows: int | None
    bytes: int | None = Field(description="Rows and composed columns on the disk.")
    survey_bytes: int = Field(default=0, description="Statistics and search index on the disk.")
    ready: bool
    favourite: bool = False
    tags: list[str] = []
    about: AboutOut | None = None
    created_at: datetime
    tokenization_count: int = 0
    job: JobOut | None = None


class ImportParams(BaseModel):
    """Parameters of the job `datasets.import`."""

    dataset_id: str
    compose: ColumnCreate | None = None


class ComposeParams(BaseModel):
    """Parameters of the job `datasets.compose`."""

    column_id: str
    use_as_text: bool = True
