"""Everything a steering session needs: a tiny model, a registered SAE and its extraction."""

from __future__ import annotations

from tests.labels.conftest import cache, extraction, kinds, sae, tiny_model, tokens
from tests.models.conftest import api

__all__ = ["api", "cache", "extraction", "kinds", "sae", "tiny_model", "tokens"]
