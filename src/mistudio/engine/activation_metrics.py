"""What each figure about activations means: read by tooltips, documentation and tests alike. Imports no PyTorch.

Notation: x is a token's activation vector of d numbers, xⱼ its dimension j, ⟨·⟩ the mean over the n kept tokens.
"""

from __future__ import annotations

from mistudio.engine.activation_figures import (
    LOUD,
    LOUD_HOOKS,
    LOUD_SHARE,
    MASSIVE_RATIO,
    MASSIVE_VALUE,
    SIGMAS,
)
from mistudio.sae.metric_info import MetricInfo

ACTIVATION_METRICS: dict[str, MetricInfo] = {
    "mean_norm": MetricInfo(
        "Mean norm", "", "⟨‖x‖₂⟩", "How long activations are. It grows through the residual stream."
    ),
    "std_norm": MetricInfo(
        "Spread of norms", "", "√(⟨‖x‖₂²⟩ − ⟨‖x‖₂⟩²)", "Standard deviation of the norm over tokens."
    ),
    "max_norm": MetricInfo("Largest norm", "", "max ‖x‖₂", "Of a single token."),
    "norm_percentiles": MetricInfo(
        "Norm percentiles",
        "",
        "p % of tokens have a smaller ‖x‖₂",
        "Read off bins that are 4.4 % wide (2^(1/16)).",
    ),
    "rms": MetricInfo("RMS", "", "√(⟨‖x‖₂²⟩ / d)", "Root of the mean square of one number."),
    "mean": MetricInfo("Mean", "", "⟨Σⱼ xⱼ / d⟩", "Of all numbers."),
    "std": MetricInfo("Standard deviation", "", "√(⟨Σⱼ xⱼ²/d⟩ − mean²)", "Of all numbers about their mean."),
    "mean_share": MetricInfo(
        "Share of the mean",
        "",
        "‖⟨x⟩‖² / ⟨‖x‖²⟩",
        "How much of the activations is the same at every token. What an SAE's decoder bias can take over; near 1, a "
        "few constant dimensions hide what varies.",
    ),
    "token_kurtosis": MetricInfo(
        "Kurtosis (token)",
        "",
        "⟨ (Σⱼ(xⱼ−x̄)⁴/d) / (Σⱼ(xⱼ−x̄)²/d)² ⟩,  x̄ = Σⱼxⱼ/d",
        "Over the dimensions of each token, then averaged: 3 for a Gaussian vector in any rotation; more means that "
        "the basis is privileged, a few dimensions standing out (Elhage et al. 2023).",
    ),
    "dimension_kurtosis": MetricInfo(
        "Kurtosis (dimension)",
        "",
        "median over j of ⟨(xⱼ−⟨xⱼ⟩)⁴⟩ / ⟨(xⱼ−⟨xⱼ⟩)²⟩²",
        "Over tokens, of the middle dimension: 3 for a Gaussian, more for heavy tails.",
    ),
    "rms_kurtosis": MetricInfo(
        "Kurtosis (RMS)",
        "",
        "d · Σⱼ ⟨xⱼ²⟩² / (Σⱼ ⟨xⱼ²⟩)²",
        "How unequally the dimensions are used: 1 when all have the same RMS, d when one has it all (He et al. 2024, "
        "arXiv 2405.19279).",
    ),
    "zeros": MetricInfo("Exact zeros", "", "count(xⱼ = 0) / (n·d)", "As behind a ReLU."),
    "hoyer": MetricInfo(
        "Hoyer sparsity",
        "",
        "⟨ (√d − ‖x‖₁/‖x‖₂) / (√d − 1) ⟩",
        "0 when all numbers of a token are equally large, 1 when only one is not zero; about 0.2 for a Gaussian vector "
        "(Hoyer 2004).",
    ),
    "peak": MetricInfo("Largest value", "", "max |xⱼ|", "Of a single number."),
    "loud_dimensions": MetricInfo(
        "Outliers (magnitude)",
        "",
        f"count of j with |xⱼ| ≥ {LOUD:g} at ≥ {LOUD_SHARE:.0%} of tokens",
        f"The rule of Dettmers et al. 2022 (arXiv 2208.07339) at this hook; a dimension that fulfils it in "
        f"{LOUD_HOOKS:.0%} of the layers or more is an outlier of the model. The magnitude is absolute: where the "
        "whole residual stream is large, every dimension fulfils it, and the 3σ rule says more.",
    ),
    "far_dimensions": MetricInfo(
        f"Outliers ({SIGMAS:g}σ)",
        "",
        f"count of j with |⟨xⱼ⟩ − mean over j| > {SIGMAS:g}·std over j",
        f"The {SIGMAS:g}σ rule of Kovaleva et al. 2021 (arXiv 2105.06990), put to the dimensions' mean activations.",
    ),
    "massive_values": MetricInfo(
        "Massive values",
        "",
        f"count of |xⱼ| > {MASSIVE_VALUE:g} and ≥ {MASSIVE_RATIO:,.0f} · median over j of |xⱼ|",
        "Single huge numbers (Sun et al. 2024, arXiv 2402.17762), mostly at the first token and at delimiters: the "
        "beginning-of-text token is left out by default.",
    ),
    "massive_tokens": MetricInfo(
        "Tokens with one", "", "count of tokens with a massive activation", "See massive activations."
    ),
    "massive_dimensions": MetricInfo(
        "Dimensions with one", "", "count of j with a massive activation", "They are few and always the same."
    ),
    "error": MetricInfo(
        "Error as kept",
        "",
        "√(Σ‖stored − x‖² / Σ‖x‖²)",
        "What keeping fewer bits costs, over every 16th token.",
        "lower",
    ),
    "share": MetricInfo("Loud share", "", f"share of tokens with |xⱼ| ≥ {LOUD:g}", "Per dimension."),
    "sigmas": MetricInfo(
        "Distance",
        "σ",
        "(⟨xⱼ⟩ − mean over j) / std over j",
        "How far a dimension's mean lies from the others'.",
    ),
}
