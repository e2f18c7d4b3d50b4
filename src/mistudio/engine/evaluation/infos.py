"""What each number of an evaluation means, besides `mistudio.sae.METRICS`. Imports no PyTorch.

CE is the mean cross-entropy of the next token in nats, over the positions that count (special tokens do not);
x and x̂ as there. "Spliced in" means that x̂ takes the place of x at the hook point on those positions.
"""

from __future__ import annotations

from mistudio.sae.metric_info import METRICS, MetricInfo

_BENCH = "SAEBench 0.6.0"

BEHAVIOUR: dict[str, MetricInfo] = {
    "ce_loss_without_sae": MetricInfo(
        "CE of the model",
        "nats",
        "CE of the model as it is",
        "What the model itself reaches on these tokens.",
        "",
        f"{_BENCH} core",
    ),
    "ce_loss_with_sae": MetricInfo(
        "CE with the SAE",
        "nats",
        "CE with x̂ spliced in",
        "The nearer to the CE of the model, the less the reconstruction lost that matters.",
        "lower",
        f"{_BENCH} core",
    ),
    "ce_loss_with_ablation": MetricInfo(
        "CE with zeros",
        "nats",
        "CE with 0 in the place of x at every position",
        "How much the model needs this hook point at all.",
        "",
        f"{_BENCH} core",
    ),
    "ce_loss_with_mean": MetricInfo(
        "CE with the mean",
        "nats",
        "CE with x̄ spliced in",
        "A fairer baseline than zeros: on the same positions as x̂, and like what the model makes.",
        "",
    ),
    "ce_loss_score": MetricInfo(
        "CE recovered",
        "fraction",
        "(CE with zeros − CE with the SAE) / (CE with zeros − CE of the model)",
        "1: nothing that matters for the next token was lost; 0: no better than zeros. At most hook points zeros do "
        "so much harm that 0.95 is a poor score: read the four CE numbers.",
        "higher",
        f"{_BENCH} core",
    ),
    "ce_loss_score_mean": MetricInfo(
        "CE recovered (mean)",
        "fraction",
        "(CE with the mean − CE with the SAE) / (CE with the mean − CE of the model)",
        "The same against the mean of the activations.",
        "higher",
    ),
    "kl_div_with_sae": MetricInfo(
        "KL with the SAE",
        "nats",
        "Σₜ KL(p ‖ p̂) / N, p = the model's next-token distribution, p̂ = that with x̂ spliced in",
        "How far the model's predictions move.",
        "lower",
        f"{_BENCH} core",
    ),
    "kl_div_with_ablation": MetricInfo(
        "KL with zeros",
        "nats",
        "the same with 0 in the place of x at every position",
        "The baseline of the KL score.",
        "",
        f"{_BENCH} core",
    ),
    "kl_div_with_mean": MetricInfo(
        "KL with the mean",
        "nats",
        "the same with x̄ spliced in",
        "The fairer baseline.",
    ),
    "kl_div_score": MetricInfo(
        "KL recovered",
        "fraction",
        "(KL with zeros − KL with the SAE) / KL with zeros",
        "1: predictions do not move; 0: they move as far as with zeros.",
        "higher",
        f"{_BENCH} core",
    ),
    "kl_div_score_mean": MetricInfo(
        "KL recovered (mean)",
        "fraction",
        "(KL with the mean − KL with the SAE) / KL with the mean",
        "The same against the mean of the activations.",
        "higher",
    ),
}

STRUCTURE: dict[str, MetricInfo] = {
    "max_decoder_cosine": MetricInfo(
        "Nearest direction",
        "",
        "Σᵢ max_{j≠i} cos(dᵢ, dⱼ) / d_sae",
        "Near 1 many latents have a twin. Above 16,384 latents, over a sample of that many.",
        "lower",
        f"{_BENCH} `average_max_decoder_cosine_sim`",
    ),
    "encoder_decoder_cosine": MetricInfo(
        "Encoder against decoder",
        "",
        "Σᵢ cos(eᵢ, dᵢ) / d_sae, eᵢ = row i of the encoder",
        "How far what a latent looks for and what it writes agree. Not defined for transcoders.",
    ),
}

ABSORPTION: dict[str, MetricInfo] = {
    "absorption_full": MetricInfo(
        "Full absorption",
        "fraction",
        "words of a letter where its main latents are all off, and the latent with the largest zᵢ·⟨dᵢ, p⟩ has "
        "cos ≥ 0.025 and makes up ≥ 0.4 of ⟨x, p⟩ / words of it that the probe p finds; mean over letters",
        "A latent for “starts with S” that keeps silent on some words because another latent carries the letter there "
        "(Chanin et al. 2024, arXiv 2409.14507).",
        "lower",
        f"{_BENCH} `mean_full_absorption_score`",
    ),
    "absorption_fraction": MetricInfo(
        "Absorption fraction",
        "fraction",
        "a / (a + m) per word, m = Σ zᵢ·⟨dᵢ, p⟩ of the main latents, a = that of the 3 strongest others with "
        "cos ≥ 0.1, at most ⟨x, p⟩ − m; 0 where a < 0.4·⟨x, p⟩ or m ≥ ⟨x, p⟩, 1 where m ≤ 0; mean over both",
        "How much of the letter other latents carry. Releases of SAEBench before the threshold of 0.1 gave figures "
        "about ten times higher: compare only with the same version.",
        "lower",
        f"{_BENCH} `mean_absorption_fraction_score`",
    ),
    "absorption_letters": MetricInfo(
        "Letters probed",
        "letters",
        "count of letters whose probe reaches F1 > 0.6 on unseen words",
        "SAEBench gives no score below 20. Models of less than a few billion parameters often spell too badly.",
        "",
        f"{_BENCH} `min_GT_probe_f1`",
    ),
    "absorption_split_latents": MetricInfo(
        "Latents per letter",
        "latents",
        "the largest k for which each latent up to the k-th adds more than 0.03 to F1; mean over letters",
        "Above 1 a letter is split over several latents.",
        "lower",
        f"{_BENCH} `mean_num_split_features`",
    ),
}


def _probing(k: int) -> dict[str, MetricInfo]:
    method = (
        f"accuracy on unseen texts of a logistic regression on the {k} {{}} whose means (over a text's tokens) differ "
        "most between the class and equally many texts of the others; mean over classes, then over sets"
    )
    return {
        f"sparse_probing_top_{k}": MetricInfo(
            f"Probing with {k} latent{'s' * (k > 1)}",
            "accuracy",
            method.format("latents"),
            "Whether few latents tell the classes of texts apart; 0.5 is chance. SAEBench's method on our own "
            "texts: compare only with figures from them.",
            "higher",
            f"{_BENCH} `sae_top_{k}_test_accuracy`, own probe sets v1",
        ),
        f"sparse_probing_model_top_{k}": MetricInfo(
            f"… with {k} channel{'s' * (k > 1)} of x",
            "accuracy",
            method.format("entries of x"),
            "The baseline: the activations' own channels.",
            "",
            f"{_BENCH} `llm_top_{k}_test_accuracy`, own probe sets v1",
        ),
    }


PROBING: dict[str, MetricInfo] = {
    **_probing(1),
    **_probing(2),
    **_probing(5),
    "sparse_probing_model_all": MetricInfo(
        "… with all of x",
        "accuracy",
        "the same with every entry of x",
        "What the activations hold at all. SAEBench trains this one otherwise and keeps its best epoch on the test "
        "texts: not comparable.",
        "",
        "own",
    ),
}

EVALUATION_METRICS: dict[str, MetricInfo] = {**METRICS, **BEHAVIOUR, **STRUCTURE, **ABSORPTION, **PROBING}
