"""What crosses the API about data sets and tokenizations. Every field acts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mistudio.jobs import JobOut
from mistudio.models.schemas import REPO_PATTERN, TokenOut

Documents = Literal["file", "line", "paragraph"]
FileFormat = Literal["text", "jsonl", "csv", "parquet"]


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid")

    max_rows: int | None = Field(default=None, ge=1, description="Import only the first rows.")


class _FileSource(_Source):
    path: str = Field(max_length=4000, description="A file on the server. For an upload: the file's name.")
    uploaded: bool = Field(default=False, description="Set by the server: the file came with the upload.")


class TextSource(_FileSource):
    """A plain text file, UTF-8."""

    kind: Literal["text"] = "text"
    documents: Documents = Field(
        default="paragraph",
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
    """A folder of UTF-8 text files, one row each, with columns read from the file names."""

    kind: Literal["folder"] = "folder"
    path: str = Field(max_length=4000)
    pattern: str = Field(default="*.txt", max_length=200, description="Which files, e.g. *.txt or **/*.md.")
    name_pattern: str | None = Field(
        default=None,
        max_length=500,
        description="Regular expression with named groups; each group becomes a column. It must match every file's "
        "name without its ending.",
        examples=[r"(?P<year>\d+)_(?P<president>.+)_(?P<party>\w+)"],
    )


class HubSource(_Source):
    """A data set on the Hugging Face hub (or the mirror that HF_ENDPOINT names)."""

    kind: Literal["hub"] = "hub"
    repo: str = Field(pattern=REPO_PATTERN, max_length=200, examples=["roneneldan/TinyStories"])
    config: str | None = Field(
        default=None, max_length=200, description="Configuration (subset) of the data set."
    )
    split: str = Field(default="train", max_length=200)
    revision: str = Field(default="main", max_length=200, description="Branch, tag or commit.")


FileSource = Annotated[TextSource | JsonLinesSource | CsvSource | ParquetSource, Field(discriminator="kind")]
DatasetSource = Annotated[
    TextSource | JsonLinesSource | CsvSource | ParquetSource | FolderSource | HubSource,
    Field(discriminator="kind"),
]


class DatasetCreate(BaseModel):
    """A data set to add."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(
        default=None, min_length=1, max_length=200, description="Default: the file's or repository's name."
    )
    source: DatasetSource
    text_column: str | None = Field(
        default=None,
        max_length=400,
        description="The column that holds the text. Default: `text`, or the only column of strings.",
    )


class DatasetChange(BaseModel):
    """What may be changed about a data set: its name, and which column is its text."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200)
    text_column: str | None = Field(default=None, max_length=400)


class ColumnOut(BaseModel):
    """A column."""

    name: str
    type: str = Field(examples=["string"], description="Its Arrow type.")


class DatasetOut(BaseModel):
    """A data set. `rows` and `bytes` are null until it is complete."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    source: DatasetSource
    text_column: str | None
    columns: list[ColumnOut]
    rows: int | None
    bytes: int | None
    ready: bool
    created_at: datetime
    tokenization_count: int = 0
    job: JobOut | None = None


class CutOut(BaseModel):
    """Which part of a long text is shown."""

    start: int = Field(description="First character shown.")
    length: int = Field(description="Characters of the whole text.")


class RowOut(BaseModel):
    """One row. Long texts are cut to a window (around the match, when searching); `cut` says where."""

    index: int
    values: dict[str, Any]
    cut: dict[str, CutOut] = Field(default_factory=dict[str, CutOut])


class RowPage(BaseModel):
    """Rows from an offset on. With `q`, the matching ones among them."""

    items: list[RowOut]
    total: int | None = Field(description="Rows in all; with `q` the number of matches, null while unknown.")
    next_offset: int | None = Field(description="Where the next page starts; null at the end.")


class TokenizationSettings(BaseModel):
    """How rows become sequences of tokens."""

    model_config = ConfigDict(extra="forbid")

    context_length: int = Field(default=128, ge=2, le=65_536, description="Tokens in a sequence.")
    packing: Literal["concatenate", "one_per_row"] = Field(
        default="concatenate",
        description="concatenate: rows are joined into one stream and cut into full sequences (the rest at the very "
        "end is dropped). one_per_row: a sequence never spans two rows; short ones are padded.",
    )
    eos_between_rows: bool = Field(
        default=True,
        description="concatenate: put the end-of-text token between rows. one_per_row: end each row so.",
    )
    prepend_bos: bool | Literal["auto"] = Field(
        default="auto",
        description="Begin every sequence with the beginning-of-text token. auto: when the tokenizer does so itself.",
    )
    long_rows: Literal["split", "truncate"] = Field(
        default="split",
        description="one_per_row: a row longer than a sequence is split into several, or only its beginning is kept.",
    )
    overlap: int = Field(
        default=0,
        ge=0,
        description="Tokens that a sequence repeats from the end of the one before (of the same row).",
    )
    min_characters: int = Field(
        default=1, ge=0, description="Shorter rows (without surrounding spaces) are dropped."
    )
    min_tokens: int = Field(
        default=1,
        ge=1,
        description="one_per_row: sequences with fewer tokens (BOS and EOS not counted) are dropped.",
    )
    max_rows: int | None = Field(default=None, ge=1, description="Read only the first rows.")
    max_tokens: int | None = Field(default=None, ge=1, description="Stop after this many tokens.")

    @model_validator(mode="after")
    def _check(self) -> TokenizationSettings:
        if self.overlap > self.context_length - 2:
            raise ValueError("overlap must leave at least two new tokens in each sequence")
        if self.max_tokens is not None and self.max_tokens < self.context_length:
            raise ValueError("max_tokens must allow at least one sequence of context_length tokens")
        return self


class TokenizationCreate(BaseModel):
    """A tokenization to make."""

    model_config = ConfigDict(extra="forbid")

    model_id: str = Field(description="The model whose tokenizer is used.")
    name: str | None = Field(default=None, min_length=1, max_length=200)
    settings: TokenizationSettings = Field(default_factory=TokenizationSettings)


class TokenizationStatistics(BaseModel):
    """What the run counted."""

    rows_read: int
    rows_used: int
    dropped: dict[str, int] = Field(
        description="Rows or sequences left out, by reason: rows_empty, rows_too_short, rows_truncated, "
        "sequences_too_short; tokens_at_end counts the tokens of the last, unfinished sequence."
    )
    characters: int
    vocabulary_used: int = Field(description="Distinct tokens that occur.")
    special_tokens: int = Field(description="Occurrences of special tokens, padding not counted.")
    unknown_tokens: int
    padding_tokens: int


class TokenizationOut(BaseModel):
    """A tokenization. Sizes are null until it is complete; `n_tokens` does not count padding."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    dataset_id: str
    dataset_name: str
    model_id: str
    model_name: str
    name: str
    settings: TokenizationSettings
    n_sequences: int | None
    n_tokens: int | None
    bytes: int | None
    statistics: TokenizationStatistics | None
    ready: bool
    created_at: datetime
    job: JobOut | None = None


class SequenceOut(BaseModel):
    """One sequence as tokens, padding left out."""

    index: int
    tokens: list[TokenOut]


class SequencePage(BaseModel):
    """Sequences from an offset on."""

    items: list[SequenceOut]
    total: int | None = Field(description="Sequences in all; null in a preview, which reads only some rows.")
    next_offset: int | None


class ImportParams(BaseModel):
    """Parameters of the job `datasets.import`."""

    dataset_id: str


class TokenizeParams(BaseModel):
    """Parameters of the job `datasets.tokenize`."""

    tokenization_id: str
