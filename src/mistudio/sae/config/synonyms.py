"""Names under which settings are known elsewhere, each a second name of one of ours. Imports no PyTorch.

| other name | ours |
|---|---|
| `latent_dim` | `d_sae` |
| `total_steps` | `total_tokens`, in batches of `batch_size` |
| `checkpoint_interval` | `checkpoint_every` |
| `log_interval` | `log_every` |
| `l1_alpha` | `architecture.l1_coefficient`; JumpReLU's `architecture.sparsity_coefficient` |
| `target_l0` | `architecture.target_l0` of JumpReLU; `architecture.k` where a number of latents is kept |
| `weight_decay` | `optimizer.weight_decay` |
| `dead_neuron_threshold` | `dead_latent_window`; `dead_latents.dead_neuron_threshold` too where there is one |
| `resample_dead_neurons` | `dead_latents`: `resample` if true, `architecture` if false |
| `resample_interval` | `dead_latents.resample_interval` |

`hidden_dim`, `architecture` (as a name; `jumprelu`, `batchtopk` and `relu` too), `learning_rate`, `batch_size`,
`warmup_steps` and `grad_clip_norm` are the same in both. A synonym that is null is unset.
Giving a setting under both of its names is refused, and so is a name that nothing would read.
"""

from collections.abc import Mapping
from typing import Any, cast

_PLAIN = {"latent_dim": "d_sae", "checkpoint_interval": "checkpoint_every", "log_interval": "log_every"}
_SPARSITY = {
    "target_l0": {"jump_relu": "target_l0", "topk": "k", "batch_topk": "k", "matryoshka": "k"},
    "l1_alpha": {
        "standard": "l1_coefficient",
        "gated": "l1_coefficient",
        "jump_relu": "sparsity_coefficient",
    },
}
_KINDS = {"jumprelu": "jump_relu", "batchtopk": "batch_topk", "relu": "standard"}
_DEFAULT_ARCHITECTURE = "batch_topk"
_DEFAULT_BATCH = 4096
SYNONYMS = (
    *_PLAIN,
    *_SPARSITY,
    "total_steps",
    "weight_decay",
    "dead_neuron_threshold",
    "resample_dead_neurons",
    "resample_interval",
)


def in_our_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """A training's settings with every synonym replaced; what is no mapping inside is left for validation.

    Raises ValueError naming both names where a setting is given twice, or the synonym that nothing would read.
    """
    found = dict(given)
    kind = found.get("architecture")
    if isinstance(kind, str):
        found["architecture"] = {"kind": _KINDS.get(kind.lower(), kind)}
    if not found.keys() & set(SYNONYMS):
        return found
    for name, ours in _PLAIN.items():
        if name in found:
            _put(found, ours, found.pop(name), name)
    if "total_steps" in found:
        _total_steps(found)
    for name, homes in _SPARSITY.items():
        if name in found:
            _sparsity(found, name, homes)
    if "weight_decay" in found:
        _put(
            _group(found, "optimizer", "adam"),
            "weight_decay",
            found.pop("weight_decay"),
            "weight_decay",
            "optimizer.",
        )
    _dead_latents(found)
    return found


def _total_steps(found: dict[str, Any]) -> None:
    steps, batch = found.pop("total_steps"), found.get("batch_size", _DEFAULT_BATCH)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"total_steps must be a whole number of at least 1, not {steps!r}")
    if isinstance(batch, int):
        _put(found, "total_tokens", steps * batch, "total_steps")


def _sparsity(found: dict[str, Any], name: str, homes: Mapping[str, str]) -> None:
    value, architecture = found.pop(name), _group(found, "architecture", _DEFAULT_ARCHITECTURE)
    kind = str(architecture["kind"])
    if value is None and (kind != "jump_relu" or name == "l1_alpha"):
        return  # said to be unset
    if kind not in homes:
        raise ValueError(
            f"{name} is {value}, but the architecture {kind} has nothing that it would set: leave it out "
            f"(it is for {', '.join(homes)})"
        )
    ours = homes[kind]
    if kind == "jump_relu" and name == "l1_alpha" and "target_l0" not in architecture:
        architecture["target_l0"] = (
            None  # a coefficient alone asks for a constant one, not for one that is steered
        )
    _put(architecture, ours, value, name, "architecture.")


def _dead_latents(found: dict[str, Any]) -> None:
    names = ("resample_dead_neurons", "resample_interval", "dead_neuron_threshold")
    said = {name: found.pop(name) for name in names if name in found}
    if not said:
        return
    wanted = said.pop("resample_dead_neurons", None)
    if wanted is not None:
        if not isinstance(wanted, bool):
            raise ValueError(f"resample_dead_neurons must be true or false, not {wanted!r}")
        if "dead_latents" in found:
            raise ValueError("resample_dead_neurons and dead_latents are two names of one setting: give one")
        found["dead_latents"] = {"kind": "resample" if wanted else "architecture"}
    rule = _group(found, "dead_latents", "architecture")
    resamples = rule.get("kind") == "resample"
    if "dead_neuron_threshold" in said:
        threshold = said["dead_neuron_threshold"]
        _put(found, "dead_latent_window", threshold, "dead_neuron_threshold")
        if resamples:
            _put(rule, "dead_neuron_threshold", threshold, "dead_neuron_threshold", "dead_latents.")
    if "resample_interval" in said:
        if not resamples and wanted is not False:
            raise ValueError(
                f"resample_interval is {said['resample_interval']}, but dead latents are not resampled, so it would do "
                "nothing: set resample_dead_neurons, or leave it out"
            )
        if resamples:
            _put(rule, "resample_interval", said["resample_interval"], "resample_interval", "dead_latents.")


def _group(found: dict[str, Any], name: str, default: str) -> dict[str, Any]:
    """A group of settings as a mapping of our own, put in its place."""
    given = found.get(name, {"kind": default})
    if isinstance(given, str):
        given = {"kind": given}
    elif hasattr(given, "model_dump"):
        given = given.model_dump()
    elif not isinstance(given, Mapping):
        raise ValueError(f"{name} must be a group of settings, not {given!r}")
    found[name] = {"kind": default, **cast("Mapping[str, Any]", given)}
    return found[name]


def _put(home: dict[str, Any], ours: str, value: Any, name: str, group: str = "") -> None:
    if ours in home:
        raise ValueError(f"{name} and {group}{ours} are two names of one setting: give one of them")
    home[ours] = value
