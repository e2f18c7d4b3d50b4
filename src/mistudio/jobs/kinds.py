"""The kinds of jobs that this process knows, registered at its start by whoever assembled the domains."""

from __future__ import annotations

from collections.abc import Mapping

from mistudio.domain import JobKind

_kinds: dict[str, JobKind] = {}


def register_kinds(kinds: Mapping[str, JobKind]) -> None:
    """Make these kinds known; a later registration of a name replaces the earlier one."""
    _kinds.update(kinds)


def job_kind(name: str) -> JobKind:
    """The kind of this name. Raises LookupError for a kind that no registered domain has."""
    if name not in _kinds:
        raise LookupError(f"no registered domain has the job kind {name!r}")
    return _kinds[name]
