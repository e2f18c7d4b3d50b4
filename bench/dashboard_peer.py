"""SAEDashboard 0.8 on a given model, SAE and tokens; runs in an environment of its own (see `features.py`).

It drives what SAEDashboard's Neuronpedia runner drives for each batch of latents (`SaeVisRunner`, then
`NeuronpediaConverter`, then a JSON file), with its defaults and its cache of activations. What stands in the way of
running it as installed is worked around here, from outside:

- its environment: NumPy 1 beside a pyarrow that needs NumPy 2 does not import (`requirements-dashboard.txt` pins
  pyarrow);
- TransformerLens loads only models that it lists: the same weights are converted by its own Llama conversion into a
  `HookedSAETransformer` whose configuration is written out here. The activations are compared with ours;
- it folds decoder norms first, which SAELens refuses for TopK SAEs: norms here are 1, so folding is left out.

Prints one JSON line: seconds of each batch, and the relative difference of its activations from those given.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch


def hooked_model(folder: Path) -> Any:
    """The Llama model of a folder as TransformerLens has it, unprocessed."""
    from sae_lens import HookedSAETransformer
    from transformer_lens import HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = json.loads((folder / "config.json").read_text("utf-8"))
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    hf = LlamaForCausalLM.from_pretrained(folder, config=LlamaConfig(**{**config, "rope_theta": theta}))
    cfg = HookedTransformerConfig(
        model_name="model",
        d_model=config["hidden_size"],
        d_head=config["hidden_size"] // config["num_attention_heads"],
        n_heads=config["num_attention_heads"],
        n_key_value_heads=config["num_key_value_heads"],
        d_mlp=config["intermediate_size"],
        n_layers=config["num_hidden_layers"],
        n_ctx=1024,
        eps=config["rms_norm_eps"],
        d_vocab=config["vocab_size"],
        act_fn=config["hidden_act"],
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        rotary_dim=config["hidden_size"] // config["num_attention_heads"],
        rotary_base=int(theta),
        final_rms=True,
        gated_mlp=True,
        default_prepend_bos=False,
        device="cpu",
    )
    model = HookedSAETransformer(cfg)
    model.load_state_dict(convert_llama_weights(hf, cfg), strict=False)
    named = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    model.tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        **{name: named[name] for name in ("bos_token", "eos_token", "pad_token") if named.get(name)},
    )
    return model.eval()


def vocabulary(model: Any) -> dict[int, str]:
    """Token texts by id, as its runner makes them."""
    from sae_dashboard.neuronpedia.neuronpedia_runner import HTML_ANOMALIES, OUT_OF_RANGE_TOKEN

    found: dict[int, str] = {}
    for piece, id in model.tokenizer.vocab.items():
        for anomaly, text in HTML_ANOMALIES.items():
            piece = piece.replace(anomaly, text)
        found[id] = piece
    return found | dict.fromkeys(range(len(found), model.cfg.d_vocab), OUT_OF_RANGE_TOKEN)


def batches(
    work: Path, model_folder: Path, features_per_batch: int, n_batches: int, keep: bool
) -> dict[str, Any]:
    """Seconds of each of the first batches of latents; the first one runs the model too unless `keep` finds a cache."""
    from sae_dashboard.components_config import (
        ActsHistogramConfig,
        Column,
        FeatureTablesConfig,
        LogitsHistogramConfig,
        LogitsTableConfig,
        SequencesConfig,
    )
    from sae_dashboard.layout import SaeVisLayoutConfig
    from sae_dashboard.neuronpedia.neuronpedia_converter import NeuronpediaConverter
    from sae_dashboard.neuronpedia.neuronpedia_runner_config import NeuronpediaRunnerConfig
    from sae_dashboard.sae_vis_data import SaeVisConfig
    from sae_dashboard.sae_vis_runner import SaeVisRunner
    from sae_lens import SAE

    model = hooked_model(model_folder)
    sae: Any = SAE.load_from_disk(str(work / "sae"), device="cpu")
    norms = sae.W_dec.norm(dim=1)
    assert float((norms - 1).abs().max()) < 1e-3, "decoder norms must be 1 for folding to be left out"
    sae.fold_W_dec_norm = lambda: None
    tokens = torch.from_numpy(np.load(work / "tokens.npy").astype(np.int64))
    hook = sae.cfg.metadata.hook_name
    layer = int(hook.split(".")[1])
    runner = NeuronpediaRunnerConfig(
        sae_set="bench",
        sae_path="",
        outputs_dir=str(work),
        n_prompts_total=len(tokens),
        n_tokens_in_prompt=tokens.shape[1],
        n_features_at_a_time=features_per_batch,
        model_id="model",
        layer=layer,
    )
    vocab = vocabulary(model)
    cache = work / "dashboard-cache"
    assert keep or not cache.exists()
    with torch.inference_mode():
        _, found = model.run_with_cache(tokens[:4], stop_at_layer=layer + 1, names_filter=[hook])
    given = torch.from_numpy(np.load(work / "expected.npy"))
    difference = float((found[hook] - given).norm() / given.norm())

    special = {model.tokenizer.pad_token_id, model.tokenizer.bos_token_id, model.tokenizer.eos_token_id}
    seconds: list[float] = []
    for number in range(n_batches):
        start = time.perf_counter()
        config = SaeVisConfig(
            hook_point=hook,
            features=list(range(number * features_per_batch, (number + 1) * features_per_batch)),
            minibatch_size_features=features_per_batch,
            minibatch_size_tokens=runner.n_prompts_in_forward_pass,
            quantile_feature_batch_size=runner.quantile_feature_batch_size,
            verbose=False,
            device="cpu",
            feature_centric_layout=SaeVisLayoutConfig(
                columns=[
                    Column(
                        SequencesConfig(
                            stack_mode="stack-all",
                            buffer=None,
                            compute_buffer=True,
                            n_quantiles=runner.n_quantiles,
                            top_acts_group_size=runner.top_acts_group_size,
                            quantile_group_size=runner.quantile_group_size,
                        ),
                        ActsHistogramConfig(),
                        LogitsHistogramConfig(),
                        LogitsTableConfig(),
                        FeatureTablesConfig(n_rows=3),
                    )
                ]
            ),
            perform_ablation_experiments=False,
            dtype="float32",
            cache_dir=cache,
            ignore_tokens=special,
            ignore_positions=[],
            use_dfa=False,
        )
        data = SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)
        text = NeuronpediaConverter.convert_to_np_json(model, data, runner, vocab)
        (work / f"batch-{features_per_batch}-{number}.json").write_text(text)
        del data, text
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "difference": difference, "features_per_batch": features_per_batch}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "--batch", type=int, nargs=2, action="append", metavar=("FEATURES", "BATCHES"), required=True
    )
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    with contextlib.redirect_stdout(sys.stderr):
        found = [
            batches(arguments.work, arguments.model, features, count, keep=number > 0)
            for number, (features, count) in enumerate(arguments.batch)
        ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
