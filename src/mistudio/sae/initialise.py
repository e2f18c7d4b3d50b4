"""Where a training starts: normalisation factor, decoder directions, encoder, biases."""

import torch
from torch import Tensor

from mistudio.sae.architectures import StepContext
from mistudio.sae.config import TrainerConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEError


def activation_scales(sample: Tensor, n_sites: int = 1) -> list[float]:
    """√d / mean ‖x‖ over a sample [N, n_sites·d], for each site: the factors that bring the average norms to √d."""
    mean_norms = sample.double().unflatten(1, (n_sites, -1)).norm(dim=2).mean(0)
    if bool((mean_norms == 0).any()):
        raise SAEError(
            "All activations of the first batch are zero, so they cannot be normalised.",
            hint="Check the hook point, or set normalize_activations to none.",
        )
    return ((sample.shape[1] // n_sites) ** 0.5 / mean_norms).tolist()


def geometric_median(points: Tensor, iterations: int = 100, tolerance: float = 1e-6) -> Tensor:
    """The point [d] with the least summed distance to `points` [N, d] (Weiszfeld's algorithm)."""
    guess = points.mean(0)
    floor = torch.finfo(points.dtype).eps * float(points.norm(dim=1).mean()) + torch.finfo(points.dtype).tiny
    for _ in range(iterations):
        weights = 1 / (points - guess).norm(dim=1).clamp_min(floor)
        new = weights @ points / weights.sum()
        moved = (new - guess).norm()
        guess = new
        if moved <= tolerance * guess.norm():
            break
    return guess


_SAMPLE = 1024
"""Tokens of the first batch that starting weights are fitted to."""


@torch.no_grad()
def initialise(
    sae: SAE, x: Tensor, y: Tensor, config: TrainerConfig, generator: torch.Generator, *, tied: bool
) -> None:
    """Fill in starting weights from a seeded generator and a sample x, y [N, d_in], [N, d_out] (already normalised).

    Decoder directions are uniform on the sphere. The encoder lies along them (tied) or along others, scaled
    by the one factor that makes the first reconstructions best (tied) or of the right size (not tied): a
    dictionary of any width and sparsity then starts near the data instead of far beyond it.
    """
    match config.decoder_bias_init:
        case "zeros":
            sae.b_dec.zero_()
        case "mean":
            sae.b_dec.copy_(y.mean(0))
        case "geometric_median":
            sae.b_dec.copy_(geometric_median(y))

    directions = _directions(sae.W_dec, generator)
    sae.W_dec.copy_(directions)
    sae.W_dec.div_(sae.decoder_norms()[:, None])
    if config.decoder_norm == "free":
        sae.W_dec.mul_(config.decoder_init_norm)
    sae.W_enc.copy_(directions if tied else _directions(sae.W_enc, generator))
    sae.b_enc.zero_()
    x, y = x[:_SAMPLE], y[:_SAMPLE]
    seen = sae.centre(x)
    sae.activation.start(sae, seen)
    context = StepContext(0, torch.zeros(sae.d_sae, dtype=torch.bool, device=sae.device))
    reconstruction = sae.activation.gradients(sae, x, y, context).reconstruction - sae.b_dec
    energy = float(reconstruction.double().square().sum())
    if energy > 0:
        target = (y - sae.b_dec).double()
        factor = float((reconstruction.double() * target).sum()) / energy
        # untied directions fit nothing in particular: a factor near 0 or below would start them dead
        sae.W_enc.mul_(factor if tied else energy**-0.5 * float(target.norm()))
        sae.activation.start(sae, seen)


def _directions(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Random unit rows like `weights` [d_sae, d]; drawn on the CPU, so that a seed means the same on every device."""
    rows = torch.randn(weights.shape, generator=generator, dtype=torch.float32)
    return (rows / rows.norm(dim=1, keepdim=True)).to(weights)
