"""What each number means: read by tooltips, documentation and tests alike. Imports no PyTorch.

Notation: x is a token's activation vector (as the model makes it, unscaled), x̂ its reconstruction, x̄ the
mean of x over the tokens measured, z its latents, N the number of tokens, d the width of x.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricInfo:
    """One metric: `formula` is exact, `description` says how to read it, `better` which way is good."""

    title: str
    unit: str
    formula: str
    description: str
    better: str = ""


METRICS: dict[str, MetricInfo] = {
    "loss": MetricInfo(
        "Loss",
        "",
        "mse_loss + the architecture's own terms",
        "What the optimiser lowers. In normalised units: comparable within a run, not between runs whose "
        "normalisation differs.",
        "lower",
    ),
    "mse_loss": MetricInfo(
        "Squared error term",
        "",
        "Σ‖s·x − s·x̂‖² / N, s = the normalisation factor",
        "The reconstruction part of the loss, summed over the vector and averaged over tokens.",
        "lower",
    ),
    "l1_loss": MetricInfo(
        "L1 term",
        "",
        "λ · Σ zᵢ·‖dᵢ‖ / N, λ = the L1 coefficient after warm-up, dᵢ = decoder direction i",
        "The sparsity part of a standard SAE's loss.",
        "lower",
    ),
    "aux_loss": MetricInfo(
        "AuxK term",
        "",
        "c · Σ‖e − ê‖² / Σ‖e − ē‖², e = x − x̂, ê = its reconstruction by the strongest dead latents, "
        "c = the AuxK coefficient",
        "What dead latents fail to explain of the remaining error; 0 while no latent is dead.",
        "lower",
    ),
    "l0": MetricInfo(
        "L0",
        "latents per token",
        "Σ count(zᵢ > 0) / N",
        "How many latents are active on a token, on average.",
    ),
    "mse": MetricInfo(
        "MSE",
        "",
        "Σ‖x − x̂‖² / (N·d)",
        "Mean squared error per entry of the activations, in the model's own units.",
        "lower",
    ),
    "fvu": MetricInfo(
        "FVU",
        "fraction",
        "Σ‖x − x̂‖² / Σ‖x − x̄‖²",
        "Fraction of variance unexplained: 0 is perfect, predicting the mean scores exactly 1.",
        "lower",
    ),
    "explained_variance": MetricInfo(
        "Explained variance",
        "fraction",
        "1 − Σ‖x − x̂‖² / Σ‖x − x̄‖²",
        "About the mean: 1 is perfect, predicting the mean scores exactly 0.",
        "higher",
    ),
    "cosine": MetricInfo(
        "Cosine similarity",
        "",
        "Σ ⟨x, x̂⟩ / (‖x‖·‖x̂‖) / N",
        "Whether reconstructions point the right way, whatever their length. A zero vector counts as 0.",
        "higher",
    ),
    "dead_latents": MetricInfo(
        "Dead latents",
        "latents",
        "count of i with zᵢ = 0 on every token of the window",
        "During training the window is `dead_latent_window` tokens; in an evaluation, all tokens measured.",
        "lower",
    ),
    "dead_fraction": MetricInfo(
        "Share of dead latents",
        "fraction",
        "dead_latents / d_sae",
        "Dead latents as a share of the dictionary.",
        "lower",
    ),
    "learning_rate": MetricInfo(
        "Learning rate",
        "",
        "warm-up · decay · learning_rate",
        "The step size used in this step.",
    ),
    "grad_norm": MetricInfo(
        "Gradient norm",
        "",
        "√Σ g² over all parameters, before clipping",
        "Spikes mean trouble; values above the clipping norm were scaled down to it.",
    ),
}
