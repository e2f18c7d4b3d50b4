"""Everything that a list of trainings can show, sort, group and filter by: each field once, with its place in SQL."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from sqlalchemy import SQLColumnExpression, case, func, select

from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.engine.evaluation.infos import EVALUATION_METRICS
from mistudio.engine.recordings.infos import CURVE_METRICS, RUN_SPEED
from mistudio.engine.runs import KINDS
from mistudio.jobs import Job
from mistudio.models.tables import Model
from mistudio.sae.config import TrainerConfig
from mistudio.sae.metric_info import METRICS, MetricInfo
from mistudio.saes.tables import Sae
from mistudio.training.field_sql import hook_layer, seconds_between
from mistudio.training.tables import Sweep, SweepSource, Training

Kind = Literal["number", "text", "choice", "flag", "time", "list"]
Join = Literal["job", "sae", "disk"]

STATES = ("queued", "running", "cancelling", "paused", "succeeded", "failed", "cancelled")
_HELD_OUT = (
    "fvu",
    "explained_variance",
    "l0",
    "mse",
    "cosine",
    "dead_fraction",
    "dense_fraction",
    "ce_loss_score",
)


@dataclass(frozen=True, eq=False)
class Field:
    """One field of a training.

    sql: its value; None for lists and for the disk, which is no column. joins: what must be joined for it.
    better: which way a metric is good.
    """

    name: str
    title: str
    kind: Kind
    group: str
    sql: SQLColumnExpression[Any] | None = None
    unit: str = ""
    description: str = ""
    formula: str = ""
    choices: tuple[str, ...] = ()
    better: str = ""
    joins: tuple[Join, ...] = ()
    aliases: tuple[str, ...] = ()


def find_field(name: str) -> Field | None:
    """The field of this name or alias, whatever its case."""
    return _by_name().get(name.lower())


def nearest(name: str) -> str | None:
    """What was probably meant by a name that no field has."""
    near = get_close_matches(name.lower(), _by_name(), n=1, cutoff=0.6)
    return _by_name()[near[0]].name if near else None


@cache
def all_fields() -> tuple[Field, ...]:
    """Every field, in the order in which they are offered."""
    fields = [*_run_fields(), *_data_fields(), *_setting_fields()]
    taken = {name for one in fields for name in (one.name, *one.aliases)}
    fields += _metric_fields(taken)
    return tuple(fields)


@cache
def _by_name() -> dict[str, Field]:
    return {name.lower(): one for one in all_fields() for name in (*one.aliases, one.name)}


def _run_fields() -> Iterable[Field]:
    group = "Run"
    ended_alone = Training.error["code"].as_string().is_not(None)
    yield Field("name", "Name", "text", group, Training.name)
    yield Field("id", "Id", "text", group, Training.id)
    yield Field(
        "state",
        "State",
        "choice",
        group,
        case((ended_alone, "failed"), else_=Job.state),
        description="How far the run is; failed also when it alone of its sweep diverged.",
        choices=STATES,
        joins=("job",),
    )
    yield Field("tag", "Tags", "list", group, aliases=("tags",))
    yield Field(
        "favourite", "Starred", "flag", group, Training.favourite, aliases=("favorite", "starred", "star")
    )
    yield Field("notes", "Notes", "text", group, func.nullif(Training.notes, ""))
    yield Field("created", "Created", "time", group, Training.created_at, aliases=("created_at",))
    yield Field("started", "Started", "time", group, Job.started_at, joins=("job",))
    yield Field("finished", "Finished", "time", group, Job.finished_at, joins=("job",))
    yield Field(
        "duration",
        "Duration",
        "number",
        group,
        seconds_between(Job.started_at, Job.finished_at),
        unit="s",
        description="From the start of the newest attempt to its end.",
        joins=("job",),
    )
    yield Field(
        "tokens",
        "Trained on",
        "number",
        group,
        Training.tokens_trained,
        unit="tokens",
        aliases=("tokens_trained",),
    )
    yield Field(
        "disk",
        "Disk",
        "number",
        group,
        unit="bytes",
        description="Curves, checkpoints and logs of this run.",
        joins=("disk",),
    )
    yield Field("sae", "SAE", "text", group, Sae.id, description="What came out of it.", joins=("sae",))
    yield Field(
        "sweep",
        "Sweep",
        "text",
        group,
        Sweep.name,
        description="Runs that are trained in one pass over the activations.",
    )
    yield Field("sweep_id", "Sweep's id", "text", group, Sweep.id)


def _data_fields() -> Iterable[Field]:
    group = "Model and data"
    yield Field("model", "Model", "text", group, Model.name)
    yield Field("dataset", "Data sets", "list", group, aliases=("datasets", "data"))
    yield Field("tokenization", "Tokenizations", "list", group, aliases=("tokenizations",))
    yield Field("hook", "Hook point", "text", group, Training.hook)
    yield Field(
        "layer", "Layer", "number", group, hook_layer(Training.hook), description="Of the hook point."
    )
    yield Field("d_in", "Width of the activations", "number", group, Training.d_in, unit="dimensions")
    yield Field(
        "cache",
        "From a cache",
        "flag",
        group,
        Sweep.cache_id.is_not(None),
        description="Trained from stored activations, not with the model alongside.",
    )
    yield Field("held_out_tokens", "Held-out tokens", "number", group, Sweep.held_out_tokens, unit="tokens")


def _setting_fields() -> Iterable[Field]:
    group = "Settings"
    places: dict[str, set[str]] = {}
    for union, kinds in KINDS.items():
        for kind in kinds.values():
            for inner in kind.model_fields:
                places.setdefault(inner, set()).add(union)
    for name, info in TrainerConfig.model_fields.items():
        if name not in KINDS:
            yield _setting(name, (name,), [info], group)
            continue
        yield Field(
            name,
            info.title or name,
            "choice",
            group,
            Training.config[(name, "kind")].as_string(),
            description=info.description or "",
            choices=tuple(KINDS[name]),
            aliases=(f"{name}.kind", f"config.{name}.kind"),
        )
        inners: dict[str, list[Any]] = {}
        for kind in KINDS[name].values():
            for inner, one in kind.model_fields.items():
                inners.setdefault(inner, []).append(one)
        for inner, infos in inners.items():
            if inner == "kind":
                continue
            short = len(places[inner]) == 1 and inner not in TrainerConfig.model_fields
            yield _setting(inner if short else f"{name}.{inner}", (name, inner), infos, group)


def _setting(name: str, path: tuple[str, ...], infos: list[Any], group: str) -> Field:
    """A setting, which several architectures may have with choices of their own."""
    info = infos[0]
    value: Any = Training.config[path] if len(path) > 1 else Training.config["".join(path)]
    options = [info.annotation]
    if get_origin(info.annotation) in (Union, types.UnionType):
        options = [one for one in get_args(info.annotation) if one is not type(None)]
    only = options[0] if len(options) == 1 else None
    choices: tuple[str, ...] = ()
    if only is bool:
        kind, sql = "flag", value.as_boolean()
    elif only in (int, float):
        kind, sql = "number", value.as_float()
    elif get_origin(only) is Literal:
        kind, sql = "choice", value.as_string()
        choices = tuple(dict.fromkeys(str(one) for each in infos for one in get_args(each.annotation)))
    else:
        kind, sql = "text", value.as_string()
    extra: dict[str, Any] = info.json_schema_extra or {}
    dotted = ".".join(path)
    return Field(
        name,
        info.title or name,
        kind,
        group,
        sql,
        unit=str(extra.get("unit", "")),
        description=info.description or "",
        choices=choices,
        aliases=tuple({dotted, f"config.{dotted}"} - {name}),
    )


def _metric_fields(taken: set[str]) -> Iterable[Field]:
    for name, info in CURVE_METRICS.items():
        long = f"metric.{name}"
        yield _metric(
            long if name in taken else name,
            RUN_SPEED if name == "tokens_per_second" else info,
            "Last recorded",
            Training.last_metrics[name].as_float(),
            aliases=() if name in taken else (long,),
        )
    for name in _HELD_OUT:
        yield _metric(
            f"held_out.{name}",
            EVALUATION_METRICS.get(name) or METRICS[name],
            "On held-out tokens",
            Sae.metrics[name].as_float(),
            joins=("sae",),
        )


def _metric(
    name: str,
    info: MetricInfo,
    group: str,
    sql: SQLColumnExpression[Any],
    *,
    aliases: tuple[str, ...] = (),
    joins: tuple[Join, ...] = (),
) -> Field:
    return Field(
        name,
        info.title,
        "number",
        group,
        sql,
        unit=info.unit,
        description=info.description,
        formula=info.formula,
        better=info.better,
        aliases=aliases,
        joins=joins,
    )


def names_of_sources(column: Literal["dataset", "tokenization"]) -> Any:
    """The names of what a training reads, as a query correlated with it: rows of (id, name)."""
    named = Dataset if column == "dataset" else Tokenization
    return (
        select(named.id.label("id"), named.name.label("name"))
        .select_from(SweepSource)
        .join(Tokenization, Tokenization.id == SweepSource.tokenization_id)
        .join(Dataset, Dataset.id == Tokenization.dataset_id)
        .where(SweepSource.sweep_id == Training.sweep_id)
        .correlate(Training)
    )
