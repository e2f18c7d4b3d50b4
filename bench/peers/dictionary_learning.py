"""dictionary_learning's `trainSAE` over its `ActivationBuffer` (nnsight), as in its README.

The buffer holds 128 contexts and is filled up when half of it is used: small, so that little is harvested in vain.
Two things are worked around from outside: `text_batch` gives token ids instead of text, so that all contestants see the
same tokens (and nothing is tokenized while the clock runs), and nnsight is told not to patch a Llama's rotary settings,
which does not fit current Transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.contest import take_part
from bench.material import CONTEXT, contexts_of, decay_steps_of, fvu_of, start_of

BUFFER_CONTEXTS = 128
PROMPTS = 16


def on_the_fly(task: dict[str, Any]) -> Callable[[], Callable[[], dict[str, Any]]]:
    """From the first refresh of its buffer to the trained SAE."""
    import torch
    from dictionary_learning.buffer import ActivationBuffer
    from dictionary_learning.trainers.top_k import AutoEncoderTopK, TopKTrainer
    from dictionary_learning.training import trainSAE
    from nnsight import LanguageModel
    from transformers import BatchEncoding

    class Contexts(ActivationBuffer):
        def text_batch(self, batch_size: int | None = None) -> Any:
            ids = torch.stack([next(self.data) for _ in range(batch_size or self.refresh_batch_size)])
            return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})

    (setting,) = task["settings"]
    W_enc, W_dec = start_of(task, setting, "dictionary-learning")

    class Started(AutoEncoderTopK):
        """Its SAE with the weights that ours starts with."""

        def __init__(self, *sizes: Any) -> None:
            super().__init__(*sizes)
            self.encoder.weight.data.copy_(W_enc)
            self.decoder.weight.data.copy_(W_dec.T)

    dtype = torch.bfloat16 if task.get("lm_dtype") == "bfloat16" else torch.float32
    model = LanguageModel(
        task["model"], device_map="cpu", torch_dtype=dtype, dispatch=True, patch_llama_scan=False
    )
    buffer = Contexts(
        iter(torch.from_numpy(contexts_of(task))),
        model,
        model.model.layers[setting["layer"]],
        d_submodule=task["d_in"],
        n_ctxs=BUFFER_CONTEXTS,
        ctx_len=CONTEXT,
        refresh_batch_size=PROMPTS,
        out_batch_size=task["batch"],
        device="cpu",
        remove_bos=True,
    )
    steps = task["tokens"] // task["batch"]
    folder = Path(task["work"]) / "dictionary-learning"
    trainer = {
        "trainer": TopKTrainer,
        "steps": steps,
        "activation_dim": task["d_in"],
        "dict_size": task["d_sae"],
        "k": setting["k"],
        "layer": setting["layer"],
        "lm_name": "model",
        "lr": task["lr"],
        "warmup_steps": 0,
        "decay_start": steps - decay_steps_of(task) if decay_steps_of(task) else None,
        "dict_class": Started,
        "device": "cpu",
        "seed": 0,
    }

    def work() -> Callable[[], dict[str, Any]]:
        trainSAE(buffer, [trainer], steps=steps, save_dir=str(folder), device="cpu")

        def measure() -> dict[str, Any]:
            weights = torch.load(folder / "trainer_0" / "ae.pt", weights_only=True)
            sae = AutoEncoderTopK(task["d_in"], task["d_sae"], setting["k"])
            sae.load_state_dict(weights)
            return {"fvu": [fvu_of(task, setting["layer"], sae)]}

        return measure

    return work


if __name__ == "__main__":
    take_part(on_the_fly)
