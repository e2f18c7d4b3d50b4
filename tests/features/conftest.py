"""Fixtures for the tests of features: a tiny model with tokens, a cache, and a registered SAE."""

from __future__ import annotations

from typing import Any

import pytest

from tests.features.make_sae import add_sae
from tests.training.conftest import cache, kinds, tiny_model, tokens

__all__ = ["cache", "kinds", "tiny_model", "tokens"]


@pytest.fixture
def sae(settings: Any, database: Any, tiny_model: Any) -> str:
    """The id of a random TopK SAE of 48 latents at the tiny model's hook point."""
    return add_sae(settings, database, tiny_model.id)
