"""Where a training starts: normalisation factor, decoder directions, encoder, biases."""

import torch
from torch import Tensor

from mistudio.sae.config import TrainerConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEError


def activation_scale(sample: Tensor) -> float:
    """√d / mean ‖x‖ over a sample [N, d]: the factor that brings the average norm to √d."""
    mean_norm = float(sample.double().norm(dim=1).mean())
    if mean_norm == 0:
        raise SAEError(
            "All activations of the first batch are zero, so they cannot be normalised.",
            hint="Check the hook point, or set normalize_activations to none.",
        )
    return sample.shape[1] ** 0.5 / mean_norm


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


@torch.no_grad()
def initialise(sae: SAE, sample: Tensor, config: TrainerConfig, generator: torch.Generator) -> None:
    """Fill in starting weights from a seeded generator and a sample [N, d_in] (already normalised).

    Decoder directions are uniform on the sphere. The encoder lies along them (tied) or along others, scaled
    by the one factor that makes the first reconstructions best (tied) or of the right size (not tied): a
    dictionary of any width and sparsity then starts near the data instead of far beyond it.
    """
    match config.decoder_bias_init:
        case "zeros":
            sae.b_dec.zero_()
        case "mean":
            sae.b_dec.copy_(sample.mean(0))
        case "geometric_median":
            sae.b_dec.copy_(geometric_median(sample))

    directions = _directions(sae, generator)
    sae.W_dec.copy_(directions)
    if config.decoder_norm == "free":
        sae.W_dec.mul_(config.decoder_init_norm)
    sae.W_enc.copy_(directions if config.tied_init else _directions(sae, generator))
    sae.b_enc.zero_()

    part = sample[:1024]
    reconstruction = sae(part) - sae.b_dec
    energy = float(reconstruction.double().square().sum())
    if energy > 0:
        target = (part - sae.b_dec).double()
        factor = float((reconstruction.double() * target).sum()) / energy
        # untied directions fit nothing in particular: a factor near 0 or below would start them dead
        sae.W_enc.mul_(factor if config.tied_init else energy**-0.5 * float(target.norm()))


def _directions(sae: SAE, generator: torch.Generator) -> Tensor:
    """Random unit rows [d_sae, d_in]; drawn on the CPU, so that a seed means the same on every device."""
    rows = torch.randn(sae.d_sae, sae.d_in, generator=generator, dtype=torch.float32)
    return (rows / rows.norm(dim=1, keepdim=True)).to(sae.W_dec)
