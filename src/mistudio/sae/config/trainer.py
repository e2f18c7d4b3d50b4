"""Every hyperparameter of a dictionary and its training, once.

The training form, the CLI and the API take their labels, ranges and defaults from these schemas, so a
field's `title` and `description` are read by users; `advanced` fields start folded away. This module
imports no PyTorch.
"""

from typing import Any, Literal, Self, cast

from pydantic import Field, model_validator

from mistudio.sae.config.architectures import (
    ADVANCED,
    BatchTopKConfig,
    Config,
    TrainableArchitecture,
)
from mistudio.sae.config.optimizers import AdamConfig, ByArchitecture, DeadLatents, OptimizerConfig, Resample
from mistudio.sae.config.synonyms import in_our_names

_FLAT_ADAM = {"adam_beta1": "beta1", "adam_beta2": "beta2"}


class TrainerConfig(Config):
    """One training of one dictionary. Settings may be given under the names of `config.synonyms` too."""

    architecture: TrainableArchitecture = Field(
        default=BatchTopKConfig(),
        title="Architecture",
        description="How pre-activations become sparse latents.",
        json_schema_extra={
            "source": "compared in SAEBench, Karvonen et al. 2025, arXiv 2503.09532; each kind's own "
            "paper stands beside it"
        },
    )
    d_sae: int = Field(
        default=8192,
        ge=1,
        le=4_194_304,
        title="Width of the dictionary",
        description="Number of latents. Usually 8 to 32 times the width of the activations.",
        json_schema_extra={
            "unit": "latents",
            "synonyms": ["latent_dim"],
            "source": "8 and 32 times in Llama Scope, He et al. 2024, arXiv 2410.20526",
        },
    )
    total_tokens: int = Field(
        default=10_000_000,
        ge=1,
        le=10**13,
        title="Training tokens",
        description="Activations seen during the whole training; sets the length of the schedule.",
        json_schema_extra={
            "unit": "tokens",
            "synonyms": ["total_steps (in batches)"],
            "source": "500 million in SAEBench, arXiv 2503.09532; the default is for a first run",
        },
    )
    batch_size: int = Field(
        default=4096,
        ge=1,
        le=1_048_576,
        title="Batch size",
        description="Activations in one step.",
        json_schema_extra={
            "unit": "tokens",
            "source": "4,096 in Gemma Scope, Lieberum et al. 2024, arXiv 2408.05147",
        },
    )
    learning_rate: float = Field(
        default=3e-4,
        gt=0,
        le=1,
        title="Learning rate",
        description="The optimiser's step size after warm-up. Wider dictionaries want smaller ones.",
        json_schema_extra={
            "source": "2e-4 / √(latents / 16,384), which is 3e-4 at the default width (Gao et al. 2024, arXiv "
            "2406.04093, figure 3)"
        },
    )
    warmup_steps: int = Field(
        default=100,
        ge=0,
        le=10_000_000,
        title="Learning rate warm-up",
        description="Steps over which the learning rate grows from 0 to its full size.",
        json_schema_extra={
            "unit": "steps",
            "source": "1,000 in Gemma Scope's and SAEBench's long trainings, arXiv 2408.05147, 2503.09532",
        },
    )
    decay: Literal["linear", "cosine", "constant"] = Field(
        default="linear",
        title="Learning rate decay",
        description="How the learning rate falls to 0 at the end of the training: in a straight line, along a cosine, "
        "or not at all.",
        json_schema_extra={"source": "Anthropic, April 2024 update (linear)"},
    )
    decay_fraction: float = Field(
        default=0.2,
        ge=0,
        le=1,
        title="Length of the decay",
        description="Last part of the training over which the learning rate falls; unused where it is constant.",
        json_schema_extra={"unit": "share of the steps", "source": "Anthropic, April 2024 update"},
    )
    optimizer: OptimizerConfig = Field(
        default=AdamConfig(),
        title="Optimiser",
        description="How gradients become updates of the weights.",
        json_schema_extra={"source": "Adam in Gao et al. 2024, arXiv 2406.04093, and most others"},
    )
    dead_latents: DeadLatents = Field(
        default=ByArchitecture(),
        title="Dead latents",
        description="What is done about latents that are never active.",
        json_schema_extra={
            "synonyms": ["resample_dead_neurons"],
            "source": "AuxK: Gao et al. 2024, arXiv 2406.04093; resampling: Bricken et al. 2023",
        },
    )
    dead_latent_window: int = Field(
        default=1_000_000,
        ge=1,
        le=10**12,
        title="Dead after",
        description="A latent that has not been active for this many tokens counts as dead.",
        json_schema_extra={
            "unit": "tokens",
            "synonyms": ["dead_neuron_threshold"],
            "source": "10 million in Gao et al. 2024, arXiv 2406.04093, whose trainings are longer",
        },
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**63 - 1,
        title="Seed",
        description="Fixes the starting weights. The same seed and data give the same dictionary, to the bit.",
        json_schema_extra={"source": "miStudio's choice"},
    )
    log_every: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        title="Record metrics every",
        description="Steps between two points of the curves.",
        json_schema_extra={"unit": "steps", "synonyms": ["log_interval"], "source": "miStudio's choice"},
    )
    evaluate_every: int | None = Field(
        default=None,
        ge=0,
        le=10_000_000,
        title="Splice into the model every",
        description="Steps between two measurements of what the dictionary does to the model's predictions on held-out "
        "tokens (CE recovered). Empty: about 20 times in the training, at most every 100 steps, where the model runs "
        "alongside; from a cache not at all. A number: from a cache too, for which the model is loaded. 0 never.",
        json_schema_extra={"unit": "steps", "source": "miStudio's choice"},
    )
    checkpoint_every: int = Field(
        default=1000,
        ge=0,
        le=10_000_000,
        title="Checkpoint every",
        description="Steps between two checkpoints, from which a training can go on. 0 writes none "
        "before the end.",
        json_schema_extra={
            "unit": "steps",
            "synonyms": ["checkpoint_interval"],
            "source": "miStudio's choice",
        },
    )
    keep_checkpoints: int = Field(
        default=2,
        ge=1,
        le=1000,
        title="Keep checkpoints",
        description="How many of the newest checkpoints are kept. Each takes about three times the weights' disk "
        "space with Adam.",
        json_schema_extra=ADVANCED | {"unit": "checkpoints", "source": "miStudio's choice"},
    )
    best_checkpoint: Literal["none", "fvu", "loss", "dead_fraction"] = Field(
        default="fvu",
        title="Keep the best by",
        description="The checkpoint with the lowest mean of this metric over the steps since the one before is kept "
        "besides the newest. Training tokens are new to the dictionary unless the text repeats, so this is close to "
        "a measure on held-out ones.",
        json_schema_extra=ADVANCED | {"source": "miStudio's choice"},
    )
    hidden_dim: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        title="Width of the activations",
        description="Refuse hook points of another width. Empty takes any: useful in a template that was tuned for "
        "one model.",
        json_schema_extra=ADVANCED | {"unit": "dimensions", "source": "miStudio's choice"},
    )
    normalize_activations: Literal["none", "expected_average_only_in", "unit_norm", "layer_norm"] = Field(
        default="expected_average_only_in",
        title="Normalise activations",
        description="expected_average_only_in scales all activations by one factor, so that their average "
        "norm becomes the square root of their width: hyperparameters then carry over between layers and "
        "models, and the factor is folded into the weights at the end. unit_norm gives every token that "
        "norm, layer_norm takes off its mean and divides by its deviation; these two act on each token, "
        "so they stay a part of the dictionary.",
        json_schema_extra=ADVANCED | {"source": "Anthropic, April 2024 update"},
    )
    decoder_norm: Literal["unit", "free"] = Field(
        default="unit",
        title="Decoder norms",
        description="unit keeps every decoder direction at length 1 (gradients along it are removed); free "
        "lets lengths vary, ranks and penalises latents by value times length, and folds the lengths into "
        "the encoder at the end.",
        json_schema_extra=ADVANCED
        | {"source": "unit: Bricken et al. 2023; free: Anthropic, April 2024 update"},
    )
    decoder_init_norm: float = Field(
        default=0.1,
        gt=0,
        le=100,
        title="Starting decoder norm",
        description="Length of the decoder directions at the start when decoder norms are free.",
        json_schema_extra=ADVANCED | {"source": "SAELens"},
    )
    decoder_init: Literal["random", "data"] = Field(
        default="random",
        title="Starting decoder directions",
        description="random: uniform on the sphere. data: from the decoder bias towards activations of the first "
        "batch, each used once; latents beyond their number start at random.",
        json_schema_extra=ADVANCED | {"source": "random: Gao et al. 2024, arXiv 2406.04093"},
    )
    decoder_bias_init: Literal["zeros", "mean", "geometric_median"] = Field(
        default="geometric_median",
        title="Starting decoder bias",
        description="Where the decoder bias starts, taken from the first activations seen.",
        json_schema_extra=ADVANCED | {"source": "Bricken et al. 2023, Towards Monosemanticity"},
    )
    tied_init: bool = Field(
        default=True,
        title="Tied start",
        description="Start the encoder along the decoder's directions instead of random ones.",
        json_schema_extra=ADVANCED | {"source": "Gao et al. 2024, arXiv 2406.04093"},
    )
    apply_b_dec_to_input: bool = Field(
        default=True,
        title="Subtract decoder bias from the input",
        description="Encode x - b_dec instead of x.",
        json_schema_extra=ADVANCED | {"source": "Bricken et al. 2023, Towards Monosemanticity"},
    )
    skip_connection: bool = Field(
        default=False,
        title="Skip connection",
        description="For transcoders: a linear map from input to output beside the latents, which then need "
        "not spend themselves on what is linear.",
        json_schema_extra=ADVANCED | {"source": "Paulo et al. 2025, arXiv 2501.18823"},
    )
    grad_clip_norm: float = Field(
        default=1.0,
        ge=0,
        le=10**6,
        title="Gradient clipping",
        description="Gradients are scaled down to this total norm when they exceed it. 0 turns it off.",
        json_schema_extra=ADVANCED | {"source": "Anthropic, April 2024 update"},
    )

    accumulate: int = Field(
        default=1,
        ge=1,
        le=65_536,
        title="Gradient accumulation",
        description="Parts in which a batch is worked through, their gradients added up before the update: less memory "
        "for activations, the same update. BatchTopK and Matryoshka choose their latents, and AuxK measures the "
        "error, within each part.",
        json_schema_extra=ADVANCED | {"unit": "parts", "source": "miStudio's choice"},
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        title="Precision",
        description="In what numbers a step is computed. bfloat16: activations, a copy of the weights, products and "
        "gradients; the weights themselves, the optimiser's state, averages and metrics stay float32. Faster on "
        "GPUs, seldom on CPUs.",
        json_schema_extra=ADVANCED | {"source": "Micikevicius et al. 2018, arXiv 1710.03740"},
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        title="Weight averaging",
        description="Decay of a running mean of the weights, which takes their place in the finished dictionary. "
        "0 turns it off.",
        json_schema_extra=ADVANCED | {"source": "Polyak & Juditsky 1992"},
    )

    @model_validator(mode="before")
    @classmethod
    def _known_by_other_names(cls, given: Any) -> Any:
        """Take synonyms for our names; settings stored before there was a choice of optimisers name Adam's own beside
        all others."""
        if not isinstance(given, dict):
            return given
        settings = dict(cast("dict[str, Any]", given))
        old = {new: settings.pop(name) for name, new in _FLAT_ADAM.items() if name in settings}
        if old:
            if "optimizer" in settings:
                names = ", ".join(name for name, new in _FLAT_ADAM.items() if new in old)
                raise ValueError(f"{names} belong into optimizer, which is given too")
            settings["optimizer"] = {"kind": "adam"} | old
        return in_our_names(settings)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        k = getattr(self.architecture, "k", None)
        if k is not None and k > self.d_sae:
            raise ValueError(
                f"k is {k}, but the dictionary has only {self.d_sae} latents: lower k or widen the dictionary"
            )
        target = getattr(self.architecture, "target_l0", None)
        if target is not None and target > self.d_sae:
            raise ValueError(
                f"target_l0 is {target:g}, but the dictionary has only {self.d_sae} latents: lower it or widen the "
                "dictionary"
            )
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate is {self.accumulate}, but a batch has only {self.batch_size} tokens: lower it or enlarge "
                "batch_size"
            )
        rule = self.dead_latents
        if isinstance(rule, Resample):
            share = f"resample_until ({rule.resample_until:g}) of the training"
            if rule.resample_interval > rule.resample_until * self.total_steps:
                raise ValueError(
                    f"resample_interval is {rule.resample_interval}, but {share} is over before step "
                    f"{int(rule.resample_until * self.total_steps) + 1}, so nothing would be resampled: lower it"
                )
            if rule.dead_neuron_threshold > rule.resample_until * self.total_tokens:
                raise ValueError(
                    f"dead_neuron_threshold is {rule.dead_neuron_threshold} tokens, but {share} is shorter, so nothing "
                    "would be resampled: lower it"
                )
        self._refuse_idle("decay_fraction", self.decay == "constant", "decay is constant")
        self._refuse_idle("decoder_init_norm", self.decoder_norm == "unit", "decoder_norm is unit")
        return self

    def _refuse_idle(self, name: str, idle: bool, because: str) -> None:
        """Refuse a setting that has been changed though nothing reads it."""
        value = getattr(self, name)
        if idle and value not in (0, type(self).model_fields[name].default):
            raise ValueError(f"{name} is {value}, but {because}, so it would do nothing: leave it out")

    def evaluation_interval(self, model_at_hand: bool) -> int:
        """Steps between two measurements with the dictionary spliced into the model; 0 for none."""
        if not model_at_hand:
            return 0
        if self.evaluate_every is None:
            return max(100, -(-self.total_steps // 20))
        return self.evaluate_every

    @property
    def total_steps(self) -> int:
        """Steps of `batch_size` tokens that cover `total_tokens` (the last may be smaller)."""
        return -(-self.total_tokens // self.batch_size)
