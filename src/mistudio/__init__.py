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
    from mistudio.data_folder import register
    from mistudio.engine.runs import Run, sweep
    from mistudio.engine.training import TrainedSAE
    from mistudio.library import convert, evaluate, harvest, load_model, load_sae, train
    from mistudio.sae import SAE, TrainerConfig, save_sae

_HOMES = {
    "library": ("convert", "evaluate", "harvest", "load_model", "load_sae", "train"),
    "data_folder": ("register",),
    "engine.runs": ("Run", "sweep"),
    "engine.training": ("TrainedSAE",),
    "sae": ("SAE", "TrainerConfig", "save_sae"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "SAE",
    "Run",
    "TrainedSAE",
    "TrainerConfig",
    "__version__",
    "convert",
    "evaluate",
    "harvest",
    "load_model",
    "load_sae",
    "register",
    "save_sae",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mistudio' has no attribute '{name}'")
    return getattr(import_module(f"mistudio.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
