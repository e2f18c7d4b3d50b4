"""A model as a tree of its modules: shapes, parameters and the hook points at each, equal blocks folded into one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from mistudio.lm.hooks import parse_hook
from mistudio.lm.model import LanguageModel


@dataclass(frozen=True)
class HookSite:
    """A hook point of a module: at its input (`side` "in") or its output."""

    name: str
    kind: str
    side: str
    d: int


@dataclass(frozen=True)
class ModuleNode:
    """One module.

    path: from the Transformers model, as `get_submodule` takes it; "" is the model itself.
    shapes: its own parameters' shapes by name. parameters: all of them below it, each counted where it is met first.
    tied: names of its own parameters that are another module's too (a tied unembedding).
    last: where neighbours in a list are built alike they are one node, for the indices from its own name to `last`;
        what it says is said of the first of them.
    """

    name: str
    path: str
    kind: str
    parameters: int
    shapes: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    tied: list[str] = field(default_factory=list[str])
    hooks: list[HookSite] = field(default_factory=list[HookSite])
    last: int | None = None
    children: list[ModuleNode] = field(default_factory=list["ModuleNode"])


def module_tree(model: LanguageModel) -> dict[str, Any]:
    """The tree as plain data, ready for JSON: nested `ModuleNode`s."""
    sites: dict[str, list[HookSite]] = {}
    for point in model.hook_points():
        path, side = model.place_of(point.name)
        sites.setdefault(path, []).append(HookSite(point.name, point.kind, side, point.d))
    return asdict(_node("", "", model.hf, sites, set()))


def _node(
    name: str, path: str, module: nn.Module, sites: dict[str, list[HookSite]], met: set[int]
) -> ModuleNode:
    own = dict(module.named_parameters(recurse=False))
    tied = [key for key, parameter in own.items() if id(parameter) in met]
    counted = sum(p.numel() for key, p in own.items() if key not in tied)
    met.update(id(parameter) for parameter in own.values())
    children = [
        _node(key, f"{path}.{key}" if path else key, child, sites, met)
        for key, child in module.named_children()
    ]
    counted += sum(child.parameters for child in children)
    return ModuleNode(
        name=name,
        path=path,
        kind=type(module).__name__,
        parameters=counted,
        shapes={key: list(parameter.shape) for key, parameter in own.items()},
        tied=tied,
        hooks=sites.get(path, []),
        children=_folded(children) if isinstance(module, nn.ModuleList) else children,
    )


def _folded(children: list[ModuleNode]) -> list[ModuleNode]:
    folded: list[ModuleNode] = []
    for child in children:
        if folded and _form(folded[-1]) == _form(child):
            folded[-1] = replace(folded[-1], last=int(child.name))
        else:
            folded.append(child)
    return folded


def _form(node: ModuleNode) -> Any:
    """What makes two modules alike: everything but where they stand."""
    hooks = [(parse_hook(site.name).kind, site.side, site.d) for site in node.hooks]
    children = [(child.name, child.last, _form(child)) for child in node.children]
    return (node.kind, node.parameters, node.shapes, node.tied, hooks, children)
