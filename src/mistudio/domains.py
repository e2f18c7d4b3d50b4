"""The domains that make up the application, in pipeline order, and the plugins that the settings name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from sqlalchemy import MetaData

from mistudio.db import Base
from mistudio.domain import Domain, JobKind, TemplateKind
from mistudio.errors import StudioError

_BUILT_IN = (
    "mistudio.jobs",
    "mistudio.hub",
    "mistudio.models",
    "mistudio.templates",
    "mistudio.datasets",
    "mistudio.activations",
    "mistudio.saes",
    "mistudio.training",
    "mistudio.features",
    "mistudio.labels",
    "mistudio.steering",
    "mistudio.monitor",
)


def all_domains(plugins: Sequence[str] = ()) -> list[Domain]:
    """Every domain, built-in first. Raises StudioError `plugin_not_found` for a plugin that cannot be imported."""
    domains: list[Domain] = [importlib.import_module(name).domain for name in _BUILT_IN]
    for name in plugins:
        try:
            domains.append(importlib.import_module(name).domain)
        except (ImportError, AttributeError) as error:
            raise StudioError(
                "plugin_not_found", f"The plugin “{name}” cannot be imported or has no `domain`."
            ) from error
    return domains


def job_kinds(domains: Sequence[Domain]) -> dict[str, JobKind]:
    """The job kinds of these domains by name."""
    return {kind.name: kind for domain in domains for kind in domain.job_kinds}


def template_kinds(domains: Sequence[Domain]) -> dict[str, TemplateKind]:
    """The template kinds of these domains by name."""
    return {kind.name: kind for domain in domains for kind in domain.template_kinds}


def import_tables(domains: Sequence[Domain]) -> MetaData:
    """Import every table module and return the metadata that holds them all."""
    for domain in domains:
        if domain.tables:
            importlib.import_module(domain.tables)
    return Base.metadata
