"""Fixtures for the tests of bad input: the whole application, its jobs run by the test."""

from __future__ import annotations

from tests.features.conftest import sae
from tests.models.conftest import api
from tests.training.conftest import cache, kinds, tiny_model, tokens

__all__ = ["api", "cache", "kinds", "sae", "tiny_model", "tokens"]
