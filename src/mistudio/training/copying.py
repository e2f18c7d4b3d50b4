"""A training's configuration as others take it: a document, a command, a Python program.

Each says only what differs from its default, and starts the same trainings to the bit.
"""

from __future__ import annotations

import json
import shlex
from pprint import pformat
from typing import Any, cast

from mistudio.engine.runs import KINDS
from mistudio.sae.config import TrainerConfig
from mistudio.training.schemas import TrainingCreate

Body = dict[str, Any]
_BASIC = ("architecture", "d_sae", "total_tokens", "batch_size", "learning_rate", "warmup_steps", "seed")
"""Settings that a document always states: what one reads first of a training."""


def document_of(request: TrainingCreate) -> Body:
    """The request as a document: what was chosen, the basic settings, and what differs from its default."""
    full = request.model_dump(mode="json")
    found: Body = {"name": request.name} if request.name else {}
    found |= {"hooks": request.hooks, "held_out_tokens": request.held_out_tokens}
    found |= {"cache_id": request.cache_id} if request.cache_id else {}
    found["sources"] = full["sources"]
    found["config"] = settings_of(request.config, stated=_BASIC)
    harvest = harvest_of(request)
    if harvest:
        found["harvest"] = harvest
    found |= {"grid": full["grid"]} if request.grid else {}
    if request.trackers:
        found |= {"trackers": full["trackers"], "tracker_project": request.tracker_project}
    return found


def settings_of(config: TrainerConfig, stated: tuple[str, ...] = ()) -> Body:
    """The settings that differ from their defaults, groups among them with their kind, and those of these names."""
    full, default = config.model_dump(mode="json"), TrainerConfig().model_dump(mode="json")
    found: Body = {}
    for name, value in full.items():
        if name in KINDS:
            group = KINDS[name][value["kind"]]
            before = {key: field.default for key, field in group.model_fields.items()}
            inner = {key: item for key, item in value.items() if key == "kind" or item != _plain(before[key])}
            sparsity = [key for key in ("k", "target_l0", "l1_coefficient") if key in value][:1]
            if name in stated:
                inner |= {key: value[key] for key in sparsity}
            if name in stated or len(inner) > 1 or value["kind"] != default[name]["kind"]:
                found[name] = {key: inner[key] for key in value if key in inner}
        elif name in stated or value != default[name]:
            found[name] = value
    return found


def _plain(value: Any) -> Any:
    return list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value


def harvest_of(request: TrainingCreate) -> Body:
    """What was said of which activations count, where it differs from what would be taken without."""
    if request.harvest is None:
        return {}
    full = request.harvest.model_dump(mode="json")
    default: Body = {name: field.default for name, field in type(request.harvest).model_fields.items()}
    # Without settings of its own a training's order is that of its seed.
    default["seed"] = request.config.seed
    changed = {name: value for name, value in full.items() if value != default[name]}
    return changed | ({"seed": full["seed"]} if changed else {})


def command_of(request: TrainingCreate) -> str:
    """The command that starts these trainings, one option to a line."""
    lines = ["mistudio train"]
    for source in request.sources:
        weight = "" if len(request.sources) == 1 else f"={source.weight:g}"
        lines.append(f"--tokens {source.tokenization_id}{weight}")
    lines += [f"--hook {shlex.quote(hook)}" for hook in request.hooks]
    if request.cache_id:
        lines.append(f"--cache {request.cache_id}")
    if request.name:
        lines.append(f"--name {shlex.quote(request.name)}")
    lines.append(f"--held-out-tokens {request.held_out_tokens}")
    lines += [f"--harvest {_assignment(name, value)}" for name, value in harvest_of(request).items()]
    lines += [
        f"--set {_assignment(name, value)}" for name, value in _flat(settings_of(request.config, _BASIC))
    ]
    for name, values in request.grid.items():
        tried = json.dumps(values, separators=(",", ":"))
        lines.append(f"--grid {shlex.quote(f'{name}={tried}')}")
    lines += [f"--tracker {kind}" for kind in request.trackers]
    if request.trackers:
        lines.append(f"--tracker-project {shlex.quote(request.tracker_project)}")
    return " \\\n  ".join(lines) + "\n"


def _flat(settings: Body) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in settings.items():
        if name in KINDS:
            found.append((name, value["kind"]))
            found += [(f"{name}.{key}", item) for key, item in value.items() if key != "kind"]
        else:
            found.append((name, value))
    return found


def _assignment(name: str, value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return shlex.quote(f"{name}={text}")


def python_of(request: TrainingCreate) -> str:
    """The program that trains the same dictionaries in a notebook or script."""
    sources = {source.tokenization_id: source.weight for source in request.sources}
    arguments = [_literal(sources), f"hooks={_literal(request.hooks)}"]
    if request.cache_id:
        arguments.append(f"cache={request.cache_id!r}")
    arguments.append(f"held_out_tokens={request.held_out_tokens}")
    if request.cache_id and request.config.evaluate_every:
        arguments.append("spliced=True")
    harvest = harvest_of(request) or ({"seed": request.config.seed} if request.config.seed else {})
    if harvest and not request.cache_id:
        arguments.append(f"harvest={_literal(harvest)}")
    config = settings_of(request.config, _BASIC)
    settings = [f"{name}={_literal(value)}," for name, value in config.items()]
    grid: Body = ({"hook": request.hooks} if len(request.hooks) > 1 else {}) | request.grid
    lines = [
        "from mistudio import Run, TrainerConfig, register, sweep, train",
        "from mistudio.data_folder import open_activations",
        "",
        "activations = open_activations(",
        *(f"    {argument}," for argument in arguments),
        ")",
        "config = TrainerConfig(",
        *(f"    {setting}" for setting in settings),
        ")",
        f"runs = sweep(Run({request.hooks[0]!r}, config=config), {_literal(grid)})",
        f"for trained in train(activations, runs=runs, seed={request.config.seed}):",
        "    print(trained)",
        "    # register(trained)  # lists it among the SAEs",
    ]
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    return pformat(value, width=96, compact=True, sort_dicts=False).replace("\n", "\n    ")
