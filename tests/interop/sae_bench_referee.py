"""Runs the real `sae-bench` on the case of `sae_bench_case` and writes its figures beside it.

SAEBench pins versions of numpy and datasets that exclude ours, so it cannot be installed with us. Where it is installed
without its dependencies (`pip install --no-deps sae-bench==0.6.0 scikit-learn joblib threadpoolctl`), run
`python -m tests.interop.sae_bench_referee` to make `sae_bench_0_6_0.json` again.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights

from tests.interop import sae_bench_case as case


class Store:
    """The part of an activations store that SAEBench's core evaluation asks for: batches of tokens in order."""

    def __init__(self, tokens: torch.Tensor, batch: int) -> None:
        self._tokens, self._at = tokens, 0
        self.context_size, self.store_batch_size_prompts = tokens.shape[1], batch

    def get_batch_tokens(self, n: int) -> torch.Tensor:
        """The next n sequences."""
        self._at += n
        return self._tokens[self._at - n : self._at]

    def reset_input_dataset(self) -> None:
        """Begin again."""
        self._at = 0


def hooked(hf: Any, tokenizer: Any = None) -> HookedTransformer:
    """The same Llama in TransformerLens."""
    c = hf.config
    width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    cfg = HookedTransformerConfig(
        n_layers=c.num_hidden_layers,
        d_model=c.hidden_size,
        n_ctx=min(512, c.max_position_embeddings),
        d_head=width,
        n_heads=c.num_attention_heads,
        n_key_value_heads=c.num_key_value_heads,
        d_mlp=c.intermediate_size,
        d_vocab=c.vocab_size,
        act_fn="silu",
        normalization_type="RMS",
        eps=c.rms_norm_eps,
        positional_embedding_type="rotary",
        rotary_dim=width,
        rotary_base=int(c.rope_parameters["rope_theta"]),
        rotary_adjacent_pairs=False,
        gated_mlp=True,
        final_rms=True,
        original_architecture="LlamaForCausalLM",
        device="cpu",
        default_prepend_bos=True,
        tokenizer_prepends_bos=False,
    )
    model = HookedTransformer(cfg, tokenizer=tokenizer)
    model.load_state_dict(convert_llama_weights(hf, cfg), strict=False)
    return model.eval()


def their_sae(w: Any, k: int, hook: str) -> Any:
    """Weights (rows per latent) in SAEBench's own TopK class."""
    from sae_bench.custom_saes.topk_sae import TopKSAE

    d_sae, d_in = w.W_dec.shape
    layer = int(hook.split(".")[1])
    sae = TopKSAE(d_in, d_sae, k, "case", layer, torch.device("cpu"), torch.float32, hook_name=hook)
    sae.W_enc.data.copy_(w.W_enc.T)
    sae.W_dec.data.copy_(w.W_dec)
    sae.b_enc.data.copy_(w.b_enc)
    sae.b_dec.data.copy_(w.b_dec)
    sae.cfg.architecture_str = "topk"
    return sae.requires_grad_(False)


def core(model: Any, sae: Any, tokens: torch.Tensor, batch: int, special: set[int]) -> dict[str, float]:
    """SAEBench's core evaluation, as its command line runs it (special tokens left out and not replaced)."""
    from sae_bench.evals.core.eval_config import CoreEvalConfig
    from sae_bench.evals.core.main import calculate_misc_metrics, run_evals

    batches = len(tokens) // batch
    metrics, features = run_evals(
        sae,
        Store(tokens, batch),
        model,
        CoreEvalConfig(
            batch_size_prompts=batch,
            n_eval_reconstruction_batches=batches,
            n_eval_sparsity_variance_batches=batches,
            compute_kl=True,
            compute_ce_loss=True,
            compute_l2_norms=True,
            compute_sparsity_metrics=True,
            compute_variance_metrics=True,
            compute_featurewise_density_statistics=True,
            compute_featurewise_weight_based_metrics=True,
            exclude_special_tokens_from_reconstruction=True,
        ),
        ignore_tokens=special,
    )
    found = {name: float(v) for group in metrics.values() for name, v in group.items()}
    found |= {name: float(v) for name, v in calculate_misc_metrics(features).items()}
    cosines = torch.tensor(features["encoder_decoder_cosine_sim"])
    return found | {"encoder_decoder_cosine_sim": float(cosines.mean())}


def absorption(sae: Any, x: torch.Tensor, probe: torch.Tensor, main: list[int]) -> dict[str, list[float]]:
    """SAEBench's absorption calculator over words whose activations are given."""
    from sae_bench.evals.absorption.feature_absorption_calculator import FeatureAbsorptionCalculator

    rows = iter(x.split(10))

    class Model:
        def to_tokens(self, _: str) -> torch.Tensor:
            return torch.zeros(1, 2)

        def run_with_cache(
            self, prompts: list[str], names_filter: list[str]
        ) -> tuple[None, dict[str, torch.Tensor]]:
            return None, {names_filter[0]: next(rows)[:, None].expand(len(prompts), 2, -1)}

    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(len(x))]
    calculator = FeatureAbsorptionCalculator(Model(), ["some", "other"], max_icl_examples=1)  # type: ignore[arg-type]
    results = calculator.calculate_absorption(
        sae, words, probe, main, layer=1, show_progress=False
    ).word_results
    return {
        "full": [float(r.is_full_absorption) for r in results],
        "fraction": [float(r.absorption_fraction) for r in results],
    }


def probing(texts: dict[str, dict[str, torch.Tensor]]) -> dict[str, dict[str, float]]:
    """SAEBench's k-sparse probes on mean latents."""
    from sae_bench.evals.sparse_probing.probe_training import train_probe_on_activations

    return {
        str(k): {
            label: float(accuracy)
            for label, accuracy in train_probe_on_activations(texts["train"], texts["test"], select_top_k=k)[
                1
            ].items()
        }
        for k in (1, 2, 5)
    }


def main() -> None:
    """Write the figures."""
    from sae_bench.evals.sparse_probing import probe_training

    probe_training.print = lambda *_: None  # type: ignore[attr-defined]
    w = case.weights()
    sae = their_sae(w, case.K, case.HOOK)
    x, probe, main_latents = case.spelling()
    figures = {
        "package": "sae-bench 0.6.0",
        "core": core(hooked(case.model()), sae, case.tokens(), case.BATCH, set(case.SPECIAL)),
        "absorption": absorption(sae, x, probe, main_latents),
        "probing": probing(case.texts()),
    }
    case.FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(SimpleNamespace(**figures).core, indent=1))


if __name__ == "__main__":
    main()
