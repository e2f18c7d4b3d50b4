"""Every hyperparameter of a dictionary and its training, once.

The training form, the CLI and the API take their labels, ranges and defaults from these schemas, so a
field's `title` and `description` are read by users; `advanced` fields start folded away. This package
imports no PyTorch.
"""

from mistudio.sae.config.architectures import (
    AbsTopKConfig,
    ArchitectureConfig,
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatchingPursuitConfig,
    MatryoshkaConfig,
    StandardConfig,
    TopKConfig,
    TrainableArchitecture,
    active_per_token,
)
from mistudio.sae.config.optimizers import (
    AdamConfig,
    ByArchitecture,
    DeadLatents,
    MuonConfig,
    OptimizerConfig,
    Resample,
    SignumConfig,
)
from mistudio.sae.config.trainer import TrainerConfig

__all__ = [
    "AbsTopKConfig",
    "AdamConfig",
    "ArchitectureConfig",
    "BatchTopKConfig",
    "ByArchitecture",
    "DeadLatents",
    "GatedConfig",
    "JumpReLUConfig",
    "MatchingPursuitConfig",
    "MatryoshkaConfig",
    "MuonConfig",
    "OptimizerConfig",
    "Resample",
    "SignumConfig",
    "StandardConfig",
    "TopKConfig",
    "TrainableArchitecture",
    "TrainerConfig",
    "active_per_token",
]
