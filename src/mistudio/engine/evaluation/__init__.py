"""Evaluation of dictionaries with the model that they belong to. Names are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistudio.engine.evaluation.core import evaluate
    from mistudio.engine.evaluation.infos import EVALUATION_METRICS
    from mistudio.engine.evaluation.pareto import pareto_svg
    from mistudio.engine.evaluation.report import Histogram, Report
    from mistudio.engine.evaluation.settings import EvaluationSettings

_HOME_OF = {
    "EVALUATION_METRICS": "infos",
    "EvaluationSettings": "settings",
    "Histogram": "report",
    "Report": "report",
    "evaluate": "core",
    "pareto_svg": "pareto",
}

__all__ = ["EVALUATION_METRICS", "EvaluationSettings", "Histogram", "Report", "evaluate", "pareto_svg"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
