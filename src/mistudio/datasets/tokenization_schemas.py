"""What crosses the API about tokenizations. Every field acts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from mistudio.datasets.statistics_schemas import LengthsOut
from mistudio.jobs import JobOut
from mistudio.models.schemas import TokenOut

_TOKENS: JsonDict = {"unit": "tokens"}
_CHARACTERS: JsonDict = {"unit": "characters"}


class RowFilterSettings(BaseModel):
    """Which rows are left out before they are tokenized. A row is counted under the first reason that holds.

    Of a row longer than four megabytes the first megabyte is judged.
    """

    model_config = ConfigDict(extra="forbid")

    min_characters: int = Field(
        default=1,
        ge=0,
        title="Minimum length",
        description="Shorter rows are left out; spaces around the text do not count. Empty rows always are.",
        json_schema_extra=_CHARACTERS,
    )
    keep_pattern: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        title="Only rows with",
        description="Regular expression (RE2's kind, which takes linear time): rows without a match are left out.",
        examples=[r"(?i)\bcongress\b"],
    )
    drop_pattern: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        title="No rows with",
        description="Regular expression (RE2's kind, which takes linear time): rows with a match are left out.",
        examples=[r"https?://|<[a-z]+>"],
    )
    max_special_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Special characters ≤",
        description="Rows with a larger share of special characters are left out: what is neither letter, mark, "
        "digit, punctuation nor space, such as symbols, emoji, control and broken characters.",
        json_schema_extra={"unit": "share"},
    )
    max_punctuation_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Punctuation, space ≤",
        description="Rows with a larger share of characters other than letters, marks and digits are left out. "
        "Prose has about 0.2, source code 0.4.",
        json_schema_extra={"unit": "share"},
    )
    near_duplicates: bool = Field(
        default=False,
        title="No near duplicates",
        description="Rows that nearly repeat an earlier row are left out: their sets of five-word shingles have a "
        "Jaccard similarity of about 0.8 or more, as estimated by MinHash (found with probability 0.78 at 0.8, "
        "0.998 at 0.9, 0.002 at 0.5).",
    )


class TokenizationSettings(BaseModel):
    """How rows become sequences of tokens."""

    model_config = ConfigDict(extra="forbid")

    context_length: int = Field(
        default=128,
        ge=2,
        le=65_536,
        title="Maximum length",
        description="Tokens in a sequence, BOS included.",
        json_schema_extra=_TOKENS,
    )
    packing: Literal["concatenate", "best_fit", "one_per_row"] = Field(
        default="concatenate",
        title="Packing",
        description="concatenate: rows are joined into one stream and cut into full sequences. best_fit: whole rows "
        "are put together so that they fill sequences; only rows longer than a sequence are cut. one_per_row: a "
        "sequence never holds two rows.",
    )
    padding: Literal["auto", "pad", "drop"] = Field(
        default="auto",
        title="Unfilled sequences",
        description="pad: they are filled up with padding, which counts as no token. drop: only full sequences are "
        "kept. auto: drop when concatenating (the rest at the very end), pad otherwise.",
    )
    eos_between_rows: bool = Field(
        default=True, title="End rows with EOS", description="Put the end-of-text token behind each row."
    )
    prepend_bos: bool | Literal["auto"] = Field(
        default="auto",
        title="Begin with BOS",
        description="Begin every sequence with the beginning-of-text token. auto: when the tokenizer does so itself.",
    )
    special_tokens_in_text: Literal["parse", "as_text"] = Field(
        default="parse",
        title="Special tokens in the text",
        description="A special token's name in the text, such as <|endoftext|>, becomes that token (parse), or is "
        "encoded like any other text (as_text).",
    )
    long_rows: Literal["split", "truncate"] = Field(
        default="split",
        title="Long rows",
        description="best_fit and one_per_row: a row longer than a sequence is split into several, or one part of it "
        "is kept.",
    )
    truncation_side: Literal["right", "left"] = Field(
        default="right",
        title="Truncate on the",
        description="With long rows truncated: cut off the row's end (right) or its beginning (left).",
    )
    overlap: int = Field(
        default=0,
        ge=0,
        title="Stride overlap",
        description="Tokens that a sequence repeats from the end of the one before (of the same row, unless "
        "concatenating). The stride is the length of a sequence less this.",
        json_schema_extra=_TOKENS,
    )
    min_tokens: int = Field(
        default=1,
        ge=1,
        title="Minimum tokens",
        description="best_fit and one_per_row: parts of rows with fewer tokens (BOS and EOS not counted) are left out.",
        json_schema_extra=_TOKENS,
    )
    max_rows: int | None = Field(
        default=None, ge=1, title="Rows at most", description="Read only the first rows."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        title="Tokens at most",
        description="Stop after this many tokens.",
        json_schema_extra=_TOKENS,
    )
    metadata_columns: list[str] = Field(
        default_factory=list[str],
        max_length=50,
        title="Columns kept",
        description="Columns of the data set copied into the tokenization: their values in the row in which each "
        "sequence begins. Texts are cut to 1,000 characters.",
    )
    filters: RowFilterSettings = Field(default_factory=RowFilterSettings, title="Rows left out")

    @model_validator(mode="after")
    def _check(self) -> TokenizationSettings:
        if self.overlap > self.context_length - 2:
            raise ValueError("overlap must leave at least two new tokens in each sequence")
        if self.max_tokens is not None and self.max_tokens < self.context_length:
            raise ValueError("max_tokens must allow at least one sequence of context_length tokens")
        return self

    @property
    def pads(self) -> bool:
        """Whether unfilled sequences are kept."""
        return self.padding == "pad" or (self.padding == "auto" and self.packing != "concatenate")


class TokenizationCreate(BaseModel):
    """A tokenization to make."""

    model_config = ConfigDict(extra="forbid")

    model_id: str = Field(description="The model whose tokenizer is used.")
    name: str | None = Field(default=None, min_length=1, max_length=200)
    text_column: str | None = Field(
        default=None,
        max_length=400,
        description="The column that is read. Default: the data set's text column.",
    )
    settings: TokenizationSettings = Field(default_factory=TokenizationSettings)


class TokenFrequency(BaseModel):
    """How often a token occurs."""

    id: int
    text: str = Field(description="The characters it stands for; � where they are a part of one.")
    count: int


class DroppedExample(BaseModel):
    """One row that was left out."""

    row: int
    text: str = Field(description="Its beginning.")


class TokenizationStatistics(BaseModel):
    """What the run counted, exactly. What earlier versions did not count is null."""

    rows_read: int
    rows_used: int
    dropped: dict[str, int] = Field(
        description="Rows or parts left out, by reason: rows_empty, rows_too_short, rows_without_pattern, "
        "rows_with_pattern, rows_special_characters, rows_mostly_punctuation, rows_near_duplicate; rows_truncated "
        "lost a part; sequences_too_short, sequences_unfilled; tokens_at_end counts the tokens of the last, "
        "unfinished sequence."
    )
    dropped_examples: dict[str, list[DroppedExample]] = Field(
        default_factory=dict[str, list[DroppedExample]], description="The first rows left out, by reason."
    )
    characters: int = Field(description="Characters of the rows used.")
    text_tokens: int | None = Field(
        default=None,
        description="Tokens that those characters became: BOS, EOS, padding, overlap not counted.",
    )
    vocabulary_used: int = Field(description="Distinct tokens that occur.")
    vocabulary_size: int | None = Field(default=None, description="Tokens there are.")
    special_tokens: int = Field(
        description="Occurrences of special tokens; padding and unknown tokens are not counted."
    )
    unknown_tokens: int
    padding_tokens: int
    most_frequent: list[TokenFrequency] = Field(default_factory=list[TokenFrequency])
    least_frequent: list[TokenFrequency] = Field(
        default_factory=list[TokenFrequency], description="Of the tokens that occur."
    )
    row_lengths: LengthsOut | None = Field(
        default=None, description="Tokens of the rows used, without BOS and EOS."
    )
    sequence_lengths: LengthsOut | None = Field(
        default=None, description="Tokens of the sequences, without padding."
    )


class TokenizationOut(BaseModel):
    """A tokenization. Sizes are null until it is complete; `n_tokens` does not count padding."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    dataset_id: str
    dataset_name: str
    model_id: str
    model_name: str
    name: str
    text_column: str | None = Field(description="The column of the data set that is read.")
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
    row: int = Field(description="The row in which it begins.")
    offset: int = Field(description="The character of that row's text at which it begins.")
    length: int = Field(description="Tokens in it; more than are shown where it is very long.")
    tokens: list[TokenOut]
    metadata: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        description="Values of the columns kept, in the row in which it begins.",
    )


class SequencePage(BaseModel):
    """Sequences from an offset on."""

    items: list[SequenceOut]
    total: int | None = Field(description="Sequences in all.")
    next_offset: int | None


class PreviewRow(BaseModel):
    """A row and what becomes of it."""

    index: int
    text: str = Field(description="Its beginning.")
    characters: int
    tokens: int | None = Field(
        description="Tokens of its text, or of its beginning; null when it is left out."
    )
    cut: bool = Field(description="Whether only the beginning of a very long row was read.")
    dropped: str | None = Field(description="Why it is left out.")


class TokenizationPreview(BaseModel):
    """What some rows would become, before any run."""

    rows: list[PreviewRow]
    items: list[SequenceOut] = Field(description="The sequences as they would be stored.")
    n_sequences: int = Field(
        description="Sequences that these rows make; more than are shown where there are many."
    )
    dropped: dict[str, int] = Field(description="What is left out of these rows, by reason.")
    next_offset: int | None = Field(description="Where the next rows begin; null at the end.")
    seconds: float = Field(description="What it took.")


class TokenizeParams(BaseModel):
    """Parameters of the job `datasets.tokenize`."""

    tokenization_id: str
