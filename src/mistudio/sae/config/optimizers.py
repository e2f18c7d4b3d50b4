"""The settings of every optimiser and of what is done about dead latents, each in its own class; `kind` tells them
apart. Imports no PyTorch."""

from typing import Annotated, Literal

from pydantic import Field

from mistudio.sae.config.architectures import ADVANCED, Config


class AdamConfig(Config):
    """Adam, and AdamW where weights decay (Kingma & Ba 2015; Loshchilov & Hutter 2019)."""

    kind: Literal["adam"] = Field(default="adam", title="Optimiser")
    beta1: float = Field(
        default=0.9,
        ge=0,
        lt=1,
        title="Beta 1",
        description="Decay of Adam's running mean of gradients.",
        json_schema_extra=ADVANCED | {"source": "Kingma & Ba 2015, arXiv 1412.6980"},
    )
    beta2: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        title="Beta 2",
        description="Decay of Adam's running mean of squared gradients.",
        json_schema_extra=ADVANCED | {"source": "Kingma & Ba 2015, arXiv 1412.6980"},
    )
    eps: float = Field(
        default=1e-8,
        gt=0,
        le=1,
        title="Epsilon",
        description="Added to the root of the mean square: weights whose gradients are smaller move less.",
        json_schema_extra=ADVANCED | {"source": "Kingma & Ba 2015, arXiv 1412.6980"},
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=10,
        title="Weight decay",
        description="Decoupled weight decay (AdamW) on encoder and decoder weights; biases are left alone.",
        json_schema_extra=ADVANCED | {"source": "Loshchilov & Hutter 2019, arXiv 1711.05101"},
    )


class MuonConfig(Config):
    """Matrices move along their momentum made orthogonal by Newton–Schulz steps, as far as Adam would on average;
    biases and thresholds are Adam's (Jordan et al. 2024; scaling after Liu et al. 2025, arXiv 2502.16982)."""

    kind: Literal["muon"] = Field(default="muon", title="Optimiser")
    momentum: float = Field(
        default=0.95,
        ge=0,
        lt=1,
        title="Momentum",
        description="Decay of the running mean of gradients.",
        json_schema_extra=ADVANCED | {"source": "Jordan et al. 2024"},
    )
    nesterov: bool = Field(
        default=True,
        title="Nesterov momentum",
        description="Look ahead: mix the running mean with the newest gradient once more.",
        json_schema_extra=ADVANCED | {"source": "Jordan et al. 2024"},
    )
    newton_schulz_steps: int = Field(
        default=5,
        ge=1,
        le=20,
        title="Newton–Schulz steps",
        description="Iterations that bring the singular values of an update near 1.",
        json_schema_extra=ADVANCED | {"source": "Jordan et al. 2024"},
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=10,
        title="Weight decay",
        description="Decoupled weight decay on encoder and decoder weights; biases are left alone.",
        json_schema_extra=ADVANCED | {"source": "Liu et al. 2025, arXiv 2502.16982"},
    )


class SignumConfig(Config):
    """Every weight moves by the learning rate, in the direction of its gradients' running mean (Bernstein et al. 2018,
    arXiv 1802.04434). One moment where Adam keeps two; wants a smaller learning rate than Adam."""

    kind: Literal["signum"] = Field(default="signum", title="Optimiser")
    momentum: float = Field(
        default=0.95,
        ge=0,
        lt=1,
        title="Momentum",
        description="Decay of the running mean of gradients. 0 takes the sign of each gradient itself.",
        json_schema_extra=ADVANCED | {"source": "Bernstein et al. 2018, arXiv 1802.04434"},
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=10,
        title="Weight decay",
        description="Decoupled weight decay on encoder and decoder weights; biases are left alone.",
        json_schema_extra=ADVANCED | {"source": "Loshchilov & Hutter 2019, arXiv 1711.05101"},
    )


OptimizerConfig = Annotated[AdamConfig | MuonConfig | SignumConfig, Field(discriminator="kind")]


class ByArchitecture(Config):
    """What the architecture itself does about them: AuxK in the top-k family, JumpReLU's pre-activation loss, nothing
    in the others."""

    kind: Literal["architecture"] = Field(default="architecture", title="Dead latents")


class Resample(Config):
    """From time to time, dead latents start anew from tokens that are reconstructed badly (Bricken et al. 2023,
    "Towards Monosemanticity", appendix on neuron resampling)."""

    kind: Literal["resample"] = Field(default="resample", title="Dead latents")
    dead_neuron_threshold: int = Field(
        default=1_000_000,
        ge=1,
        le=10**12,
        title="Resampled after",
        description="A latent that has not been active for this many tokens is resampled.",
        json_schema_extra={"unit": "tokens", "source": "Bricken et al. 2023, Towards Monosemanticity"},
    )
    resample_interval: int = Field(
        default=500,
        ge=1,
        le=10_000_000,
        title="Resample every",
        description="Steps between two resamplings.",
        json_schema_extra={"unit": "steps", "source": "Bricken et al. 2023, Towards Monosemanticity"},
    )
    resample_until: float = Field(
        default=0.6,
        gt=0,
        le=1,
        title="Resample until",
        description="Share of the training after which latents are left alone, so that the last ones have time to "
        "settle.",
        json_schema_extra={"unit": "share of the steps", "source": "miStudio's choice"},
    )
    encoder_scale: float = Field(
        default=0.2,
        gt=0,
        le=10,
        title="New encoder's length",
        description="Length of a resampled latent's encoder direction, as a share of the mean among living latents.",
        json_schema_extra=ADVANCED | {"source": "Bricken et al. 2023, Towards Monosemanticity"},
    )


DeadLatents = Annotated[ByArchitecture | Resample, Field(discriminator="kind")]
