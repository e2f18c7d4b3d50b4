"""The dictionary that a training's settings describe, before it has learned anything."""

from dataclasses import dataclass

import torch

from mistudio.sae.config import TrainerConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.distributed import ALONE, Ranks, Split
from mistudio.sae.errors import SAEError


@dataclass(frozen=True)
class Shape:
    """The activations that a dictionary is for."""

    d_in: int
    d_out: int | None = None
    """of a transcoder"""
    n_sites: int = 1


def refuse_unfit(config: TrainerConfig, transcodes: bool, ranks: Ranks, split: Split) -> None:
    """Raise SAEError for settings that do not go with a transcoder, an autoencoder, or several ranks."""
    if config.skip_connection and not transcodes:
        raise SAEError(
            "A skip connection would let an autoencoder copy its input.",
            hint="Turn skip_connection off, or give a transcoder's target.",
        )
    if transcodes and config.normalize_activations in ("unit_norm", "layer_norm"):
        raise SAEError(
            f"{config.normalize_activations} cannot be undone in a transcoder, which does not know the norms "
            "of what it predicts.",
            hint="Set normalize_activations to expected_average_only_in or none.",
        )
    if split == "batch" or ranks.size == 1:
        return
    k, least = getattr(config.architecture, "k", 1), config.d_sae // ranks.size
    if least < k:
        raise SAEError(
            f"{config.d_sae} latents over {ranks.size} ranks leave {least} to each, fewer than k = {k}.",
            hint="Use fewer ranks, or split over the batch.",
        )


def untrained(
    config: TrainerConfig,
    shape: Shape,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    shards: Ranks = ALONE,
) -> SAE:
    """A dictionary of zeros; of several `shards` the rows of this one."""
    start, stop = shards.span(config.d_sae)
    normalize, transcodes = config.normalize_activations, shape.d_out is not None
    sae = SAE(
        config.architecture,
        shape.d_in,
        stop - start,
        d_out=shape.d_out,
        n_sites=shape.n_sites,
        skip=config.skip_connection and transcodes,
        apply_b_dec_to_input=config.apply_b_dec_to_input and not transcodes,
        decoder_norm=config.decoder_norm,
        token_norm=normalize if normalize in ("unit_norm", "layer_norm") else "none",
        device=device,
        dtype=dtype,
    )
    sae.shards = shards
    return sae
