"""The dictionary: sparse autoencoders in pure PyTorch, usable alone in a notebook or script.

Importing this package (or `mistudio.sae.config`, `mistudio.sae.metric_info`) loads no PyTorch: the web
server imports the settings' schemas from here, and must start in a moment. Names below load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistudio.sae.config import (
        AdamConfig,
        ArchitectureConfig,
        BatchTopKConfig,
        GatedConfig,
        JumpReLUConfig,
        MatryoshkaConfig,
        MuonConfig,
        Resample,
        SignumConfig,
        StandardConfig,
        TopKConfig,
        TrainerConfig,
    )
    from mistudio.sae.dictionary import SAE
    from mistudio.sae.errors import SAEError, SAEFormatError, TornCheckpoint, TrainingDiverged
    from mistudio.sae.formats import load_sae, save_sae
    from mistudio.sae.latents import Latents
    from mistudio.sae.metric_info import METRICS, MetricInfo
    from mistudio.sae.metrics import Evaluation, EvaluationResult
    from mistudio.sae.step_metrics import StepMetrics
    from mistudio.sae.trainer import Trainer

_HOME = {
    "Resample": "config",
    "SignumConfig": "config",
    "MuonConfig": "config",
    "AdamConfig": "config",
    "ArchitectureConfig": "config",
    "BatchTopKConfig": "config",
    "GatedConfig": "config",
    "JumpReLUConfig": "config",
    "MatryoshkaConfig": "config",
    "StandardConfig": "config",
    "TopKConfig": "config",
    "TrainerConfig": "config",
    "SAE": "dictionary",
    "SAEError": "errors",
    "SAEFormatError": "errors",
    "TornCheckpoint": "errors",
    "TrainingDiverged": "errors",
    "load_sae": "formats",
    "save_sae": "formats",
    "Latents": "latents",
    "METRICS": "metric_info",
    "MetricInfo": "metric_info",
    "Evaluation": "metrics",
    "EvaluationResult": "metrics",
    "StepMetrics": "step_metrics",
    "Trainer": "trainer",
}

__all__ = [
    "METRICS",
    "SAE",
    "AdamConfig",
    "ArchitectureConfig",
    "BatchTopKConfig",
    "Evaluation",
    "EvaluationResult",
    "GatedConfig",
    "JumpReLUConfig",
    "Latents",
    "MatryoshkaConfig",
    "MetricInfo",
    "MuonConfig",
    "Resample",
    "SAEError",
    "SAEFormatError",
    "SignumConfig",
    "StandardConfig",
    "StepMetrics",
    "TopKConfig",
    "TornCheckpoint",
    "Trainer",
    "TrainerConfig",
    "TrainingDiverged",
    "load_sae",
    "save_sae",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
