"""The language model: load it, name its hook points, harvest activations, generate under intervention.

Names are imported when they are first used, so that parsing a hook name or reading a configuration never
waits for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistudio.lm.errors import HookNotFound, LanguageModelError, ModelLoadError, TokensRefused
    from mistudio.lm.footprint import ModelFootprint, estimate
    from mistudio.lm.generation import GeneratedToken, GenerationRow, generate, generate_batch
    from mistudio.lm.harvesting import ActivationBatch, harvest
    from mistudio.lm.hooks import BLOCK_KINDS, HookName, HookPoint, format_hook, parse_hook
    from mistudio.lm.hub import hub_listing, hub_snapshot
    from mistudio.lm.interventions import Intervention, Positions, add_direction
    from mistudio.lm.load import convert_gguf, load_language_model, load_tokenizer
    from mistudio.lm.model import LanguageModel

_HOMES = {
    "errors": ("HookNotFound", "LanguageModelError", "ModelLoadError", "TokensRefused"),
    "footprint": ("ModelFootprint", "estimate"),
    "generation": ("GeneratedToken", "GenerationRow", "generate", "generate_batch"),
    "harvesting": ("ActivationBatch", "harvest"),
    "hooks": ("BLOCK_KINDS", "HookName", "HookPoint", "format_hook", "parse_hook"),
    "hub": ("hub_listing", "hub_snapshot"),
    "interventions": ("Intervention", "Positions", "add_direction"),
    "load": ("convert_gguf", "load_language_model", "load_tokenizer"),
    "model": ("LanguageModel",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BLOCK_KINDS",
    "ActivationBatch",
    "GeneratedToken",
    "GenerationRow",
    "HookName",
    "HookNotFound",
    "HookPoint",
    "Intervention",
    "LanguageModel",
    "LanguageModelError",
    "ModelFootprint",
    "ModelLoadError",
    "Positions",
    "TokensRefused",
    "add_direction",
    "convert_gguf",
    "estimate",
    "format_hook",
    "generate",
    "generate_batch",
    "harvest",
    "hub_listing",
    "hub_snapshot",
    "load_language_model",
    "load_tokenizer",
    "parse_hook",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mistudio.lm' has no attribute '{name}'")
    return getattr(import_module(f"mistudio.lm.{_HOME_OF[name]}"), name)
