"""What crosses the API about templates."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Name = Field(min_length=1, max_length=200, title="Name", description="Unique among templates of its kind.")
Conflicts = Literal["rename", "replace", "skip"]


class Expected(BaseModel):
    """What a run of these settings came to or is built to come to, and where that is known from."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=200, description="The language model.", examples=["SmolLM2-135M-Instruct"])
    hook: str = Field(max_length=200, description="The hook point.", examples=["blocks.9.hook_resid_post"])
    l0: float = Field(ge=0, allow_inf_nan=False, description="Active latents a token.")
    fvu: float | None = Field(
        ge=0,
        allow_inf_nan=False,
        description="Fraction of variance unexplained; null where L0 follows from the settings and no figure is known.",
    )
    source: str = Field(max_length=1_000, description="How it was measured, or who says so.")


class TemplateKindOut(BaseModel):
    """A kind of template and the form that its settings have."""

    name: str = Field(examples=["extraction"])
    title: str = Field(examples=["Activation extraction"])
    form: dict[str, Any] = Field(description="JSON schema of the settings.")
    architectures: list[str] = Field(
        description="Architectures of the templates there are; empty for most kinds."
    )


class TemplateCreate(BaseModel):
    """Settings to keep under a name."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(title="Kind", description="What it is a template of.", examples=["extraction"])
    name: str = Name
    description: str = Field(
        default="", max_length=5_000, title="Description", description="What it is good for."
    )
    favourite: bool = Field(default=False, title="Favourite", description="Listed before the others.")
    body: dict[str, Any] = Field(title="Settings", description="They must fit the schema of the kind.")
    expected: Expected | None = Field(
        default=None, title="Expected", description="What a run of these settings came to."
    )


class TemplateRestore(TemplateCreate):
    """A template that was deleted, as it was: to be put back under its own id."""

    uses: int = Field(default=0, ge=0, le=2**31 - 1)
    last_used_at: datetime | None = None
    created_at: datetime


class TemplateCheck(BaseModel):
    """Settings to check before they are kept."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    body: dict[str, Any]


class TemplateCheckOut(BaseModel):
    """What is wrong with settings."""

    errors: dict[str, str] = Field(description="By field; empty when nothing is.")


class TemplateUpdate(BaseModel):
    """Changes; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=5_000)
    favourite: bool | None = None
    body: dict[str, Any] | None = None


class TemplateOut(BaseModel):
    """A template."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["tp_01jd3m8x5k7q2r9w"])
    kind: str
    name: str
    description: str
    favourite: bool
    builtin: Annotated[bool, BeforeValidator(bool)] = Field(
        description="Whether it comes with miStudio: it can be starred and duplicated, not changed."
    )
    architecture: str | None = Field(description="The architecture that its settings name, if they name one.")
    expected: Expected | None
    body: dict[str, Any]
    uses: int = Field(description="How often something was started from it.")
    last_used_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ExportedTemplate(BaseModel):
    """A template in an exported file."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    kind: str
    name: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=5_000)
    favourite: bool = False
    expected: Expected | None = None
    body: dict[str, Any]


class TemplateExport(BaseModel):
    """An exported file: what it is, its version, and the templates."""

    format: Literal["mistudio-templates"] = "mistudio-templates"
    version: int = 1
    exported_at: datetime
    templates: list[ExportedTemplate]


class ImportRequest(BaseModel):
    """An exported file, and what to do where a name is taken already."""

    model_config = ConfigDict(extra="forbid")

    document: dict[str, Any] = Field(description="The content of an exported file.")
    on_conflict: Conflicts = Field(
        default="rename",
        title="Where a name is taken",
        description="rename: add it under a free name; replace: overwrite the settings of the one that is there; "
        "skip: keep the one that is there.",
    )
    choices: dict[int, Conflicts] = Field(
        default_factory=dict[int, Conflicts],
        description="Other choices for some rows, by the row's number in the file, counted from 1.",
    )


class ImportRow(BaseModel):
    """What becomes of one row of an imported file."""

    row: int = Field(description="Its number in the file, counted from 1.")
    kind: str
    name: str
    state: Literal["new", "taken", "same", "invalid"] = Field(
        description="new: its name is free; taken: another template has its name; same: that one is equal; invalid: "
        "it cannot be imported."
    )
    errors: dict[str, str] = Field(description="What is wrong with an invalid row, by field.")
    action: Literal["add", "rename", "replace", "skip", "refuse"] = Field(
        description="What importing does with it under the choices given."
    )
    imported_as: str | None = Field(default=None, description="The name that it got or would get.")
    changes: list[str] = Field(
        default_factory=list[str],
        description="Settings in which a taken one differs from the one that is there, by path.",
    )


class ImportReport(BaseModel):
    """Every row of an imported file."""

    rows: list[ImportRow]
    imported: int = Field(description="Rows that were, or would be, added or replaced.")
