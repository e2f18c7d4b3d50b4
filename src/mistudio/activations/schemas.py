"""What crosses the API about activation caches."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.jobs import JobOut

CacheDtype = Literal["float32", "bfloat16", "float16", "int8"]


class CacheCreate(BaseModel):
    """A cache to harvest. The model is the tokenization's."""

    model_config = ConfigDict(extra="forbid")

    tokenization_id: str
    hooks: list[str] = Field(min_length=1, max_length=64, examples=[["blocks.6.hook_resid_post"]])
    name: str | None = Field(default=None, min_length=1, max_length=200)
    dtype: CacheDtype = Field(
        default="float16",
        description="How a number is kept on disk. int8 keeps one scale for 64 neighbours: half of float16's size; the "
        "statistics say what the precision cost.",
    )
    settings: HarvestSettings = Field(default_factory=HarvestSettings)


class CacheForecastOut(BaseModel):
    """What a harvest would take."""

    n_tokens: int = Field(description="Activations that would be kept (specials not yet taken off).")
    bytes: int
    bytes_free: int = Field(description="Free on the disk of the data folder.")
    memory_bytes: int = Field(description="Memory for weights, one forward pass and buffers.")
    memory_available: int
    seconds: float | None = Field(
        description="From the last harvest of this model on this machine; null before."
    )


class HookStatistics(BaseModel):
    """Over the kept tokens at one hook."""

    mean_norm: float
    max_norm: float
    rms: float = Field(description="Root of the mean square of an element.")
    error: float | None = Field(
        default=None,
        description="What the stored precision cost: root of Σ(stored − given)² / Σ given², over every 16th token.",
    )


class CacheStatistics(BaseModel):
    """What the harvest counted."""

    tokens_seen: int
    tokens_special: int = Field(description="Left out: BOS and other special tokens.")
    tokens_padding: int
    tokens_outlier: int
    seconds: float
    hooks: dict[str, HookStatistics]


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
