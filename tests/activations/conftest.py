"""Fixtures for the tests of activations."""

from __future__ import annotations

from tests.models.conftest import kinds, tiny_model

__all__ = ["kinds", "tiny_model"]
