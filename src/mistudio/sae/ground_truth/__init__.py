"""A world whose true features are known, and scores of how well a dictionary finds them.

What a language model's features are, nobody knows; here they are drawn, so a dictionary trained on the
world's activations can be held against them. After SynthSAEBench (Chanin and Garriga-Alonso 2026,
arXiv 2602.14687), whose definitions of the world and of the scores are kept. Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistudio.sae.ground_truth.hierarchy import HierarchyConfig
    from mistudio.sae.ground_truth.scores import (
        GroundTruthScores,
        Scoring,
        mean_matched_cosine,
        score,
        uniqueness,
    )
    from mistudio.sae.ground_truth.world import HELD_OUT, World, WorldConfig, WorldSample

_HOME = {
    "HierarchyConfig": "hierarchy",
    "GroundTruthScores": "scores",
    "Scoring": "scores",
    "mean_matched_cosine": "scores",
    "score": "scores",
    "uniqueness": "scores",
    "HELD_OUT": "world",
    "World": "world",
    "WorldConfig": "world",
    "WorldSample": "world",
}

__all__ = [
    "HELD_OUT",
    "GroundTruthScores",
    "HierarchyConfig",
    "Scoring",
    "World",
    "WorldConfig",
    "WorldSample",
    "mean_matched_cosine",
    "score",
    "uniqueness",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
