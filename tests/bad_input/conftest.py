"""Fixtures for the tests of bad input: the whole application, its jobs run by the test."""

from __future__ import annotations

from tests.models.conftest import api, kinds, tiny_model

__all__ = ["api", "kinds", "tiny_model"]
