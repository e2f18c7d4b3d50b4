"""Naming many hook points at once, in a way that another model understands too.

The layer of a block's hook point may be a pattern: `blocks.*.hook_resid_post` is every layer, `blocks.0-5.hook_mlp_out`
the first six, `blocks.*/3.hook_resid_post` every third from layer 0 on, `blocks.4-20/4.hook_resid_post` every fourth of
those, and `blocks.50%.hook_resid_post` the layer nearest to half of the depth. `blocks.6.*` is all of block 6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_PATTERN = re.compile(
    r"blocks\.(?:(?P<percent>\d{1,3})%|(?:(?P<all>\*)|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>[1-9]\d*))?)"
    r"\.(?P<place>\*|hook_\w+|attn\.hook_z)"
)


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern rather than the name of one hook point."""
    return bool(_PATTERN.fullmatch(name.strip())) and bool(set(name) & set("*%/-"))


def expand_hooks(patterns: Iterable[str], names: Sequence[str], n_layers: int) -> tuple[list[str], list[str]]:
    """The hook points among `names` that the patterns name, in the order of the patterns, and patterns that name none.

    What is no pattern is passed on as it stands: whether the model has it is for the caller to say.
    """
    found: dict[str, None] = {}
    nothing: list[str] = []
    for pattern in patterns:
        if not is_pattern(pattern):
            found[pattern.strip()] = None
            continue
        match = _PATTERN.fullmatch(pattern.strip())
        assert match is not None
        wanted = [
            name for layer in _layers(match, n_layers) for name in _in_layer(names, layer, match["place"])
        ]
        if not wanted:
            nothing.append(pattern)
        found |= dict.fromkeys(wanted)
    return list(found), nothing


def _layers(match: re.Match[str], n_layers: int) -> list[int]:
    if match["percent"] is not None:
        share = min(100, int(match["percent"])) / 100
        return [int(share * (n_layers - 1) + 0.5)] if n_layers else []
    first, last = 0, n_layers - 1
    if match["all"] is None:
        first = int(match["first"])
        last = min(last, int(match["last"] or first))
    return list(range(first, last + 1, int(match["step"] or 1)))


def _in_layer(names: Sequence[str], layer: int, place: str) -> list[str]:
    start = f"blocks.{layer}."
    return [name for name in names if name.startswith(start) and place in ("*", name.removeprefix(start))]
