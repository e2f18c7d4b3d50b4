"""A batch as a dictionary in training knows it: scaled, so that hyperparameters carry over between models."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEError

Scales = tuple[list[float], list[float]]
"""what x and y are multiplied by, for each site"""


@dataclass(frozen=True)
class NormalisedBatch:
    """Activations in the units that training uses."""

    x: Tensor
    """[N, d_in]"""
    y: Tensor
    """[N, d_out]: x itself, but for transcoders"""
    unit: Tensor
    """what brings differences in y back to the model's own units: a scalar, [d_out] or [N, 1]"""
    shift: Tensor | None = None
    """[N, 1]: what is then still to be added, where tokens are normalised one by one"""

    def rows(self, start: int, stop: int) -> "NormalisedBatch":
        """Some consecutive tokens of it."""
        by_token = self.unit.ndim == 2
        return NormalisedBatch(
            self.x[start:stop],
            self.y[start:stop],
            self.unit[start:stop] if by_token else self.unit,
            None if self.shift is None else self.shift[start:stop],
        )


def activation_scales(sample: Tensor, n_sites: int = 1) -> list[float]:
    """√d / mean ‖x‖ over a sample [N, n_sites·d], for each site: the factors that bring the average norms to √d."""
    mean_norms = sample.double().unflatten(1, (n_sites, -1)).norm(dim=2).mean(0)
    if bool((mean_norms == 0).any()):
        raise SAEError(
            "All activations of the first batch are zero, so they cannot be normalised.",
            hint="Check the hook point, or set normalize_activations to none.",
        )
    return ((sample.shape[1] // n_sites) ** 0.5 / mean_norms).tolist()


def as_row(scales: list[float], like: Tensor, width: int) -> Tensor:
    """Scales as a factor of rows: a scalar, or one number for each of the `width` entries of a crosscoder's input."""
    if len(scales) == 1:
        return like.new_tensor(scales[0])
    return like.new_tensor(scales).repeat_interleave(width // len(scales))


def normalised(sae: SAE, x: Tensor, y: Tensor, scales: Scales) -> NormalisedBatch:
    """x [N, d_in] and y [N, d_out] as the dictionary knows them; y may be x."""
    if sae.token_norm != "none":
        scaled, frame = sae.normalise(x)
        assert frame is not None
        return NormalisedBatch(scaled, scaled, frame.scale, frame.mean)
    scale_in, scale_out = as_row(scales[0], x, sae.d_in), as_row(scales[1], y, sae.d_out)
    scaled = x * scale_in
    return NormalisedBatch(scaled, scaled if y is x else y * scale_out, torch.reciprocal(scale_out))
