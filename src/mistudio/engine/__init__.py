"""The engine: what ties a language model, stored activations and dictionaries together.

It needs no server, no database, no jobs and no settings: a notebook calls it as the application does. Names are
imported when they are first used, so that importing this package never waits for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistudio.engine.caching import evict, find_cache, harvest
    from mistudio.engine.errors import ActivationsRefused, CacheRefused, EngineError, TokensUnfit
    from mistudio.engine.evaluation import (
        EVALUATION_METRICS,
        EvaluationSettings,
        Report,
        evaluate,
        pareto_svg,
    )
    from mistudio.engine.filling import HarvestStatistics, statistics_of
    from mistudio.engine.harvest_settings import HarvestSettings
    from mistudio.engine.mixture import Mixture
    from mistudio.engine.progress import Progress
    from mistudio.engine.run_folder import RunRefused
    from mistudio.engine.runs import Run, SettingsRefused, settings, sweep
    from mistudio.engine.sequences import pack_texts
    from mistudio.engine.sources import ActivationSource, Batch, CacheSource, ModelSource
    from mistudio.engine.tee import TeeSource
    from mistudio.engine.training import TrainedSAE, train_runs

# module: the names that it gives to the room.
_HOMES = {
    "caching": ("evict", "find_cache", "harvest"),
    "errors": ("ActivationsRefused", "CacheRefused", "EngineError", "TokensUnfit"),
    "evaluation": ("EVALUATION_METRICS", "EvaluationSettings", "Report", "evaluate", "pareto_svg"),
    "filling": ("HarvestStatistics", "statistics_of"),
    "harvest_settings": ("HarvestSettings",),
    "mixture": ("Mixture",),
    "progress": ("Progress",),
    "run_folder": ("RunRefused",),
    "runs": ("Run", "SettingsRefused", "settings", "sweep"),
    "sequences": ("pack_texts",),
    "sources": ("ActivationSource", "Batch", "CacheSource", "ModelSource"),
    "tee": ("TeeSource",),
    "training": ("TrainedSAE", "train_runs"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "EVALUATION_METRICS",
    "ActivationSource",
    "ActivationsRefused",
    "Batch",
    "CacheRefused",
    "CacheSource",
    "EngineError",
    "EvaluationSettings",
    "HarvestSettings",
    "HarvestStatistics",
    "Mixture",
    "ModelSource",
    "Progress",
    "Report",
    "Run",
    "RunRefused",
    "SettingsRefused",
    "TeeSource",
    "TokensUnfit",
    "TrainedSAE",
    "evaluate",
    "evict",
    "find_cache",
    "harvest",
    "pack_texts",
    "pareto_svg",
    "settings",
    "statistics_of",
    "sweep",
    "train_runs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mistudio.engine' has no attribute '{name}'")
    return getattr(import_module(f"mistudio.engine.{_HOME_OF[name]}"), name)
