"""Ours, for the same tasks as the peers: one or many SAEs over one stream, from the model or from a cache.

`like` makes the settings those of a peer (starting point, decoder norms, clipping), so that equal tokens are asked to
give an equal FVU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.contest import take_part
from bench.material import contexts_of, fvu_of

POOL_TOKENS = 65_536
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


def _config(task: dict[str, Any], setting: dict[str, Any]) -> Any:
    from mistudio.sae.config import TopKConfig, TrainerConfig

    return TrainerConfig(
        architecture=TopKConfig(k=setting["k"]),
        d_sae=task["d_sae"],
        batch_size=task["batch"],
        total_tokens=task["tokens"],
        learning_rate=task["lr"],
        normalize_activations="none",
        warmup_steps=0,
        decay_fraction=0.0,
        **LIKE[task["like"]],
    )


def _outcome(task: dict[str, Any], saes: list[Any]) -> dict[str, Any]:
    pairs = zip(task["settings"], saes, strict=True)
    return {"fvu": [fvu_of(task, setting["layer"], sae) for setting, sae in pairs]}


def _model(task: dict[str, Any]) -> Any:
    from mistudio.lm import load_language_model

    return load_language_model(Path(task["model"]), device="cpu", dtype=task.get("lm_dtype", "float32"))


def on_the_fly(task: dict[str, Any], model: Any = None) -> Callable[[], Callable[[], dict[str, Any]]]:
    """One pass of the model feeds all SAEs of the task."""
    from mistudio.lm import harvest
    from mistudio.sae import Trainer

    model = model or _model(task)
    contexts = contexts_of(task)
    hooks = sorted({_hook(s["layer"]) for s in task["settings"]})

    def pools() -> Iterator[dict[str, Tensor]]:
        parts: list[dict[str, Tensor]] = []
        size = 0
        for batch in harvest(model, contexts, hooks, batch_size=16):
            parts.append({hook: batch.rows(hook).float() for hook in hooks})
            size += len(parts[-1][hooks[0]])
            if size >= task.get("pool", POOL_TOKENS):
                yield {hook: torch.cat([part[hook] for part in parts]) for hook in hooks}
                parts, size = [], 0

    def work() -> Callable[[], dict[str, Any]]:
        trainers = [Trainer(_config(task, s), task["d_in"]) for s in task["settings"]]
        names = [_hook(s["layer"]) for s in task["settings"]]
        generator = torch.Generator().manual_seed(0)
        for pool in pools():
            order = torch.randperm(len(pool[hooks[0]]), generator=generator)
            for rows in order.split(task["batch"]):
                batch = {hook: pool[hook][rows] for hook in hooks}
                for trainer, name in zip(trainers, names, strict=True):
                    trainer.step(batch[name])
                if trainers[0].done:
                    break
            if trainers[0].done:
                break
        saes = [trainer.finish() for trainer in trainers]
        return lambda: _outcome(task, saes)

    return work


def from_cache(task: dict[str, Any]) -> Callable[[], Callable[[], dict[str, Any]]]:
    """The same from an activation cache in its default precision, written before (not timed)."""
    from mistudio.lm import harvest
    from mistudio.sae import Trainer
    from mistudio.store import ActivationCacheWriter

    (setting,) = task["settings"]
    hook = _hook(setting["layer"])
    model = _model(task)
    with ActivationCacheWriter(Path(task["work"]) / "cache", {hook: task["d_in"]}) as writer:
        for batch in harvest(model, contexts_of(task), [hook], batch_size=16):
            rows = batch.rows(hook).numpy()
            zeros = np.zeros(len(rows), np.int64)
            writer.append({hook: rows}, zeros, zeros, zeros)
    del model

    def work() -> Callable[[], dict[str, Any]]:
        from mistudio.store import ActivationCache

        cache = ActivationCache(Path(task["work"]) / "cache")
        trainer = Trainer(_config(task, setting), task["d_in"])
        for batch in cache.shuffled_batches(hook, task["batch"], 0, epochs=None):
            trainer.step(torch.from_numpy(batch))
            if trainer.done:
                break
        sae = trainer.finish()
        return lambda: _outcome(task, [sae])

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
    kinds = {"on-the-fly": on_the_fly, "from-cache": from_cache, "sweep": on_the_fly, "separate": separate}
    take_part(lambda task: kinds[task["kind"]](task))
