"""Hook points named by patterns of layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.activations.hook_patterns import expand_hooks, is_pattern

NAMES = [
    f"blocks.{layer}.{place}"
    for layer in range(7)
    for place in ("hook_resid_pre", "attn.hook_z", "hook_resid_post")
]


def layers(pattern: str) -> list[int]:
    found, nothing = expand_hooks([pattern], NAMES, 7)
    assert bool(found) != bool(nothing)
    return [int(name.split(".")[1]) for name in found]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("blocks.*.hook_resid_post", [0, 1, 2, 3, 4, 5, 6]),
        ("blocks.*/3.hook_resid_post", [0, 3, 6]),
        ("blocks.2-4.attn.hook_z", [2, 3, 4]),
        ("blocks.1-6/2.hook_resid_pre", [1, 3, 5]),
        ("blocks.4-99.hook_resid_pre", [4, 5, 6]),
        ("blocks.0%.hook_resid_post", [0]),
        ("blocks.50%.hook_resid_post", [3]),
        ("blocks.100%.hook_resid_post", [6]),
        ("blocks.5.*", [5, 5, 5]),
        ("blocks.8-9.hook_resid_post", []),
        ("blocks.*.hook_nothing", []),
    ],
)
def test_patterns_name_layers(pattern: str, expected: list[int]) -> None:
    assert is_pattern(pattern)
    assert layers(pattern) == expected


def test_names_are_passed_on_and_doubles_are_taken_once() -> None:
    wanted = ["model.layers.3.mlp", NAMES[2], "blocks.0.*", "blocks.77.hook_resid_post"]
    found, nothing = expand_hooks(wanted, NAMES, 7)
    assert found == ["model.layers.3.mlp", NAMES[2], NAMES[0], NAMES[1], "blocks.77.hook_resid_post"]
    assert nothing == []


@given(st.integers(1, 100), st.integers(0, 120))
def test_a_share_of_the_depth_is_always_a_layer(n_layers: int, percent: int) -> None:
    names = [f"blocks.{layer}.hook_resid_post" for layer in range(n_layers)]
    found, nothing = expand_hooks([f"blocks.{percent}%.hook_resid_post"], names, n_layers)
    assert nothing == [] and len(found) == 1
    assert abs(names.index(found[0]) - min(percent, 100) / 100 * (n_layers - 1)) <= 0.5
