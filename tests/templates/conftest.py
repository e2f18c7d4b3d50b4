"""Fixtures for the tests of templates."""

from __future__ import annotations

from tests.models.conftest import api, kinds

__all__ = ["api", "kinds"]
