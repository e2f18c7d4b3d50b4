"""Fixtures for the tests of SAEs."""

from tests.models.conftest import api, kinds, tiny_model

__all__ = ["api", "kinds", "tiny_model"]
