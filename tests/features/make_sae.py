"""A small SAE with random directions, registered."""

from __future__ import annotations

from typing import Any

import torch

from mistudio.sae import SAE, TopKConfig
from mistudio.saes.library import register_sae

HOOK = "blocks.1.hook_resid_post"


def random_sae(d_in: int = 32, d_sae: int = 48, k: int = 4, seed: int = 0) -> SAE:
    """Random directions of different lengths; the first latent is dead."""
    generator = torch.Generator().manual_seed(seed)
    sae = SAE(TopKConfig(k=k), d_in, d_sae, metadata={"hook_name": HOOK, "model_name": "tiny"})
    for parameter in sae.parameters():
        scale = 1.0 if parameter.ndim == 2 else 0.1
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    sae.b_enc[0] = -1e6
    return sae


def add_sae(settings: Any, database: Any, model_id: str | None, **fields: Any) -> str:
    """Register a random SAE; returns its id."""
    with database.session() as session:
        row = register_sae(
            session,
            settings,
            random_sae(),
            **{"name": "random", "model_id": model_id, "hook": HOOK, "metrics": {"fvu": 0.5}} | fields,
        )
        return row.id
