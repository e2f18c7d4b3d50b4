"""What crosses the API about the rows of a data set, and about searching them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from mistudio.jobs import JobOut

SearchMode = Literal["words", "text", "regex"]
SearchOrder = Literal["row", "rank"]


class CutOut(BaseModel):
    """Which part of a long text is shown."""

    start: int = Field(description="First character shown.")
    length: int = Field(description="Characters of the whole text.")


class MarkOut(BaseModel):
    """A place that matches."""

    start: int = Field(description="Its first character (code point).")
    end: int = Field(description="The character after its last.")


class RowOut(BaseModel):
    """One row. Long texts are cut to a window (around the first match, when searching); `cut` says where."""

    index: int
    values: dict[str, Any]
    cut: dict[str, CutOut] = Field(default_factory=dict[str, CutOut])
    marks: list[MarkOut] = Field(
        default_factory=list[MarkOut], description="Where the text column matches, in the value as shown."
    )


class RowPage(BaseModel):
    """Rows from an offset on. With `q`, the matching ones among them."""

    items: list[RowOut]
    total: int | None = Field(
        description="Rows in all; with `q` the number of matches, counted on the first page, null where unknown."
    )
    at_least: int | None = Field(
        default=None,
        description="With `q`, where counting was cut short: there are at least so many matches.",
    )
    next_offset: int | None = Field(description="Where the next page starts; null at the end.")
    searched: Literal["index", "scan"] | None = Field(
        default=None, description="With `q`: whether the search index answered, or rows were read one by one."
    )
    note: str | None = Field(default=None, description="What limits this answer, in a sentence.")


class IndexParams(BaseModel):
    """Parameters of the job `datasets.index`."""

    dataset_id: str = Field(description="The data set.")


class SearchIndexOut(BaseModel):
    """The full-text index of a data set, and the job that builds it."""

    ready: bool = Field(description="Whether searches for words are answered by the index.")
    text_column: str | None = Field(description="The column it was built from.")
    stale: bool = Field(description="Built from another column than the present text column, so not used.")
    bytes: int | None = Field(description="What it takes on the disk.")
    job: JobOut | None
