"""Which settings may change while a training runs, and what changing one makes of the rest. Imports no PyTorch."""

from typing import Any, cast

from mistudio.sae.config.trainer import TrainerConfig

_SPARSITY = ("k", "target_l0", "sparsity_coefficient", "l1_coefficient")
LENGTH = "total_tokens"
"""How long a training is: changes between two attempts, when a run is continued."""


def live_settings(config: TrainerConfig) -> dict[str, float]:
    """The settings that may change while a training runs, by their full names, with their present values.

    The learning rate (the full one, of which the schedule takes its share) and what sets the architecture's sparsity.
    Where a target L0 steers the coefficient, the target may change and the coefficient may not.
    """
    found: dict[str, float] = {"learning_rate": config.learning_rate}
    architecture = config.architecture
    steered = getattr(architecture, "target_l0", None) is not None
    for name in _SPARSITY:
        value = getattr(architecture, name, None)
        if value is not None and not (steered and name == "sparsity_coefficient"):
            found[f"architecture.{name}"] = value
    return found


def full_name(config: TrainerConfig, name: str) -> str:
    """The full name of a setting that may change, or of the length, given as `k` or `architecture.k`.

    Raises ValueError, naming what may change, for any other.
    """
    if name == LENGTH:
        return name
    known = live_settings(config)
    for full in (name, f"architecture.{name}"):
        if full in known:
            return full
    raise ValueError(f"{name} cannot change while a training runs; {' and '.join(known)} can")


def changed(config: TrainerConfig, name: str, value: float) -> TrainerConfig:
    """The settings with another value of one that may change, or with another `total_tokens`.

    Raises ValueError (pydantic's ValidationError for a value out of range).
    """
    name = full_name(config, name)
    values = config.model_dump()
    group, _, inner = name.rpartition(".")
    (values[group] if group else values)[inner] = value
    return TrainerConfig.model_validate(values)


def value_of(config: TrainerConfig, name: str) -> float:
    """The present value of a setting by its full name."""
    group, _, inner = name.rpartition(".")
    return getattr(getattr(config, group) if group else config, inner)


_ON_THE_SIDE = ("keep_checkpoints", "best_checkpoint")


def differences(ours: TrainerConfig, theirs: TrainerConfig) -> list[str]:
    """The full names of settings in which two trainings differ, but for those that only say what is kept of them."""
    left, right = flat_settings(ours), flat_settings(theirs)
    names = sorted(left.keys() | right.keys())
    return [n for n in names if n not in _ON_THE_SIDE and left.get(n, _ABSENT) != right.get(n, _ABSENT)]


_ABSENT = object()


def flat_settings(config: TrainerConfig) -> dict[str, Any]:
    """All settings by their full names, as JSON."""
    found: dict[str, Any] = {}
    for name, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": one for inner, one in cast("dict[str, Any]", value).items()}
        else:
            found[name] = value
    return found
