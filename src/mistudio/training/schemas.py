"""What crosses the API about trainings."""

from __future__ import annotations

from datetime import datetime
from math import prod
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from mistudio.activations.schemas import HarvestSettings
from mistudio.engine.runs import Run, SettingsRefused, shared_batch_size, sweep
from mistudio.jobs import JobOut
from mistudio.sae.config import TrainerConfig
from mistudio.templates.schemas import Expected
from mistudio.training.trackers import TrackerKind

MOST_TRAININGS = 256
"""SAEs of one sweep: more would neither fit into memory nor on a screen."""

Grid = Annotated[
    dict[str, list[Any]],
    Field(
        title="Grid",
        description='Values to try, by setting: `{"k": [16, 32], "learning_rate": [1e-4, 3e-4]}` trains one SAE for '
        "each combination, at each hook point, on the same pass of the model.",
    ),
]


HELD_OUT_TOKENS = 16_384
HeldOutTokens = Annotated[
    int,
    Field(
        ge=0,
        le=10_000_000,
        title="Held-out tokens",
        description="Tokens at the end of the shuffled order that are never trained on; the finished SAE is measured "
        "on them.",
        json_schema_extra={"unit": "tokens"},
    ),
]


class SourceChoice(BaseModel):
    """Tokens to train on, and how much of all they are."""

    model_config = ConfigDict(extra="forbid")

    tokenization_id: str = Field(title="Tokenization", description="Tokens; they name the model too.")
    weight: float = Field(
        default=1.0,
        gt=0,
        le=1e6,
        title="Weight",
        description="Share of the tokens read, against the weights of the other sources; they need not add up to 1.",
    )


class TrainingCreate(BaseModel):
    """What to train, on what: every hook point with every combination of the grid, in one pass over the activations."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(
        default=None,
        max_length=200,
        title="Name",
        description="How the run is listed. Default: hook point, width and k.",
    )
    sources: list[SourceChoice] = Field(
        min_length=1,
        max_length=32,
        title="Tokens",
        description="One tokenization, or several of one model that are mixed by weight.",
    )
    hooks: list[str] = Field(
        min_length=1,
        max_length=256,
        title="Hook points",
        description="Where in the model activations are taken; one pass of the model serves all.",
    )
    cache_id: str | None = Field(
        default=None,
        title="Activation cache",
        description="Train from these stored activations. Without one the model runs alongside the training.",
    )
    harvest: HarvestSettings | None = Field(
        default=None,
        title="Which activations count",
        description="Without a cache: how the text is read, and which tokens are left out. A cache has its own.",
        json_schema_extra={"advanced": True},
    )
    held_out_tokens: HeldOutTokens = HELD_OUT_TOKENS
    config: TrainerConfig = Field(default_factory=TrainerConfig, title="Hyperparameters")
    grid: Grid = Field(default_factory=dict[str, list[Any]])
    trackers: list[TrackerKind] = Field(
        default_factory=list[TrackerKind],
        max_length=3,
        title="Send curves to",
        description="tensorboard, wandb (Weights & Biases), trackio: curves also go there, through their own packages. "
        "Where one is not installed the start is refused; one that fails later harms no training.",
        json_schema_extra={"advanced": True},
    )
    tracker_project: str = Field(
        default="mistudio",
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$",
        title="Project in the trackers",
        description="What Weights & Biases and trackio file the runs under.",
        json_schema_extra={"advanced": True},
    )
    template_id: str | None = Field(
        default=None,
        title="Template",
        description="The template that it was started from, whose uses it counts.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> TrainingCreate:
        if self.cache_id is not None and self.harvest is not None:
            raise ValueError("harvest settings do not apply to a cache, which was harvested under its own")
        if self.cache_id is not None and len(self.sources) > 1:
            raise ValueError("a cache holds the activations of one tokenization, and several are to be mixed")
        named = [source.tokenization_id for source in self.sources]
        if len(set(named)) < len(named):
            raise ValueError("sources names a tokenization twice: give it one weight")
        if len(set(self.trackers)) < len(self.trackers):
            raise ValueError("trackers names one twice")
        if len(set(self.hooks)) < len(self.hooks):
            raise ValueError("hooks names a hook point twice")
        _refuse_of_others(self.config, self.harvest)
        return self


class TrainingTemplate(BaseModel):
    """What a template of a training keeps: everything but the tokens, the hook point and the cache."""

    model_config = ConfigDict(extra="forbid")

    config: TrainerConfig = Field(default_factory=TrainerConfig, title="Hyperparameters")
    harvest: HarvestSettings = Field(
        default_factory=HarvestSettings,
        title="Which activations count",
        description="Where the model runs alongside; a cache has its own.",
        json_schema_extra={"advanced": True},
    )
    held_out_tokens: HeldOutTokens = HELD_OUT_TOKENS
    grid: Grid = Field(default_factory=dict[str, list[Any]])

    @model_validator(mode="after")
    def _of_an_autoencoder(self) -> TrainingTemplate:
        _refuse_of_others(self.config, self.harvest)
        if wrong := grid_fault(self.config, self.grid):
            raise ValueError(f"grid: {wrong}")
        return self


def _refuse_of_others(config: TrainerConfig, harvest: HarvestSettings | None) -> None:
    """Raises ValueError for settings that belong to something else than the training of an autoencoder."""
    if harvest is not None and harvest.n_tokens is not None:
        raise ValueError("harvest.n_tokens limits a cache; a training's length is config.total_tokens")
    if config.skip_connection:
        raise ValueError("config.skip_connection belongs to transcoders, and this trains an autoencoder")


def grid_fault(config: TrainerConfig, grid: dict[str, list[Any]]) -> str | None:
    """What is wrong with the values that are to be tried at one hook point, in one sentence; None where nothing is."""
    count = prod(len(values) for values in grid.values())
    if count > MOST_TRAININGS:
        return f"{count:,} SAEs are more than the {MOST_TRAININGS} of one run."
    places = {"hook", "hook_out", "hooks"} & grid.keys()
    if places:
        return f"{min(places)} is no hyperparameter: a template keeps none."
    try:
        shared_batch_size(sweep(Run(hook="any", config=config), grid))
    except SettingsRefused as error:
        return error.message
    return None


class TrainingUpdate(BaseModel):
    """Changes to what people say of a training."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200)
    notes: str | None = Field(default=None, max_length=20_000)
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(default=None, max_length=64)
    favourite: bool | None = None


class TrainingJob(BaseModel):
    """Parameters of the job `training.run`."""

    sweep_id: str


class CheckpointOut(BaseModel):
    """A state from which the training can go on."""

    step: int
    tokens: int
    bytes: int
    created_at: datetime


def _as_stored(value: Any, check: ValidatorFunctionWrapHandler) -> TrainerConfig:
    return value if isinstance(value, TrainerConfig) else check(value)


class SourceOut(BaseModel):
    """Tokens that are trained on."""

    tokenization_id: str
    tokenization_name: str
    dataset_id: str
    dataset_name: str
    weight: float


class TrainingOut(BaseModel):
    """A training with its sweep's newest job. Its settings are shown as stored, whatever is asked of new ones."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    sweep_id: str
    sweep_size: int = Field(description="SAEs that are trained in the same pass, this one among them.")
    name: str
    notes: str
    tags: list[str]
    favourite: bool
    model_id: str
    model_name: str
    sources: list[SourceOut]
    cache_id: str | None
    hook: str
    d_in: int
    config: Annotated[TrainerConfig, WrapValidator(_as_stored)]
    harvest: HarvestSettings = Field(description="The conventions under which its activations were read.")
    held_out_tokens: int
    trackers: list[TrackerKind] = Field(description="Where its curves are sent to besides.")
    tracker_project: str | None = Field(
        description="What they are filed under there; null where they are sent nowhere."
    )
    total_steps: int
    tokens_trained: int
    last_metrics: dict[str, float | None] | None
    error: dict[str, Any] | None = Field(
        description="Why it ended before the others of its sweep; null unless it did."
    )
    sae_id: str | None = Field(description="The SAE that this training registered when it ended.")
    created_at: datetime
    job: JobOut | None


class SweepOut(BaseModel):
    """Trainings on one stream of activations, with the job that trains them."""

    id: str
    name: str
    created_at: datetime
    trainings: list[TrainingOut]
    job: JobOut | None
    asked: TrainingTemplate | None = Field(
        description="Hyperparameters and grid as they were asked for, to be kept as a template; null for a sweep "
        "whose settings would be refused today, or of a version that did not note them."
    )


class TrainingDetail(TrainingOut):
    """A training with its files."""

    bytes: int = Field(description="Disk used by metrics and checkpoints.")
    checkpoints: list[CheckpointOut]
    expected: Expected | None = Field(
        description="What a template of its settings may expect: measured on held-out tokens or, without them, on its "
        "last batch; null where settings were changed while it trained."
    )


class Advice(BaseModel):
    """Something to know about settings before a training is started with them."""

    message: str
    setting: str | None = Field(default=None, description="Path of the setting that it is about.")
    suggestion: float | None = Field(default=None, description="A value of it that would be well.")
    saes: int = Field(default=1, description="How many of the SAEs it is about.")


class ForecastSae(BaseModel):
    """One SAE that would be trained."""

    name: str = Field(description="What sets it apart from the others.")
    hook: str
    d_in: int
    d_sae: int
    total_steps: int
    memory_bytes: int = Field(description="Its weights with all that training keeps for them.")
    disk_bytes: int


class Forecast(BaseModel):
    """What a training will take, before it starts. Bytes and seconds, with the reasoning shown."""

    saes: list[ForecastSae] = Field(description="The SAEs that are trained in one pass.")
    memory_bytes: int
    disk_bytes: int
    seconds: float
    tokens_per_second: float
    basis: str = Field(
        description="Where the rate comes from: runs measured on this machine, or an assumption."
    )
    parts: dict[str, int] = Field(description="Memory by what needs it, in bytes.")
    available_memory_bytes: int
    available_disk_bytes: int
    warnings: list[Advice]


class TrainingForm(BaseModel):
    """The schemas from which the form is generated, and what each metric means."""

    form: dict[str, Any]
    metrics: dict[str, dict[str, str]]


class DocumentFault(BaseModel):
    """What is wrong with a text, and where."""

    line: int = Field(description="Counted from 1.")
    column: int | None = Field(
        default=None, description="Counted from 1; null where the whole line is meant."
    )
    field: str | None = Field(default=None, description="Path of the setting, where it is about one.")
    message: str


class DocumentText(BaseModel):
    """A configuration as somebody wrote it."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=1_000_000)
    format: Literal["toml", "json"] = "toml"


class DocumentOut(BaseModel):
    """What a text says, or what is wrong with it."""

    request: TrainingCreate | None = Field(
        description="The training that it asks for; null when there are faults."
    )
    faults: list[DocumentFault]


class TrainingTexts(BaseModel):
    """One configuration in every form in which it can be kept and started again."""

    toml: str = Field(description="For `mistudio train FILE`.")
    json_text: str = Field(alias="json", description="The same as JSON: the body of `POST /trainings`.")
    command: str
    python: str
