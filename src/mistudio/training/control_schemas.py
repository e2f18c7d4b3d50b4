"""What crosses the API when a training is controlled: changes, checkpoints, going back, going on, cloning."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class LiveSetting(BaseModel):
    """A setting that may change while the training runs."""

    name: str = Field(examples=["architecture.k"])
    title: str
    description: str
    unit: str | None
    value: float = Field(description="What it is now, or will be as soon as the job takes up what was asked.")
    integer: bool = Field(description="Whether only whole numbers are allowed.")
    minimum: float | None
    exclusive_minimum: float | None
    maximum: float | None


class ChangeOut(BaseModel):
    """A setting that was changed, from the step after `step` on."""

    step: int
    time: float = Field(description="Seconds since 1970.")
    name: str
    title: str
    before: float
    after: float


class ChangesOut(BaseModel):
    """What was changed about a training, and what may still be."""

    changes: list[ChangeOut]
    live: list[LiveSetting]
    waiting: int = Field(description="Changes that were asked for and that the job has not made yet.")


class ChangeRequest(BaseModel):
    """Change a setting of a training that runs, waits or is paused, from its next step on."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        title="Setting",
        max_length=100,
        description="`learning_rate`, or what sets the architecture's sparsity: `k`, `target_l0`, `l1_coefficient`, "
        "`sparsity_coefficient`.",
    )
    value: float = Field(title="New value", description="Within the setting's range.")


class RetryRequest(BaseModel):
    """Queue a training again that has ended or is paused."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: int | None = Field(
        default=None,
        ge=0,
        title="Checkpoint",
        description="Go back to the checkpoint of this step: what came later is forgotten. Default: the newest.",
        json_schema_extra={"unit": "step"},
    )


class ContinueRequest(BaseModel):
    """Make a training longer."""

    model_config = ConfigDict(extra="forbid")

    total_tokens: int = Field(
        ge=1,
        le=10**13,
        title="Training tokens",
        description="How many it is to have seen in the end. From where it goes on, the learning rate follows the "
        "schedule of a training of this length: it rises again where it had decayed.",
        json_schema_extra={"unit": "tokens"},
    )
    checkpoint: int | None = Field(
        default=None,
        ge=0,
        title="From checkpoint",
        description="Go back to the checkpoint of this step first; one from before the decay makes it the training "
        "that was meant to be longer from its start.",
        json_schema_extra={"unit": "step"},
    )
    whole_sweep: bool = Field(
        default=False,
        title="All of its sweep",
        description="Make all that are trained in the same pass this long, not this one alone.",
    )


class CloneRequest(BaseModel):
    """Start a training on the same activations with some settings changed."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, max_length=200, title="Name")
    set: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        title="Changes",
        description="Settings by name: `{'learning_rate': 1e-4, 'architecture.k': 64}`.",
    )


class CheckpointView(BaseModel):
    """A state from which the training can go on, or that can be opened as an SAE."""

    step: int
    tokens: int
    bytes: int = Field(description="Its size on disk.")
    created_at: datetime
    newest: bool = Field(description="Whether the training would go on from here.")
    best: bool = Field(description="Whether it is kept as the best by the training's metric.")
    metrics: dict[str, float] = Field(
        description="Means over the curves' points since the checkpoint before."
    )


class CheckpointRef(BaseModel):
    """One checkpoint of one training."""

    model_config = ConfigDict(extra="forbid")

    training_id: str
    step: int = Field(ge=0)


class CheckpointComparison(BaseModel):
    """Two checkpoints to be held against each other."""

    model_config = ConfigDict(extra="forbid")

    before: CheckpointRef
    after: CheckpointRef


class CheckpointSaeJob(BaseModel):
    """Parameters of the job `training.checkpoint_sae`."""

    training_id: str
    step: int
    name: str | None = None


class CheckpointSaeRequest(BaseModel):
    """Make an SAE of a checkpoint."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, max_length=200, title="Name")


class SettingDifference(BaseModel):
    """A setting in which two trainings differ."""

    name: str
    before: Any
    after: Any


class CosineHistogram(BaseModel):
    """How many latents lie in each bin of cosine; `edges` has one number more than `counts`."""

    edges: list[float]
    counts: list[int]
    median: float | None
    mean: float | None


class CheckpointComparisonOut(BaseModel):
    """What the job `training.compare_checkpoints` found, as its result."""

    before: CheckpointView
    after: CheckpointView
    metrics: dict[str, list[float | None]] = Field(description="By name: before and after.")
    settings: list[SettingDifference]
    d_sae: list[int] = Field(description="Latents before and after.")
    compared: int = Field(
        description="Latents of the later one that were matched; a sample where there are many."
    )
    matched: CosineHistogram = Field(
        description="For each decoder direction of the later one, the largest cosine with any of the earlier one."
    )
    same: CosineHistogram | None = Field(
        description="The cosine of each latent's decoder direction with itself before; null for other widths."
    )
    moved: int | None = Field(description="Latents whose nearest direction before was another latent's.")
