"""What crosses the API about labels."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mistudio.jobs import JobOut

LabelSource = Literal["contrast", "local", "openai"]
ScoreMethod = Literal["rule", "detection"]


class LabelScope(BaseModel):
    """Which features of an extraction are labelled. Features that never fired are always left out."""

    model_config = ConfigDict(extra="forbid")

    indices: list[int] | None = Field(
        default=None,
        max_length=100_000,
        description="These features. Default: those that the filters below leave.",
    )
    only: Literal["unlabelled", "not_by_person", "all"] = Field(
        default="not_by_person",
        description="unlabelled: without any label. not_by_person: without one made by hand. all: every one (a label "
        "made by hand stays in force all the same).",
    )
    min_frequency: float | None = Field(default=None, ge=0, le=1, description="Least share of tokens.")
    max_frequency: float | None = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Greatest share of tokens. Features that fire on more than 1 token in 100 are mostly about "
        "position and punctuation. Does not hold back features listed by their numbers.",
    )
    starred: bool | None = Field(default=None, description="Only those with (or without) a star.")
    order: Literal["frequency", "max_activation", "index"] = Field(
        default="frequency",
        description="Which come first, and are kept by the limit: the most frequent, the strongest (among them often "
        "attention sinks), or the lowest numbers.",
    )
    limit: int = Field(default=100, ge=1, le=200_000, description="At most so many features.")


class LabellingPrompt(BaseModel):
    """What a chat model is asked about a feature. The defaults are those of a run that names no prompt."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(
        default="You study one feature inside a language model. You see passages in which it fires, strongest first; "
        "the words on which it fires stand between « and ». Say what these words or their contexts have in common, in "
        "a phrase of at most ten words. Answer with the phrase alone.",
        min_length=1,
        max_length=4_000,
        title="Task",
        description="Stands before the examples, which are numbered passages with the words on which the feature fires "
        "between « and ». The first line of the answer that says something becomes the label.",
    )
    question: str = Field(
        default="What do the marked words have in common?",
        max_length=1_000,
        title="Question",
        description="Stands behind the examples. May be empty.",
    )


class LabellingTemplate(BaseModel):
    """What a template of labelling prompts keeps."""

    model_config = ConfigDict(extra="forbid")

    prompt: LabellingPrompt = Field(default_factory=LabellingPrompt, title="Prompt")
    examples: int = Field(
        default=12, ge=1, le=100, title="Examples", description="Examples that the chat model is shown."
    )


class LabellingRunCreate(BaseModel):
    """A labelling run.

    contrast: no model; the words and contexts that set the examples apart from other text. local: a chat model of
    this library. openai: an OpenAI-compatible endpoint (its address and key are settings of the server).
    """

    model_config = ConfigDict(extra="forbid")

    source: LabelSource = "contrast"
    model: str | None = Field(
        default=None,
        max_length=200,
        description="local: id of a chat model (default: the SAE's own model). openai: the endpoint's name for it.",
    )
    scope: LabelScope = Field(default_factory=LabelScope)
    examples: int = Field(
        default=12,
        ge=1,
        le=100,
        description="Examples that a chat model is shown; contrast uses all but those held out.",
    )
    prompt: LabellingPrompt | None = Field(
        default=None,
        title="Prompt",
        description="What a chat model is asked; contrast asks none. Default: for a phrase of at most ten words.",
    )
    template_id: str | None = Field(
        default=None,
        title="Template",
        description="The template of labelling prompts that it was started from, whose uses it counts.",
    )
    score: bool = Field(default=True, description="Test each label on held-out examples.")
    baseline: bool = Field(
        default=True,
        description="Also test other features' labels on the same examples. For chat models this doubles "
        "the cost of scoring.",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Chooses contexts and what is held out.")
    background: int = Field(
        default=256,
        ge=32,
        le=20_000,
        description="Random contexts, on which the SAE is run to know where each feature is silent.",
    )
    concurrency: int = Field(default=8, ge=1, le=128, description="openai: requests at once.")

    @model_validator(mode="after")
    def _names_model(self) -> LabellingRunCreate:
        if self.source == "openai" and not self.model:
            raise ValueError("name the endpoint's model in “model”")
        if self.source == "contrast" and self.model:
            raise ValueError("contrast uses no model; leave “model” out")
        if self.source == "contrast" and self.prompt is not None:
            raise ValueError("contrast asks no model; leave “prompt” out")
        return self


class ScoreDetail(BaseModel):
    """How a score came about. Rates are between 0 and 1."""

    model_config = ConfigDict(extra="forbid")

    method: ScoreMethod
    balanced_accuracy: float = Field(
        description="Mean of the two rates: 0.5 is chance, 1 is perfect. This is the score."
    )
    true_positive_rate: float = Field(description="Held-out examples that the label recognised.")
    true_negative_rate: float = Field(description="Silent contexts that the label left alone.")
    auc: float = Field(description="Chance that a held-out example is ranked above a silent context.")
    n_positive: int = Field(description="Held-out examples.")
    n_negative: int = Field(description="Random contexts in which the feature is silent.")
    baseline: float | None = Field(
        default=None, description="Mean balanced accuracy of other features' labels on the same contexts."
    )
    baseline_labels: int = Field(default=0, description="How many other labels that mean is over.")
    by_group: dict[str, float] = Field(
        default_factory=dict, description="True positive rate by strength of the example: top, q4 … q1."
    )


class LabelOut(BaseModel):
    """One label that a feature was given."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    extraction_id: str
    feature_index: int
    text: str | None = Field(description="null: the person took the label away.")
    source: str = Field(examples=["person", "machine:contrast", "machine:local:SmolLM2-135M-Instruct"])
    score: float | None = Field(description="Balanced accuracy on held-out contexts.")
    score_detail: ScoreDetail | None
    run_id: str | None
    created_at: datetime


class LabelWrite(BaseModel):
    """A label made by hand. A machine never overwrites it."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=2_000)
    notes: str | None = Field(default=None, max_length=20_000, description="Left as they are when null.")


class LabelsOut(BaseModel):
    """A feature's labels: the one in force, and all it was ever given, newest first."""

    extraction_id: str
    feature_index: int
    label: str | None
    label_source: str | None
    label_score: float | None
    history: list[LabelOut]


class LabellingRunOut(BaseModel):
    """A labelling run with its job, whose `result` counts what was labelled, skipped and failed."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    extraction_id: str
    source: str
    request: LabellingRunCreate
    n_features: int
    created_at: datetime
    labels: int = Field(default=0, description="Labels it has given so far.")
    job: JobOut | None = None


class SourceInfo(BaseModel):
    """A source of labels and whether it can be used now."""

    source: LabelSource
    title: str
    description: str
    available: bool
    why_not: str | None = None


class LabellingForm(BaseModel):
    """What the form of a labelling run needs: its schema, the sources, and what a score means."""

    form: dict[str, Any]
    sources: list[SourceInfo]
    score_methods: dict[ScoreMethod, str]
    score_fields: dict[str, str]


class LabellingParams(BaseModel):
    """Parameters of the jobs `labels.run` and `labels.run_remote`."""

    run_id: str
