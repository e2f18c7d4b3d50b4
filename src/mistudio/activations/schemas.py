"""What crosses the API about activation caches."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mistudio.engine.activation_figures import ModelOutlier, OutlierDimension
from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.jobs import JobOut

CacheDtype = Literal["float32", "bfloat16", "float16", "int8"]
MOST_HOOKS = 512


class ExtractionTemplate(BaseModel):
    """What a template of an extraction keeps: everything but the tokens. Hook points may be patterns."""

    model_config = ConfigDict(extra="forbid")

    hooks: list[str] = Field(
        min_length=1,
        max_length=MOST_HOOKS,
        title="Hook points",
        description="Names, or patterns of layers that other models understand too: blocks.*.hook_resid_post is every "
        "layer, blocks.0-5.hook_mlp_out the first six, blocks.*/3.hook_resid_post every third, "
        "blocks.50%.hook_resid_post the one in the middle.",
        examples=[["blocks.6.hook_resid_post"]],
    )
    dtype: CacheDtype = Field(
        default="float16",
        title="Kept as",
        description="How a number is kept on disk. int8 keeps one scale for 64 neighbours: half of float16's size; the "
        "statistics say what the precision cost.",
    )
    settings: HarvestSettings = Field(default_factory=HarvestSettings, title="Which activations count")


class CacheCreate(ExtractionTemplate):
    """A cache to harvest. The model is the tokenization's."""

    tokenization_id: str = Field(title="Tokenization", description="The tokens; it names the model too.")
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        title="Name",
        description="How it is listed. Default: model and hook point.",
    )
    template_id: str | None = Field(
        default=None,
        title="Template",
        description="The template that it was started from, whose uses it counts.",
    )


class CacheChange(BaseModel):
    """Another name for a cache."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)


class HookExpansion(BaseModel):
    """Hook points to look up in a model, patterns among them."""

    model_config = ConfigDict(extra="forbid")

    model_id: str
    hooks: list[str] = Field(max_length=MOST_HOOKS)


class HookExpansionOut(BaseModel):
    """What the patterns name in that model."""

    hooks: list[str] = Field(description="Hook points that it has.")
    missing: list[str] = Field(description="Names and patterns that it has nothing for.")


class CacheForecastOut(BaseModel):
    """What a harvest would take."""

    n_tokens: int = Field(description="Activations that would be kept (specials not yet taken off).")
    hooks: list[str] = Field(description="The hook points that the patterns name.")
    bytes: int
    bytes_free: int = Field(description="Free on the disk of the data folder.")
    memory_bytes: int = Field(description="Memory for weights, one forward pass and buffers.")
    memory_available: int
    seconds: float | None = Field(
        description="From the last harvest of this model on this machine; null before."
    )
    tokens_per_second: float | None = Field(description="The rate that `seconds` is computed with.")
    basis: str = Field(description="Where the rate comes from, in words.")


class DiskOut(BaseModel):
    """What all caches take."""

    caches: int
    bytes: int
    bytes_free: int = Field(description="Free on the disk of the data folder.")


class HookStatistics(BaseModel):
    """Over the kept tokens at one hook; `GET /activations/metrics` has the formulas.

    What came with later versions is null in caches that were harvested before.
    """

    model_config = ConfigDict(from_attributes=True)

    mean_norm: float
    max_norm: float
    rms: float
    error: float | None = None
    std_norm: float | None = None
    norm_percentiles: dict[str, float] | None = Field(default=None, description="By per cent of the tokens.")
    mean: float | None = None
    std: float | None = None
    mean_share: float | None = None
    token_kurtosis: float | None = None
    dimension_kurtosis: float | None = None
    rms_kurtosis: float | None = None
    zeros: float | None = None
    hoyer: float | None = None
    peak: float | None = None
    loud_dimensions: int | None = None
    far_dimensions: int | None = None
    massive_values: int | None = None
    massive_tokens: int | None = None
    massive_dimensions: int | None = None


class CacheStatistics(BaseModel):
    """What the harvest counted."""

    tokens_seen: int
    tokens_special: int = Field(description="Left out: BOS and other special tokens.")
    tokens_padding: int
    tokens_outlier: int
    seconds: float
    hooks: dict[str, HookStatistics]
    outliers: list[ModelOutlier] = Field(
        default_factory=list[ModelOutlier],
        description="Dimensions with |x| ≥ 6 at 6 % of the tokens or more, in a quarter of the layers or more.",
    )


class ActivationMetricOut(BaseModel):
    """What one figure means."""

    title: str
    unit: str
    formula: str
    description: str


class LargeValueOut(BaseModel):
    """The largest value of a token, with the token in its text."""

    value: float
    dimension: int
    sequence: int
    position: int
    token: int
    text: str = Field(description="The token's characters.")
    before: str = Field(description="The text in front of it, a few tokens of it.")
    median: float = Field(description="Of the magnitudes of that token's values.")
    massive: bool


class HookReport(BaseModel):
    """Everything about the activations at one hook: figures, and the data of the plots."""

    hook: str
    n: int = Field(description="Tokens.")
    d: int
    figures: HookStatistics
    norm_edges: list[float] = Field(description="Edges of the bins of ‖x‖: one more than the counts.")
    norm_counts: list[int]
    position_starts: list[int] = Field(
        description="First position of each group of positions in the sequence."
    )
    position_norms: list[float] = Field(description="Mean norm there.")
    position_counts: list[int]
    mean: list[float] = Field(description="Per dimension.")
    std: list[float]
    peak: list[float] = Field(description="Largest magnitude of each dimension.")
    share: list[float] = Field(description="Share of tokens with a magnitude of 6 or more, per dimension.")
    kurtosis: list[float | None] = Field(description="Over tokens, per dimension; null where it is constant.")
    outliers: list[OutlierDimension]
    largest: list[LargeValueOut]
    massive_dimensions: dict[int, int] = Field(description="Massive activations by dimension.")


class CacheOut(BaseModel):
    """An activation cache. Sizes are null until it is complete."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    model_id: str
    model_name: str
    tokenization_id: str
    tokenization_name: str
    dataset_id: str
    dataset_name: str
    hooks: list[str]
    dtype: CacheDtype
    settings: HarvestSettings
    n_tokens: int | None
    bytes: int | None
    statistics: CacheStatistics | None
    ready: bool
    created_at: datetime
    job: JobOut | None = None


class HarvestParams(BaseModel):
    """Parameters of the job `activations.harvest`."""

    cache_id: str
