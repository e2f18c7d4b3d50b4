"""SAELens' own runners: on the fly, from its cached activations, and several SAEs over one stream.

The model is loaded as `AutoModelForCausalLM`: hooked at `model.layers.N` SAELens stops its forward pass there, and
Transformers' attention is faster than TransformerLens' (which knows no folder of its own either). The buffer holds
64 contexts, its smallest comfortable size for batches of 4,096: what it keeps back at the end is then small.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.contest import take_part
from bench.material import CONTEXT, contexts_of, decay_steps_of, fvu_of, start_of

BUFFER_CONTEXTS = 64
PROMPTS = 16


def _dataset(task: dict[str, Any]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": contexts_of(task).tolist()})


def _hook(layer: int) -> str:
    return f"model.layers.{layer}"


def _sae(task: dict[str, Any], setting: dict[str, Any]) -> Any:
    from sae_lens import TopKTrainingSAEConfig

    return TopKTrainingSAEConfig(
        d_in=task["d_in"], d_sae=task["d_sae"], k=setting["k"], normalize_activations="none", device="cpu"
    )


def _started(task: dict[str, Any], setting: dict[str, Any]) -> Any:
    """Its SAE with the weights that ours starts with."""
    import torch
    from sae_lens import TopKTrainingSAE

    sae = TopKTrainingSAE(_sae(task, setting))
    W_enc, W_dec = start_of(task, setting, "saelens")
    with torch.no_grad():
        sae.W_enc.copy_(W_enc.T)
        sae.W_dec.copy_(W_dec)
    return sae


def _common(task: dict[str, Any]) -> dict[str, Any]:
    from sae_lens.config import LoggingConfig

    return {
        "model_name": task["model"],
        "model_class_name": "AutoModelForCausalLM",
        "context_size": CONTEXT,
        "training_tokens": task["tokens"],
        "train_batch_size_tokens": task["batch"],
        "store_batch_size_prompts": PROMPTS,
        "n_batches_in_buffer": BUFFER_CONTEXTS,
        "exclude_special_tokens": True,
        "lr": task["lr"],
        "lr_decay_steps": decay_steps_of(task),
        "autocast_lm": task.get("lm_dtype") == "bfloat16",
        "device": "cpu",
        "dataset_path": "in-memory",
        "checkpoint_path": None,
        "output_path": None,
        "logger": LoggingConfig(log_to_wandb=False),
    }


def on_the_fly(
    task: dict[str, Any], cached: Path | None = None
) -> Callable[[], Callable[[], dict[str, Any]]]:
    """`LanguageModelSAETrainingRunner`, from construction of its trainer to the trained SAE."""
    from sae_lens import LanguageModelSAERunnerConfig, LanguageModelSAETrainingRunner

    (setting,) = task["settings"]
    config = LanguageModelSAERunnerConfig(
        sae=_sae(task, setting),
        hook_name=_hook(setting["layer"]),
        use_cached_activations=cached is not None,
        cached_activations_path=None if cached is None else str(cached),
        **_common(task),
    )
    runner = LanguageModelSAETrainingRunner(
        config, override_dataset=_dataset(task), override_sae=_started(task, setting)
    )

    def work() -> Callable[[], dict[str, Any]]:
        sae = runner.run()
        return lambda: {"fvu": [fvu_of(task, setting["layer"], sae)]}

    return work


def from_cache(task: dict[str, Any]) -> Callable[[], Callable[[], dict[str, Any]]]:
    """The same runner over what `CacheActivationsRunner` wrote before (not timed)."""
    from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig

    (setting,) = task["settings"]
    folder = Path(task["work"]) / "saelens-cache"
    n_contexts = len(contexts_of(task))
    CacheActivationsRunner(
        CacheActivationsRunnerConfig(
            dataset_path="in-memory",
            model_name=task["model"],
            model_class_name="AutoModelForCausalLM",
            model_batch_size=PROMPTS,
            hook_name=_hook(setting["layer"]),
            d_in=task["d_in"],
            training_tokens=n_contexts // PROMPTS * PROMPTS * CONTEXT,
            context_size=CONTEXT,
            new_cached_activations_path=str(folder),
            buffer_size_gb=PROMPTS * CONTEXT * task["d_in"] * 4 * 8 / 1e9,
            device="cpu",
        ),
        override_dataset=_dataset(task),
    ).run()
    return on_the_fly(task, folder)


def sweep(task: dict[str, Any]) -> Callable[[], Callable[[], dict[str, Any]]]:
    """`MultiSAETrainingRunner`: every setting in one run."""
    from sae_lens.multi_sae_training_runner import MultiSAETrainingRunner, MultiSAETrainingRunnerConfig

    settings = {f"sae{i}": s for i, s in enumerate(task["settings"])}
    config = MultiSAETrainingRunnerConfig(
        saes={name: _sae(task, s) for name, s in settings.items()},
        hook_names={name: _hook(s["layer"]) for name, s in settings.items()},
        **_common(task),
    )
    runner = MultiSAETrainingRunner(config, override_dataset=_dataset(task))

    def work() -> Callable[[], dict[str, Any]]:
        saes = runner.run()
        return lambda: {"fvu": [fvu_of(task, s["layer"], saes[name]) for name, s in settings.items()]}

    return work


if __name__ == "__main__":
    take_part(
        lambda task: {"on-the-fly": on_the_fly, "from-cache": from_cache, "sweep": sweep}[task["kind"]](task)
    )
