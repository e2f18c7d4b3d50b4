"""Ours, for the same tasks as the peers: one or many SAEs over one stream, from the model or from a cache.

`like` makes the settings those of a peer (starting point, decoder norms, clipping), so that equal tokens are asked to
give an equal FVU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.contest import take_part
from bench.material import contexts_of, fvu_of

LIKE: dict[str, dict[str, Any]] = {
    "saelens": {
        "decoder_norm": "free",
        "decoder_init_norm": 0.1,
        "decoder_bias_init": "zeros",
        "grad_clip_norm": 0.0,
    },
    "dictionary-learning": {
        "decoder_norm": "unit",
        "decoder_bias_init": "geometric_median",
        "grad_clip_norm": 1.0,
    },
}


def _hook(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_post"


def _runs(task: dict[str, Any]) -> list[Any]:
    from mistudio.engine.runs import Run
    from mistudio.sae.config import TopKConfig, TrainerConfig

    return [
        Run(
            hook=_hook(setting["layer"]),
            config=TrainerConfig(
                architecture=TopKConfig(k=setting["k"]),
                d_sae=task["d_sae"],
                batch_size=task["batch"],
                total_tokens=task["tokens"],
                learning_rate=task["lr"],
                normalize_activations="none",
                warmup_steps=0,
                decay_fraction=0.0,
                **LIKE[task["like"]],
            ),
        )
        for setting in task["settings"]
    ]


def _hooks(task: dict[str, Any]) -> list[str]:
    return sorted({_hook(setting["layer"]) for setting in task["settings"]})


def _model(task: dict[str, Any]) -> Any:
    from mistudio.lm import load_language_model

    return load_language_model(Path(task["model"]), device="cpu", dtype=task.get("lm_dtype", "float32"))


def _measured(task: dict[str, Any], trained: list[Any]) -> Callable[[], dict[str, Any]]:
    pairs = list(zip(task["settings"], trained, strict=True))
    return lambda: {"fvu": [fvu_of(task, setting["layer"], one.sae) for setting, one in pairs]}


def on_the_fly(task: dict[str, Any], model: Any = None) -> Callable[[], Callable[[], dict[str, Any]]]:
    """One pass of the model feeds all SAEs of the task."""
    from mistudio.engine import HarvestSettings, ModelSource
    from mistudio.engine.training import train_runs

    model = model or _model(task)
    contexts = contexts_of(task)

    def work() -> Callable[[], dict[str, Any]]:
        settings = HarvestSettings(n_tokens=task["tokens"])
        source = ModelSource(model, contexts, _hooks(task), settings=settings)
        return _measured(task, train_runs(source, _runs(task)))

    return work


def harvest_only(task: dict[str, Any]) -> Callable[[], Callable[[], dict[str, Any]]]:
    """The same stream of batches with nothing trained on them: the forward pass's share."""
    from mistudio.engine import HarvestSettings, ModelSource

    model, contexts = _model(task), contexts_of(task)

    def work() -> Callable[[], dict[str, Any]]:
        source = ModelSource(model, contexts, _hooks(task), settings=HarvestSettings(n_tokens=task["tokens"]))
        steps = task["tokens"] // task["batch"]
        for _ in zip(range(steps), source.batches(task["batch"], 0), strict=False):
            pass
        return lambda: {"fvu": []}

    return work


def from_cache(task: dict[str, Any]) -> Callable[[], Callable[[], dict[str, Any]]]:
    """The same from an activation cache in its default precision, written before (not timed)."""
    from mistudio.engine import CacheSource, harvest
    from mistudio.engine.training import train_runs

    model, folder = _model(task), Path(task["work"]) / "caches"

    def cache() -> Any:
        return harvest(model, contexts_of(task), _hooks(task), folder, task["tokens"])

    cache()

    def work() -> Callable[[], dict[str, Any]]:
        return _measured(task, train_runs(CacheSource(cache()), _runs(task)))

    return work


def separate(task: dict[str, Any]) -> Callable[[], Callable[[], dict[str, Any]]]:
    """Every SAE of a sweep in a run of its own, one after another (the model stays loaded)."""
    model = _model(task)
    runs = [on_the_fly({**task, "settings": [setting]}, model) for setting in task["settings"]]

    def work() -> Callable[[], dict[str, Any]]:
        measures = [run() for run in runs]
        return lambda: {"fvu": [measure()["fvu"][0] for measure in measures]}

    return work


if __name__ == "__main__":
    kinds = {
        "on-the-fly": on_the_fly,
        "harvest": harvest_only,
        "from-cache": from_cache,
        "sweep": on_the_fly,
        "separate": separate,
    }
    take_part(lambda task: kinds[task["kind"]](task))
