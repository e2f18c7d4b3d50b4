"""What crosses the API about extractions and features."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from mistudio.jobs import JobOut
from mistudio.saes.schemas import Histogram

Density = Literal["dead", "rare", "normal", "dense"]
Group = Literal["top", "q4", "q3", "q2", "q1"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""The groups in the order in which examples are stored; a stored example's `group` counts in it."""
LabelState = Literal["labelled", "unlabelled", "person", "machine"]


class ExtractionSettings(BaseModel):
    """Which tokens are read, what is left out, and how much is kept of each latent. Every field acts."""

    model_config = ConfigDict(extra="forbid")

    n_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens to read, in whole sequences. Default: up to 2,000,000 from a cache, 500,000 without one.",
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Chooses the sequences and the quantile examples."
    )
    batch_sequences: int = Field(
        default=16, ge=1, le=4096, description="Sequences in one forward pass, when there is no cache."
    )
    skip_bos: bool = Field(
        default=True, description="Leave out the first position when it is the beginning-of-text token."
    )
    skip_special_tokens: bool = Field(
        default=True, description="Leave out end-of-text and other special tokens."
    )
    outlier_multiple: float | None = Field(
        default=None,
        gt=1,
        description="Leave out tokens whose activation norm exceeds this multiple of the median norm in their batch "
        "(attention sinks). Default: keep all.",
    )
    decoder_norm: Literal["raw", "folded"] = Field(
        default="raw",
        description="raw: activations as the SAE (and SAELens) gives them. folded: times the norm of the latent's "
        "decoder direction, as SAEDashboard shows them.",
    )
    top_examples: int = Field(default=20, ge=1, le=200, description="Strongest examples kept of each latent.")
    quantile_examples: int = Field(
        default=5, ge=0, le=50, description="Random examples kept from each quarter of the activations."
    )
    window: int = Field(default=64, ge=1, le=1024, description="Tokens kept around the strongest one.")


class ExtractionCreate(BaseModel):
    """An extraction to make. An empty body takes the SAE's own training tokens and a cache if one fits."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200)
    tokenization_id: str | None = Field(
        default=None, description="Default: that of its training, else the newest of its model."
    )
    cache_id: str | None = Field(
        default=None,
        description="Activations to read. Default: one that fits, else the model runs alongside.",
    )
    use_cache: bool = Field(
        default=True, description="Whether a cache that fits may be taken when none is named."
    )
    settings: ExtractionSettings = Field(default_factory=ExtractionSettings)


class ExtractionChange(BaseModel):
    """An extraction's new name."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)


class Conventions(BaseModel):
    """How the numbers were made; without these, numbers from elsewhere cannot be compared."""

    skip_bos: bool
    skip_special_tokens: bool
    outlier_multiple: float | None
    decoder_norm: Literal["raw", "folded"]
    activations: str = Field(description="Where they came from: `model` or `cache`.")
    dtype: str = Field(description="The precision of the activations that the SAE was given.")
    model_dtype: str | None = Field(description="The precision the model ran in; null for a cache.")
    logits: str = Field(description="How directions became logits.", examples=["W_dec @ W_U"])


class ExtractionSummary(BaseModel):
    """What an extraction counted."""

    n_sequences: int
    n_tokens: int = Field(description="Tokens that count.")
    tokens_left_out: int = Field(description="Special tokens, BOS and outliers that were read and left out.")
    l0: float = Field(description="Mean number of active latents per token.")
    n_latents: int
    n_dead: int = Field(description="Latents that never fired.")
    n_rare: int = Field(description="Fired on fewer than 1 in 10,000 tokens.")
    n_dense: int = Field(description="Fired on more than 1 in 10 tokens.")
    log10_frequencies: Histogram = Field(description="log10 of frequency over latents that fired.")
    max_activations: Histogram = Field(description="Maximum over latents that fired.")
    seconds: float = Field(description="The whole job.")
    seconds_by_stage: dict[str, float]


class ExtractionOut(BaseModel):
    """An extraction. `conventions`, `summary`, `n_tokens` and `bytes` are null until it is done."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    sae_id: str
    sae_name: str = ""
    model_id: str | None = None
    hook: str | None = None
    d_sae: int | None = None
    tokenization_id: str | None
    cache_id: str | None
    settings: ExtractionSettings
    conventions: Conventions | None
    summary: ExtractionSummary | None
    n_tokens: int | None
    bytes: int | None
    ready: bool
    created_at: datetime
    labelled: int = Field(default=0, description="Features with a label.")
    starred: int = Field(default=0, description="Features with a star.")
    job: JobOut | None = None


class FeatureRow(BaseModel):
    """One latent in the table."""

    model_config = ConfigDict(from_attributes=True)

    index: int
    frequency: float = Field(description="Share of tokens on which it is active.")
    max_activation: float
    mean_activation: float = Field(description="Mean where active.")
    density: Density = Field(
        description="dead: never active. rare: under 1 in 10,000 tokens. dense: over 1 in 10."
    )
    top_tokens: list[str] = Field(description="Tokens on which it fires most strongly, strongest first.")
    label: str | None
    label_source: str | None = Field(description="`person`, or `machine:` and which.")
    label_score: float | None
    starred: bool
    notes: str


class Example(BaseModel):
    """One passage on which the latent fires; `position` and `window_start` count tokens of the sequence."""

    group: Group = Field(
        description="top: the strongest. q4 … q1: random ones from each quarter by strength."
    )
    sequence: int
    position: int = Field(description="Of the strongest token.")
    strongest: float
    window_start: int = Field(description="Position of the window's first token.")
    token_ids: list[int]
    tokens: list[str]
    activations: list[float] = Field(description="0 where it is not active.")
    row: int | None = Field(description="Row of the data set where the sequence begins.")
    offset: int | None = Field(description="Character of that row where the sequence begins.")


class TokenLogit(BaseModel):
    """What a latent's direction adds to a token's logit, per unit of activation."""

    id: int
    token: str
    value: float


class Neighbour(BaseModel):
    """A latent whose decoder direction is close."""

    index: int
    cosine: float
    label: str | None
    frequency: float
    max_activation: float


class TokenCount(BaseModel):
    """How often a token was the strongest of an example."""

    token: str
    count: int
    max_activation: float


class FeaturePage(BaseModel):
    """Everything about one latent."""

    extraction_id: str
    sae_id: str
    row: FeatureRow
    count: int = Field(description="Tokens on which it was active.")
    n_tokens: int
    histogram: Histogram = Field(description="Activations where active, in bins of equal width.")
    quantiles: list[float] = Field(
        description="Borders between q1|q2, q2|q3 and q3|q4 (of sequences' maxima)."
    )
    examples: list[Example]
    top_logits: list[TokenLogit]
    bottom_logits: list[TokenLogit]
    neighbours: list[Neighbour] = Field(description="Closest decoder directions, by cosine.")
    token_counts: list[TokenCount] = Field(description="Strongest tokens of the examples.")
    decoder_norm: float


class FeatureChange(BaseModel):
    """A star or notes."""

    model_config = ConfigDict(extra="forbid")

    starred: bool | None = None
    notes: str | None = Field(default=None, max_length=20_000)


class ExtractParams(BaseModel):
    """Parameters of the job `features.extract`."""

    extraction_id: str
