"""A finished extraction of a random SAE on a tiny model, and a loopback OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mistudio.activations.harvesting import open_cache
from mistudio.features.library import create_extraction
from mistudio.features.schemas import ExtractionCreate
from mistudio.sae import SAE, TopKConfig
from mistudio.saes.library import register_sae
from tests.features.conftest import cache, kinds, tiny_model, tokens
from tests.features.make_sae import HOOK
from tests.labels.loopback import Endpoint
from tests.models.job_runs import run_here

__all__ = ["cache", "kinds", "tiny_model", "tokens"]


@pytest.fixture
def sae(settings: Any, database: Any, tiny_model: Any, cache: str) -> str:
    """The id of an SAE whose 48 latents each answer to one activation that occurs; the first is dead."""
    found = open_cache(settings, cache)
    x = torch.from_numpy(found.read(HOOK, 0, found.n_tokens))
    mean = x.mean(0)
    chosen = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:48]] - mean
    directions = torch.nn.functional.normalize(chosen, dim=1)
    made = SAE(TopKConfig(k=2), 32, 48, metadata={"hook_name": HOOK})
    made.W_enc.copy_(directions)
    made.W_dec.copy_(directions)
    made.b_dec.copy_(mean)
    made.b_enc[0] = -1e6
    with database.session() as session:
        return register_sae(session, settings, made, name="nearest", model_id=tiny_model.id, hook=HOOK).id


@pytest.fixture
def extraction(settings: Any, database: Any, cache: str, sae: str) -> str:
    """The id of a finished extraction of 48 latents, the first of which is dead."""
    with database.session() as session:
        made, job = create_extraction(session, sae, ExtractionCreate())
    run_here(settings, database, job.id)
    return made.id


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A server on this machine that speaks the chat completions protocol."""
    server = Endpoint()
    with server:
        yield server
