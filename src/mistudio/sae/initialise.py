"""Where a training starts: decoder directions, encoder, biases."""

import torch
from torch import Tensor

from mistudio.sae.architectures import StepContext
from mistudio.sae.config import TrainerConfig
from mistudio.sae.dictionary import SAE

_PIECE_ROWS = 1024


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

    Decoder directions are uniform on the sphere, or lie towards tokens of the sample. The encoder lies along them
    (tied) or along others (random ones, or towards the same tokens in x), scaled by the one factor that makes the
    first reconstructions best (tied) or of the right size (not tied): a dictionary of any width and sparsity then
    starts near the data instead of far beyond it.
    """
    match config.decoder_bias_init:
        case "zeros":
            sae.b_dec.zero_()
        case "mean":
            sae.b_dec.copy_(y.mean(0))
        case "geometric_median":
            sae.b_dec.copy_(geometric_median(y))

    start, stop = sae.shards.span(config.d_sae)
    rows = _Directions(config.d_sae, start, stop, generator)
    if config.decoder_init == "data":
        rows.tokens = torch.randperm(x.shape[0], generator=generator)[: config.d_sae]
    rows.fill(sae.W_dec, y, sae.b_dec)
    if tied:
        sae.W_enc.copy_(sae.W_dec)
    else:
        rows.fill(sae.W_enc, x, sae.b_dec if sae.apply_b_dec_to_input else x.mean(0))
    sae.W_dec.div_(sae.decoder_norms()[:, None])
    if config.decoder_norm == "free":
        sae.W_dec.mul_(config.decoder_init_norm)
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


class _Directions:
    """Unit rows for the latents start … stop of `d_sae`, the same whichever of them are asked for.

    Random ones are drawn on the CPU, so that a seed means the same on every device, and in pieces, so that a
    dictionary spread over ranks is never in one place.
    """

    def __init__(self, d_sae: int, start: int, stop: int, generator: torch.Generator) -> None:
        self.d_sae, self.start, self.stop = d_sae, start, stop
        self.generator = generator
        self.tokens: Tensor | None = None
        """for the first latents, the token of the sample that each lies towards"""

    def fill(self, weights: Tensor, sample: Tensor, centre: Tensor) -> None:
        """Rows [stop − start, d]: at random, or from `centre` [d] towards tokens of `sample` [N, d]."""
        for first in range(0, self.d_sae, _PIECE_ROWS):
            last = min(first + _PIECE_ROWS, self.d_sae)
            drawn = torch.randn(last - first, weights.shape[1], generator=self.generator, dtype=torch.float32)
            a, b = max(first, self.start), min(last, self.stop)
            if a < b:
                rows = drawn[a - first : b - first]
                weights[a - self.start : b - self.start] = (rows / rows.norm(dim=1, keepdim=True)).to(weights)
        if self.tokens is not None:
            towards = sample[self.tokens[self.start : self.stop].to(sample.device)] - centre
            norms = towards.norm(dim=1, keepdim=True)
            # a token that lies at the centre points nowhere: its latent keeps a random direction
            kept = weights[: towards.shape[0]]
            kept.copy_(torch.where(norms > 0, towards / norms.clamp_min(torch.finfo(norms.dtype).tiny), kept))
