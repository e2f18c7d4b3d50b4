"""What the end-to-end rows run on: the real 135M model and State of the Union addresses, cut into contexts.

Every context of 128 tokens begins with the tokenizer's BOS token, which no contestant trains on: at the first
position this model has an attention sink of ten times the usual norm, and the error there would drown the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

CONTEXT = 128
HELD_OUT_CONTEXTS = 128


def prepare(work: Path, n_tokens: int, layers: list[int]) -> dict[str, Any]:
    """Write contexts `tokens.npy` [n, 128], and for every layer the held-out activations `held-out-{layer}.npy`.

    `n_tokens` counts tokens trained on (127 of a context); contexts beyond them feed what buffers keep back.
    The held-out contexts are the last ones, which no contestant is given.
    """
    from bench.features import model_folder
    from mistudio.demo.sources import fetch_addresses, source_cache
    from mistudio.lm import format_hook, load_language_model

    folder = model_folder()
    model = load_language_model(folder, device="cpu")
    bos = int(model.tokenizer.bos_token_id)
    wanted = (n_tokens + 16_384) // (CONTEXT - 1) + HELD_OUT_CONTEXTS
    addresses = fetch_addresses(source_cache())
    order = np.random.default_rng(0).permutation(len(addresses))
    ids: list[int] = []
    for number in order:
        ids += model.tokenizer(addresses[number].text, add_special_tokens=False)["input_ids"]
        if len(ids) >= wanted * (CONTEXT - 1):
            break
    n = min(wanted, len(ids) // (CONTEXT - 1))
    body = np.array(ids[: n * (CONTEXT - 1)], np.int64).reshape(n, CONTEXT - 1)
    contexts = np.concatenate([np.full((n, 1), bos, np.int64), body], axis=1)
    # neighbouring contexts come from one address: mixed, so that no contestant depends on its buffer's size
    contexts = contexts[np.random.default_rng(1).permutation(n)]
    held_out, contexts = contexts[:HELD_OUT_CONTEXTS], contexts[HELD_OUT_CONTEXTS:]
    np.save(work / "tokens.npy", contexts)
    hooks = {format_hook(layer, "resid_post"): layer for layer in layers}
    kept: dict[str, list[Tensor]] = {hook: [] for hook in hooks}
    for part in torch.from_numpy(held_out).split(16):
        for hook, found in model.activations(part, list(hooks)).items():
            kept[hook].append(found[:, 1:].flatten(0, 1))
    for hook, layer in hooks.items():
        np.save(work / f"held-out-{layer}.npy", torch.cat(kept[hook]).numpy())
    return {"work": str(work), "model": str(folder)}


LIKE: dict[str, dict[str, Any]] = {
    "saelens": {
        "decoder_norm": "free",
        "decoder_init_norm": 0.1,
        "decoder_bias_init": "zeros",
        "grad_clip_norm": 1.0,
    },
    "dictionary-learning": {
        "decoder_norm": "unit",
        "decoder_bias_init": "geometric_median",
        "grad_clip_norm": 1.0,
    },
}
"""Settings of ours that make it train as a peer does."""


def config_of(task: dict[str, Any], setting: dict[str, Any]) -> Any:
    """Our settings for one SAE of a task, `like` a peer's: nothing normalised."""
    from mistudio.sae.config import TopKConfig, TrainerConfig

    return TrainerConfig(
        architecture=TopKConfig(k=setting["k"]),
        d_sae=task["d_sae"],
        batch_size=task["batch"],
        total_tokens=task["tokens"],
        learning_rate=task["lr"],
        normalize_activations="none",
        warmup_steps=0,
        decay_fraction=decay_steps_of(task) * task["batch"] / task["tokens"],
        **LIKE[task["like"]],
    )


def decay_steps_of(task: dict[str, Any]) -> int:
    """Over the last quarter of the steps the learning rate falls linearly to 0, for all."""
    return task["tokens"] // task["batch"] // 4


def start_of(task: dict[str, Any], setting: dict[str, Any], like: str) -> tuple[Tensor, Tensor]:
    """Where ours starts with these settings: W_enc and W_dec, both `[d_sae, d_in]`.

    The directions are ours to the bit; the encoder's one factor, which ours fits to its first batch, is fitted to
    held-out activations here.
    """
    from mistudio.sae import Trainer

    trainer = Trainer(config_of({**task, "like": like}, setting), task["d_in"])
    sample = np.load(Path(task["work"]) / f"held-out-{setting['layer']}.npy", mmap_mode="r")[: task["batch"]]
    trainer.initialise(torch.from_numpy(sample.copy()))
    return trainer.sae.W_enc.detach(), trainer.sae.W_dec.detach()


def contexts_of(task: dict[str, Any]) -> Any:
    """The contexts of a contestant's task, int64 [n, 128]."""
    return np.load(Path(task["work"]) / "tokens.npy")


def fvu_of(task: dict[str, Any], layer: int, reconstruct: Any) -> float:
    """Σ‖x − x̂‖² / Σ‖x − mean(x)‖² over the held-out activations, with x̂ = `reconstruct(x)` [n, d]."""
    x = torch.from_numpy(np.load(Path(task["work"]) / f"held-out-{layer}.npy"))
    with torch.no_grad():
        error = sum(float((part - reconstruct(part)).double().square().sum()) for part in x.split(2048))
    return error / float((x - x.mean(0)).double().square().sum())


def written(path: Path, value: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
