"""What each number means: read by tooltips, documentation and tests alike. Imports no PyTorch.

Notation: x is a token's activation vector (as the model makes it, unscaled), x̂ its reconstruction, x̄ the
mean of x over the tokens measured, z its latents, N the number of tokens, d the width of x.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricInfo:
    """One metric: `formula` is exact, `description` says how to read it, `better` which way is good.

    `version` names the definition where several are in use.
    """

    title: str
    unit: str
    formula: str
    description: str
    better: str = ""
    version: str = ""


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
        "The sparsity part of the loss of standard and gated SAEs; other penalties put theirs in the place of the sum.",
        "lower",
    ),
    "l0_loss": MetricInfo(
        "Sparsity term",
        "",
        "λ · Σ count(zᵢ ≠ 0) / N, or λ · Σ tanh(c·zᵢ·‖dᵢ‖) / N",
        "The sparsity part of a JumpReLU SAE's loss. With a target L0, λ is steered while training.",
        "lower",
    ),
    "pre_act_loss": MetricInfo(
        "Pre-activation term",
        "",
        "p · Σ ReLU(θᵢ − preᵢ)·‖dᵢ‖ / N over dead latents i",
        "What pulls a JumpReLU SAE's dead latents back to life; 0 while no latent is dead.",
        "lower",
    ),
    "gate_loss": MetricInfo(
        "Gate term",
        "",
        "Σ‖s·x − s·x̂_gate‖² / N, x̂_gate decodes ReLU(π), π = the gate's pre-activations",
        "How well a gated SAE's gate alone reconstructs, which trains it to open for what matters.",
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
        "Σ count(zᵢ ≠ 0) / N",
        "How many latents are active on a token, on average.",
    ),
    "l1": MetricInfo(
        "L1",
        "",
        "Σ|zᵢ| / N",
        "How strong the latents of a token are in sum, on average. Depends on the decoder's norms.",
    ),
    "mse": MetricInfo(
        "MSE",
        "",
        "Σ‖x − x̂‖² / (N·d)",
        "Mean squared error per entry of the activations, in the model's own units.",
        "lower",
    ),
    "mse_per_token": MetricInfo(
        "MSE per token",
        "",
        "Σ‖x − x̂‖² / N",
        "Squared error summed over the vector. SAEBench's `mse` is this once more divided by the tokens of a batch.",
        "lower",
        "SAELens 6.54 `mse`",
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
    "explained_variance_legacy": MetricInfo(
        "EV, legacy",
        "fraction",
        "Σₜ (1 − ‖xₜ − x̂ₜ‖² / ‖xₜ − x̄_b‖²) / N, x̄_b = the mean of the batch",
        "A mean of ratios: tokens near the mean weigh most, and batches matter. For comparison with older papers.",
        "higher",
        "SAELens and SAEBench `explained_variance_legacy`",
    ),
    "explained_variance_about_zero": MetricInfo(
        "EV about zero",
        "fraction",
        "1 − Σ‖x − x̂‖² / Σ‖x‖²",
        "Counts the mean as explained, so that predicting it scores well. For comparison only.",
        "higher",
    ),
    "explained_variance_sae_bench": MetricInfo(
        "EV as in SAEBench",
        "fraction",
        "1 − Σ‖x − x̂‖² / (Σ‖x‖² − N·(Σ‖x‖²/(N·d))²)",
        "What SAEBench 0.6.0 computes under the name `explained_variance`: it subtracts the squared mean of squares "
        "where the squared mean was meant, which leaves nearly the variance about zero. For comparison only.",
        "higher",
        "SAEBench 0.6.0 `explained_variance`",
    ),
    "cosine": MetricInfo(
        "Cosine similarity",
        "",
        "Σ ⟨x, x̂⟩ / (‖x‖·‖x̂‖) / N",
        "Whether reconstructions point the right way, whatever their length. A zero vector counts as 0.",
        "higher",
    ),
    "l2_norm_in": MetricInfo("Norm of x", "", "Σ‖x‖ / N", "The mean length of the activations."),
    "l2_norm_out": MetricInfo("Norm of x̂", "", "Σ‖x̂‖ / N", "The mean length of the reconstructions."),
    "l2_ratio": MetricInfo(
        "Norm ratio",
        "",
        "Σ (‖x̂‖ / ‖x‖) / N",
        "Below 1 the reconstructions are shorter than what they stand for: shrinkage. Tokens with ‖x‖ < 10⁻⁴ count "
        "with ‖x̂‖.",
    ),
    "relative_reconstruction_bias": MetricInfo(
        "Reconstruction bias",
        "",
        "Σ‖x̂‖² / Σ⟨x, x̂⟩",
        "1 where scaling x̂ cannot help; below 1 the dictionary shrinks (Rajamanoharan et al. 2024, "
        "arXiv 2404.16014, eq. 10).",
    ),
    "projection": MetricInfo(
        "Projection onto x",
        "",
        "Σ⟨x, x̂⟩ / Σ‖x‖²",
        "How much of x there is in x̂ along x itself; what is missing from 1 was shrunk or left out.",
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
    "dense_latents": MetricInfo(
        "Dense latents",
        "latents",
        "count of i with zᵢ ≠ 0 on more than 10 % of the tokens",
        "Latents that are active so often that they hardly mean one thing. During training the tokens are those of the "
        "step, in an evaluation all that were measured.",
        "lower",
    ),
    "dense_fraction": MetricInfo(
        "Share of dense latents",
        "fraction",
        "dense_latents / d_sae",
        "Latents active on more than 10 % of the tokens, as a share of the dictionary.",
        "lower",
        "SAEBench `freq_over_10_percent`",
    ),
    "frequent_fraction": MetricInfo(
        "Share above 1 %",
        "fraction",
        "count of i with zᵢ ≠ 0 on more than 1 % of the tokens / d_sae",
        "Latents active on more than 1 % of the tokens, as a share of the dictionary.",
        "",
        "SAEBench `freq_over_1_percent`",
    ),
    "learning_rate": MetricInfo(
        "Learning rate",
        "",
        "warm-up · decay · learning_rate",
        "The step size used in this step.",
    ),
    "sparsity_coefficient": MetricInfo(
        "Sparsity coefficient",
        "",
        "λ in the sparsity term of the loss, after warm-up",
        "How much sparsity weighs against the squared error in this step. With a target L0 it is steered; where a "
        "fixed number of latents is kept there is none.",
    ),
    "grad_norm": MetricInfo(
        "Gradient norm",
        "",
        "√Σ g² over all parameters, before clipping",
        "Spikes mean trouble; values above the clipping norm were scaled down to it.",
    ),
}
