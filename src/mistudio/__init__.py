"""miStudio: a workbench for research on sparse autoencoders, and the library under it.

Most notebooks need six calls, and none of them needs the server:

    model = mistudio.load_model("HuggingFaceTB/SmolLM2-135M")
    trained = mistudio.train(model, texts, hook="blocks.6.hook_resid_post", d_sae=9216, k=32)
    report = mistudio.evaluate(trained, model, other_texts)

`harvest` keeps activations on the disk for reuse, `load_sae` opens every community format and `convert` writes them.
Names load on first use, so importing this package is instant. docs/library.md is the tutorial.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mistudio.version import __version__

if TYPE_CHECKING:
    from mistudio import engine, lm, sae, store
    from mistudio.data_folder import register
    from mistudio.engine.runs import Run, SettingsRefused, sweep
    from mistudio.engine.training import TrainedSAE
    from mistudio.library import convert, evaluate, harvest, load_model, load_sae, save_sae, train
    from mistudio.lm import HookNotFound
    from mistudio.sae import SAE, TrainerConfig, TrainingDiverged

_HOMES = {
    "library": ("convert", "evaluate", "harvest", "load_model", "load_sae", "save_sae", "train"),
    "data_folder": ("register",),
    "engine.runs": ("Run", "SettingsRefused", "sweep"),
    "engine.training": ("TrainedSAE",),
    "lm": ("HookNotFound",),
    "sae": ("SAE", "TrainerConfig", "TrainingDiverged"),
}
_ROOMS = ("engine", "lm", "sae", "store")
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "SAE",
    "HookNotFound",
    "Run",
    "SettingsRefused",
    "TrainedSAE",
    "TrainerConfig",
    "TrainingDiverged",
    "__version__",
    "convert",
    "engine",
    "evaluate",
    "harvest",
    "lm",
    "load_model",
    "load_sae",
    "register",
    "sae",
    "save_sae",
    "store",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"mistudio.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mistudio' has no attribute '{name}'")
    return getattr(import_module(f"mistudio.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
