"""What crosses the API about the list of trainings: its fields, rows, groups and saved views."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mistudio.training.schemas import TrainingOut

Value = float | bool | str | list[str] | None


class FieldOut(BaseModel):
    """Something that trainings can be listed, sorted, grouped and filtered by."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["d_sae"])
    title: str
    kind: Literal["number", "text", "choice", "flag", "time", "list"]
    group: str
    unit: str
    description: str
    formula: str = Field(description="Of a metric.")
    choices: tuple[str, ...]
    better: str = Field(description="`lower` or `higher` where one end is the good one.")
    aliases: tuple[str, ...] = Field(description="Other names that a filter may use.")
    sortable: bool
    groupable: bool


class ListedTraining(TrainingOut):
    """A training in the list, with the values of the columns that were asked for."""

    state: str | None = Field(description="Its sweep's job's state; `failed` where it diverged alone.")
    values: dict[str, Value] = Field(
        description="By field. Times are ISO 8601; null where the run has no such value."
    )


class TrainingGroup(BaseModel):
    """Trainings that share a value."""

    value: Value = Field(description="The shared value; null where there is none.")
    filter: str = Field(description="The filter that finds exactly these.")
    count: int
    running: int = Field(description="How many of them are under way.")
    best: dict[str, float | None] = Field(
        description="The best value by metric: the lowest or highest, as is good."
    )


class TrainingGroups(BaseModel):
    """The groups in the order in which the list, sorted by this field, has them."""

    by: str
    groups: list[TrainingGroup]
    total: int


class ViewSettings(BaseModel):
    """How a list is looked at."""

    model_config = ConfigDict(extra="forbid")

    filter: str = Field(default="", max_length=2_000, title="Filter")
    columns: list[Annotated[str, Field(max_length=100)]] = Field(
        default_factory=list[str],
        max_length=100,
        title="Columns",
        description="Fields in order; none: the usual.",
    )
    sort: str = Field(default="-created", max_length=200, title="Order")
    group: str = Field(default="", max_length=100, title="Grouped by")


class ViewCreate(ViewSettings):
    """A view to be kept under a name."""

    name: str = Field(min_length=1, max_length=100, title="Name")


class ViewUpdate(BaseModel):
    """Changes to a saved view."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=100)
    settings: ViewSettings | None = None


class ViewOut(BaseModel):
    """A saved view; whoever uses this server sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    settings: ViewSettings
    created_at: datetime
    updated_at: datetime


class BulkChange(BaseModel):
    """Changes to many trainings at once."""

    model_config = ConfigDict(extra="forbid")

    ids: list[str] = Field(min_length=1, max_length=10_000)
    add_tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default_factory=list[str], max_length=64
    )
    remove_tags: list[str] = Field(default_factory=list[str], max_length=64)
    favourite: bool | None = None


class BulkDelete(BaseModel):
    """Trainings to delete."""

    model_config = ConfigDict(extra="forbid")

    ids: list[str] = Field(min_length=1, max_length=10_000)


class Changed(BaseModel):
    """How many were changed or deleted."""

    count: int
