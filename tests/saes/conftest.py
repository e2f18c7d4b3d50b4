"""Fixtures for the tests of SAEs."""

from tests.models.conftest import kinds, tiny_model

__all__ = ["kinds", "tiny_model"]
