"""What is to be trained: where a dictionary reads and writes, its settings, and grids of such runs.

Imports no PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import product
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from mistudio.engine.errors import EngineError
from mistudio.sae.config import TrainerConfig
from mistudio.sae.config.synonyms import SYNONYMS, in_our_names

_Settings = TypeVar("_Settings", bound=BaseModel)


def _unions() -> dict[str, dict[str, type[BaseModel]]]:
    """The settings that are a choice of several kinds, each with its own settings: {name: {kind: its class}}."""
    found: dict[str, dict[str, type[BaseModel]]] = {}
    for name, one in TrainerConfig.model_fields.items():
        if one.discriminator == "kind":
            found[name] = {option.model_fields["kind"].default: option for option in get_args(one.annotation)}
    return found


KINDS = _unions()
# What sets an architecture's sparsity: the first of these that it has.
_SPARSITY = {"k": "k", "target_l0": "L0", "sparsity_coefficient": "λ", "l1_coefficient": "λ"}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


class SettingsRefused(EngineError):
    """Settings that no training can have: unknown, out of range, or at odds with each other."""

    code = "settings_refused"


@dataclass(frozen=True)
class Run:
    """One dictionary to be trained, beside others on the same activations.

    hook: what an autoencoder reads and writes, or what a transcoder reads.
    hook_out: what a transcoder writes.
    hooks: the layers that a crosscoder reads and writes, instead of `hook`.
    name: what it is called in results, in progress and on the disk; made of the settings when it is empty.
    """

    hook: str = ""
    hook_out: str | None = None
    hooks: tuple[str, ...] = ()
    config: TrainerConfig = field(default_factory=TrainerConfig)
    name: str = ""

    def __post_init__(self) -> None:
        if bool(self.hook) == bool(self.hooks):
            raise SettingsRefused(
                "A run needs one hook point, or several of a crosscoder.",
                'Name hook="blocks.6.hook_resid_post", or hooks=["blocks.5.…", "blocks.6.…"], not both.',
            )
        if len(set(self.hooks)) < len(self.hooks):
            raise SettingsRefused(f"A crosscoder reads each hook point once, not {', '.join(self.hooks)}.")
        if self.hooks and self.hook_out:
            raise SettingsRefused("A crosscoder writes what it reads: hook_out does not go with hooks.")

    @property
    def reads(self) -> tuple[str, ...]:
        """Hook points whose activations, side by side, are read."""
        return self.hooks or (self.hook,)

    @property
    def writes(self) -> tuple[str, ...]:
        """Hook points whose activations are reconstructed or predicted."""
        return (self.hook_out,) if self.hook_out else self.reads

    @property
    def transcodes(self) -> bool:
        """Whether it writes another hook point than it reads."""
        return self.reads != self.writes

    @property
    def title(self) -> str:
        """Its name; without one, what it reads, writes and how wide and sparse it is."""
        if self.name:
            return self.name
        place = "+".join(self.reads) + (f" to {self.hook_out}" if self.transcodes else "")
        return f"{place} {describe(self.config)}"


def describe(config: TrainerConfig) -> str:
    """A short name of a dictionary's settings: architecture, what sets its sparsity, width."""
    architecture = config.architecture
    for name, short in _SPARSITY.items():
        value = getattr(architecture, name, None)
        if value is not None:
            return f"{architecture.kind} {short}={value:g} d={config.d_sae}"
    return f"{architecture.kind} d={config.d_sae}"


def settings(config: TrainerConfig | Mapping[str, Any] | None = None, **changes: Any) -> TrainerConfig:
    """A training's settings, with changes by name.

    A change names a setting of the training (`d_sae=4096`), or one of the chosen architecture, optimiser or treatment
    of dead latents (`k=32`, or with its group `**{"optimizer.weight_decay": 0.1}`). A group itself may be a kind
    (`architecture="jump_relu"`), a mapping or a config; another kind starts from its defaults. The names of
    `sae.config.synonyms` do too.
    Raises SettingsRefused with one sentence: an unknown name (and the nearest), a value out of range, k > d_sae.
    """
    try:
        values = config.model_dump() if isinstance(config, TrainerConfig) else in_our_names(config or {})
        changes = _in_our_names(values, changes)
    except ValueError as error:
        raise SettingsRefused(f"{error}.") from error
    groups = {name: _chosen(name, values.get(name), changes.pop(name, None)) for name in KINDS}
    for name, value in changes.items():
        group, _, inner = name.rpartition(".")
        if not group and name in TrainerConfig.model_fields:
            values[name] = value
            continue
        homes = [
            g for g, chosen in groups.items() if group in ("", g) and inner in _fields(g, chosen) - {"kind"}
        ]
        if not homes:
            raise _unknown(name, groups)
        groups[homes[0]][inner] = value
    try:
        return TrainerConfig.model_validate({**values, **groups})
    except ValidationError as error:
        raise SettingsRefused(sentence(error)) from error


def _in_our_names(values: Mapping[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Changes with synonyms replaced, as they are meant for the architecture, optimiser and batch size that result."""
    if not changes.keys() & set(SYNONYMS):
        return changes
    kinds: dict[str, Any] = {}
    for group in KINDS.keys() - changes.keys():
        if group != "dead_latents" or "resample_dead_neurons" not in changes:
            chosen = values.get(group) or TrainerConfig.model_fields[group].default.model_dump()
            kinds[group] = {"kind": chosen["kind"]}
    batch = {} if "batch_size" in changes else {"batch_size": values.get("batch_size", 4096)}
    found = in_our_names({**batch, **kinds, **changes})
    for name in batch:
        del found[name]
    for group in KINDS.keys() & found.keys():
        if isinstance(changes.get(group), (str, type(None))):
            inner = dict(found.pop(group))
            kind = inner.pop("kind")
            found |= {group: kind} if group not in kinds else {}
            found |= {f"{group}.{name}": value for name, value in inner.items()}
    return found


def _chosen(group: str, before: Any, wanted: Any) -> dict[str, Any]:
    """One group's settings: those there were, or those wanted in their place."""
    default = TrainerConfig.model_fields[group].default.model_dump()
    before = (
        {**default, **(before or {})}
        if (before or {}).get("kind", default["kind"]) == default["kind"]
        else before
    )
    if wanted is None or wanted == before["kind"]:
        return dict(before)
    if isinstance(wanted, str):
        wanted = {"kind": wanted}
    elif not isinstance(wanted, Mapping):
        wanted = wanted.model_dump()
    kinds, kind = KINDS[group], wanted.get("kind", default["kind"])
    if kind not in kinds:
        near = get_close_matches(str(kind), kinds, n=1)
        raise SettingsRefused(
            f"There is no {group} '{kind}' to train with.",
            (f"Did you mean '{near[0]}'? " if near else "") + f"There are {', '.join(kinds)}.",
        )
    return {"kind": kind, **wanted}


def _fields(group: str, chosen: Mapping[str, Any]) -> set[str]:
    return set(KINDS[group][chosen["kind"]].model_fields)


def _unknown(name: str, groups: Mapping[str, Mapping[str, Any]]) -> SettingsRefused:
    known = {
        *TrainerConfig.model_fields,
        *(f for g, chosen in groups.items() for f in _fields(g, chosen)),
    } - {"kind"}
    near = get_close_matches(name.rpartition(".")[2], sorted(known), n=1, cutoff=0.5)
    return SettingsRefused(
        f"A training with the architecture {groups['architecture']['kind']} has no setting '{name}'.",
        f"Did you mean '{near[0]}'?" if near else f"It has {', '.join(sorted(known))}.",
    )


def stored_settings(stored: Mapping[str, Any]) -> TrainerConfig:
    """The settings of a run of the past, to be shown.

    They need not pass today's checks: what was trained under looser ones stays readable. Raises KeyError or
    ValidationError only for what never was a training's settings.
    """
    try:
        return TrainerConfig.model_validate(stored)
    except ValidationError:
        known = {name: value for name, value in stored.items() if name in TrainerConfig.model_fields}
        for name in KINDS.keys() & known.keys():
            known[name] = KINDS[name][known[name]["kind"]].model_construct(**known[name])
        return TrainerConfig.model_construct(**known)


def sentence(error: ValidationError, of: type[BaseModel] | None = None) -> str:
    """What is wrong with the first refused setting (`of` these settings), in one sentence."""
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"]]
    # pydantic names the chosen kind of a group behind the group
    before = ["", *loc]
    place = ".".join(
        part for group, part in zip(before, loc, strict=False) if part not in KINDS.get(group, {})
    )
    if first["type"] in _BOUNDS:
        words, limit = _BOUNDS[first["type"]]
        return f"{place} must be {words} {first.get('ctx', {}).get(limit)}, not {first['input']}."
    if first["type"] == "extra_forbidden":
        near = get_close_matches(loc[-1], list(of.model_fields) if of else [], n=1, cutoff=0.5)
        return f"There is no setting '{place}'." + (f" Did you mean '{near[0]}'?" if near else "")
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{place}: {said} (got {first['input']!r})." if place else f"{said}."


def checked(kind: type[_Settings], given: Mapping[str, Any]) -> _Settings:
    """Settings of that kind. Raises SettingsRefused with one sentence."""
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        raise SettingsRefused(sentence(error, kind)) from error


def sweep(base: Run, grid: Mapping[str, Sequence[Any]]) -> list[Run]:
    """Every combination of a grid's values, as runs named after them.

    base: the run that all others vary. grid: values by name: of settings as `settings` takes them
    (`{"k": [16, 32], "learning_rate": [1e-4, 3e-4]}`), or of `hook`, `hook_out`, `hooks`.
    Runs of one list that share hook points share the model's passes.
    """
    runs: list[Run] = []
    for name, values in grid.items():
        if isinstance(values, str) or not len(values):
            raise SettingsRefused(f"The grid needs a list of one or more values for {name}, not {values!r}.")
    for values in product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        parts = [base.name] if base.name else []
        parts += [f"{name.rpartition('.')[2]}={_word(value)}" for name, value in chosen.items()]
        places = {name: chosen.pop(name) for name in ("hook", "hook_out", "hooks") if name in chosen}
        if "hooks" in places:
            places = {"hook": "", **places, "hooks": tuple(places["hooks"])}
        changed = replace(base, **places, config=settings(base.config, **chosen), name=" ".join(parts))
        runs.append(changed)
    return runs


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "+".join(map(_word, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return str(getattr(value, "kind", value))


def named_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs with names that differ; those without one are named after their settings.

    Raises SettingsRefused when two have been given the same name.
    """
    given = [run.name for run in runs if run.name]
    for name in given:
        if given.count(name) > 1:
            raise SettingsRefused(f"Two runs are called '{name}'.", "Give each a name of its own.")
    taken = set(given)
    found: list[Run] = []
    for run in runs:
        name, number = run.title, 2
        while not run.name and name in taken:
            name, number = f"{run.title} ({number})", number + 1
        taken.add(name)
        found.append(replace(run, name=name))
    return found


def shared_batch_size(runs: Sequence[Run], wanted: int | None = None) -> int:
    """Activations in a batch that feeds all runs: `wanted`, or the largest of their batch sizes.

    Raises SettingsRefused when one does not divide it, or when there are no runs.
    """
    if not runs:
        raise SettingsRefused("There is nothing to train: no runs were given.")
    shared = max(run.config.batch_size for run in runs) if wanted is None else wanted
    for run in runs:
        if shared % run.config.batch_size:
            raise SettingsRefused(
                f"Runs that share activations need batch sizes that divide the {shared:,} of a shared batch; "
                f"“{run.title}” has {run.config.batch_size:,}."
            )
    return shared
