"""What a domain (data sets, training, …) contributes to the application, named by import path.

Everything heavy is a string, so that listing the domains imports neither torch nor transformers: a job's work is
imported only inside the process that runs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Resource = Literal["cpu", "gpu", "io"]


@dataclass(frozen=True)
class JobKind:
    """One kind of long work.

    `work` is `module:function`, called as `function(context, params)` inside the job process.
    `params` is `module:Model`, the pydantic model that validates the job's parameters.
    `resource` is the slot it takes: `gpu` means "an accelerator where there is one, else a cpu slot".
    `resumable` kinds go back to the queue after their process, server or machine died; others fail as interrupted.
    """

    name: str
    work: str
    params: str
    resource: Resource = "cpu"
    resumable: bool = False


@dataclass(frozen=True)
class TemplateKind:
    """A kind of settings that people keep under a name (`mistudio.templates`).

    `schema` is `module:Model`, the pydantic model that such settings must fit and whose defaults they take.
    `architecture` is the dotted path in the settings of what they can be told apart by, if there is one.
    `shipped` is `package:file`, a file of templates that come with the code.
    """

    name: str
    title: str
    schema: str
    architecture: str | None = None
    shipped: str | None = None


@dataclass(frozen=True)
class Domain:
    """A folder of the package that a user sees as one thing.

    `tables` is the module that defines its SQL tables; `router` a `module:APIRouter` mounted under `/api/v1`;
    `commands` a `module:Typer` added to the command line under `name`; `snapshots` maps a channel prefix to a
    `module:function(session, channel) -> dict` that reads the state which a joining client is given.
    """

    name: str
    tables: str | None = None
    router: str | None = None
    commands: str | None = None
    job_kinds: tuple[JobKind, ...] = ()
    template_kinds: tuple[TemplateKind, ...] = ()
    snapshots: Mapping[str, str] = field(default_factory=dict[str, str])


def load(path: str) -> Any:
    """Import the object named by `package.module:attribute`."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
