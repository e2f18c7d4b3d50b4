"""The settings of every architecture, each in its own class; `kind` tells them apart.

Labels, ranges and defaults here are what the forms, the CLI and the API show. Imports no PyTorch.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ADVANCED: dict[str, Any] = {"advanced": True}
_USUAL_L0 = 64.0
_STARTING_EXCESS = 2.0


class Config(BaseModel):
    """Settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _AuxK(Config):
    aux_coefficient: float = Field(
        default=1 / 32,
        ge=0,
        le=100,
        title="AuxK coefficient",
        description="Weight of the auxiliary loss that lets dead latents model what the live ones leave "
        "over, so that they come back to life. 0 turns it off.",
        json_schema_extra=ADVANCED | {"source": "Gao et al. 2024, arXiv 2406.04093, appendix A.2"},
    )
    aux_k: int = Field(
        default=256,
        ge=1,
        le=65_536,
        title="AuxK latents",
        description="How many dead latents take part in the auxiliary loss on one token. About half the "
        "width of the activations is usual.",
        json_schema_extra=ADVANCED | {"source": "Gao et al. 2024, arXiv 2406.04093, appendix A.2"},
    )


class TopKConfig(_AuxK):
    """Keep the k strongest latents of each token (Gao et al. 2024, arXiv 2406.04093)."""

    kind: Literal["topk"] = Field(default="topk", title="Architecture")
    k: int = Field(
        default=32,
        ge=1,
        le=65_536,
        title="Active latents (k)",
        description="How many latents may be active on one token. Smaller is sparser and easier to read; "
        "larger reconstructs better.",
        json_schema_extra={"synonyms": ["target_l0"], "source": "Gao et al. 2024, arXiv 2406.04093"},
    )


class _GlobalThreshold(_AuxK):
    threshold_momentum: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        title="Threshold momentum",
        description="Decay of the running mean of the smallest value that was kept in a batch. After "
        "training this mean is the threshold above which a latent counts as active.",
        json_schema_extra=ADVANCED
        | {
            "source": "Bussmann et al. 2024, arXiv 2412.06410, estimate the threshold on batches; the"
            " decay is miStudio's choice"
        },
    )


class BatchTopKConfig(_GlobalThreshold):
    """Keep the k·N strongest latents of a batch of N tokens, so that hard tokens get more and easy ones fewer; after
    training a global threshold takes the batch's place (Bussmann et al. 2024, arXiv 2412.06410)."""

    kind: Literal["batch_topk"] = Field(default="batch_topk", title="Architecture")
    k: int = Field(
        default=32,
        ge=1,
        le=65_536,
        title="Active latents (k)",
        description="How many latents are active on a token on average. Smaller is sparser and easier to "
        "read; larger reconstructs better.",
        json_schema_extra={"synonyms": ["target_l0"], "source": "Bussmann et al. 2024, arXiv 2412.06410"},
    )


class MatryoshkaConfig(_GlobalThreshold):
    """BatchTopK whose first latents must reconstruct well by themselves, at several nested widths: general features
    come first and are not absorbed by special ones (Bussmann et al. 2025, arXiv 2503.17547)."""

    kind: Literal["matryoshka"] = Field(default="matryoshka", title="Architecture")
    k: int = Field(
        default=32,
        ge=1,
        le=65_536,
        title="Active latents (k)",
        description="How many latents are active on a token on average, over the whole dictionary.",
        json_schema_extra={"synonyms": ["target_l0"], "source": "Bussmann et al. 2025, arXiv 2503.17547"},
    )
    prefix_fractions: tuple[float, ...] = Field(
        default=(1 / 16, 1 / 8, 1 / 4, 1 / 2),
        max_length=32,
        title="Nested widths",
        description="Shares of the dictionary, rising, whose latents alone must reconstruct too. The whole "
        "dictionary always belongs to them.",
        json_schema_extra=ADVANCED | {"source": "Bussmann et al. 2025, arXiv 2503.17547"},
    )

    @model_validator(mode="after")
    def _rising(self) -> "MatryoshkaConfig":
        edges = (0.0, *self.prefix_fractions, 1.0)
        if any(a >= b for a, b in pairwise(edges)):
            raise ValueError("prefix_fractions must rise strictly and lie between 0 and 1")
        return self


class JumpReLUConfig(Config):
    """ReLU with a threshold learned for each latent, and a penalty on the number of active latents, through
    straight-through estimators (Rajamanoharan et al. 2024, arXiv 2407.14435)."""

    kind: Literal["jump_relu"] = Field(default="jump_relu", title="Architecture")
    target_l0: float | None = Field(
        default=64.0,
        gt=0,
        title="Target L0",
        description="Mean number of active latents per token to reach: the penalty's weight is steered "
        "while training until L0 is there. Empty keeps the weight constant.",
        json_schema_extra={
            "source": "a target in place of a weight: Rajamanoharan et al. 2024, arXiv 2407.14435"
        },
    )
    penalty: Literal["l0", "tanh"] = Field(
        default="l0",
        title="Penalty",
        description="l0 counts active latents (DeepMind 2024); tanh is a smooth count of tanh(c·z·‖d‖) "
        "(Anthropic, January 2025 update).",
        json_schema_extra={
            "source": "Rajamanoharan et al. 2024, arXiv 2407.14435; Anthropic, January 2025 update"
        },
    )
    sparsity_coefficient: float = Field(
        default=1.0,
        ge=0,
        le=10_000,
        title="Sparsity coefficient",
        description="Weight of the penalty against the squared error; where it starts when a target L0 is "
        "set.",
        json_schema_extra={"synonyms": ["l1_alpha"], "source": "Rajamanoharan et al. 2024, arXiv 2407.14435"},
    )
    sparsity_warmup_steps: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        title="Sparsity warm-up",
        description="Steps over which the penalty grows from 0 to its full weight.",
        json_schema_extra={
            "unit": "steps",
            "source": "10,000 in Gemma Scope, Lieberum et al. 2024, arXiv 2408.05147",
        },
    )
    bandwidth: float = Field(
        default=0.05,
        gt=0,
        le=100,
        title="Bandwidth",
        description="Width of the window around a threshold in which the estimators see its effect, in "
        "units of normalised activations.",
        json_schema_extra=ADVANCED
        | {"source": "Rajamanoharan et al. 2024, arXiv 2407.14435; the default is miStudio's choice"},
    )
    threshold_init: float | None = Field(
        default=None,
        ge=0,
        le=1000,
        title="Starting threshold",
        description="Threshold of every latent at the start. Empty sets each by the first activations, so that "
        "all latents are active on equally many tokens, twice as many as wanted in the end.",
        json_schema_extra=ADVANCED
        | {
            "source": "a constant in Rajamanoharan et al. 2024, arXiv 2407.14435; from activations: miStudio's choice"
        },
    )
    tanh_scale: float = Field(
        default=4.0,
        gt=0,
        le=1000,
        title="Tanh scale (c)",
        description="How steeply the tanh penalty saturates; used by that penalty only.",
        json_schema_extra=ADVANCED | {"source": "Anthropic, January 2025 update"},
    )
    pre_act_coefficient: float = Field(
        default=1e-2,
        ge=0,
        le=100,
        title="Pre-activation coefficient",
        description="Weight of a loss Σ ReLU(θ − pre)·‖d‖ over dead latents that pulls them back to life "
        "(after Anthropic, January 2025 update, which uses 3e-6 over all latents). 0 turns it off.",
        json_schema_extra=ADVANCED | {"source": "Anthropic, January 2025 update"},
    )

    def share_at_start(self, d_sae: int) -> float:
        """Share of the latents that are active on a token at the start, at most a half.

        More than wanted in the end: gradients then reach all, and the way is short.
        """
        if self.threshold_init is not None:
            return 0.5
        return min(0.5, _STARTING_EXCESS * (self.target_l0 or _USUAL_L0) / d_sae)


class GatedConfig(Config):
    """One path decides which latents are active, another how strongly, so that the L1 penalty does not shrink them
    (Rajamanoharan et al. 2024, arXiv 2404.16014)."""

    kind: Literal["gated"] = Field(default="gated", title="Architecture")
    l1_coefficient: float = Field(
        default=5.0,
        ge=0,
        le=10_000,
        title="L1 coefficient",
        description="Weight of the penalty on the gate's pre-activations. Larger gives fewer active latents.",
        json_schema_extra={"synonyms": ["l1_alpha"], "source": "Rajamanoharan et al. 2024, arXiv 2404.16014"},
    )
    l1_warmup_steps: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        title="L1 warm-up",
        description="Steps over which the penalty grows from 0 to its full weight.",
        json_schema_extra={
            "unit": "steps",
            "source": "Anthropic, April 2024 update (over the first 5 % of the training)",
        },
    )


class StandardConfig(Config):
    """ReLU latents with a sparsity penalty weighted by decoder norms (Anthropic, April 2024 update)."""

    kind: Literal["standard"] = Field(default="standard", title="Architecture")
    penalty: Literal["l1", "sqrt", "tanh", "p_anneal"] = Field(
        default="l1",
        title="Penalty",
        description="What is summed over latents, with w = z·‖d‖. l1: w. sqrt: √w, which spares strong "
        "latents (Riggs & Brinkmann 2024). tanh: tanh(c·w), nearly a count (Jermyn et al. 2024). p_anneal: "
        "wᵖ with p falling from 1 during training (Karvonen et al. 2024, arXiv 2408.00113).",
        json_schema_extra={"source": "Anthropic, April 2024 update (l1); the others where they are named"},
    )
    l1_coefficient: float = Field(
        default=5.0,
        ge=0,
        le=10_000,
        title="L1 coefficient",
        description="Weight of the sparsity penalty against the squared error. Larger gives fewer active "
        "latents and a worse reconstruction; the right size depends on the scale of the activations.",
        json_schema_extra={"source": "Anthropic, April 2024 update", "synonyms": ["l1_alpha"]},
    )
    l1_warmup_steps: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        title="L1 warm-up",
        description="Steps over which the penalty grows from 0 to its full weight. A slow start keeps "
        "latents from dying early.",
        json_schema_extra={
            "unit": "steps",
            "source": "Anthropic, April 2024 update (over the first 5 % of the training)",
        },
    )
    tanh_scale: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        title="Tanh scale (c)",
        description="How steeply the tanh penalty saturates; used by that penalty only.",
        json_schema_extra=ADVANCED | {"source": "Jermyn et al. 2024 (Anthropic, February 2024 update)"},
    )
    p_end: float = Field(
        default=0.2,
        gt=0,
        le=1,
        title="Final p",
        description="Where the exponent of the p_anneal penalty ends; used by that penalty only.",
        json_schema_extra=ADVANCED | {"source": "Karvonen et al. 2024, arXiv 2408.00113"},
    )
    p_start: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        title="Start of annealing",
        description="Share of the training after which p begins to fall, linearly, towards its end; used by "
        "the p_anneal penalty only.",
        json_schema_extra=ADVANCED | {"source": "Karvonen et al. 2024, arXiv 2408.00113"},
    )


class AbsTopKConfig(Config):
    """Keep the k latents of greatest magnitude, with their sign. Read, not trained."""

    kind: Literal["abs_topk"] = "abs_topk"
    k: int = Field(ge=1, le=65_536)


class MatchingPursuitConfig(Config):
    """Latents found one at a time, each explaining most of what is left (Costa et al. 2025, arXiv 2506.03093). Read,
    not trained."""

    kind: Literal["matching_pursuit"] = "matching_pursuit"
    max_iterations: int = Field(ge=1, le=65_536, description="Latents added at most.")
    residual_threshold: float = Field(default=0.0, ge=0, description="Stop when ‖x − x̂‖ is below this.")
    stop_on_duplicate: bool = Field(default=True, description="Stop when a latent is chosen twice.")


class TemporalConfig(Config):
    """Attention over earlier tokens predicts a part of each activation, latents explain the rest (arXiv 2511.01836).
    Read, not trained."""

    kind: Literal["temporal"] = "temporal"
    k: int | None = Field(
        default=None, ge=1, le=65_536, description="Active latents; all positive ones if empty."
    )
    n_heads: int = Field(default=8, ge=1, le=1024)
    n_layers: int = Field(default=1, ge=1, le=64)
    bottleneck_factor: int = Field(default=64, ge=1, le=65_536)


TrainableArchitecture = Annotated[
    TopKConfig | BatchTopKConfig | MatryoshkaConfig | JumpReLUConfig | GatedConfig | StandardConfig,
    Field(discriminator="kind"),
]
ArchitectureConfig = Annotated[
    TopKConfig
    | BatchTopKConfig
    | MatryoshkaConfig
    | JumpReLUConfig
    | GatedConfig
    | StandardConfig
    | AbsTopKConfig
    | MatchingPursuitConfig
    | TemporalConfig,
    Field(discriminator="kind"),
]


def active_per_token(architecture: Any, d_sae: int) -> int:
    """How many latents a token has at most or on average by an architecture's settings; `d_sae` where they leave it
    open."""
    k = getattr(architecture, "k", None) or getattr(architecture, "target_l0", None)
    return min(int(k), d_sae) if k else d_sae
