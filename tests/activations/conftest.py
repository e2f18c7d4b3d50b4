"""Fixtures for the tests of activations."""

from __future__ import annotations

from tests.models.conftest import api, kinds, tiny_model

__all__ = ["api", "kinds", "tiny_model"]
