"""Ours, for the same tasks as the peers: one or many SAEs over one stream, from the model or from a cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.contest import take_part
from bench.material import config_of, contexts_of, fvu_of


def _runs(task: dict[str, Any]) -> list[Any]:
    from mistudio import Run

    return [
        Run(hook=_hook(setting["layer"]), config=config_of(task, setting)) for setting in task["settings"]
    ]


def _hook(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_post"


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
    import mistudio

    model = model or _model(task)
    contexts = contexts_of(task)

    def work() -> Callable[[], dict[str, Any]]:
        reading = {"n_tokens": task["tokens"]}
        trained = mistudio.train(
            model, contexts, runs=_runs(task), reading=reading, held_out_tokens=0, progress=False
        )
        return _measured(task, trained)

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
    import mistudio

    cache = mistudio.harvest(
        _model(task),
        contexts_of(task),
        _hooks(task),
        folder=Path(task["work"]) / "caches",
        n_tokens=task["tokens"],
        progress=False,
    ).folder

    def work() -> Callable[[], dict[str, Any]]:
        trained = mistudio.train(cache, runs=_runs(task), held_out_tokens=0, progress=False)
        return _measured(task, trained)

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
