"""What a report of trainings says: one page about what was trained on what, how it went, and in which environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from mistudio.db import utc_now
from mistudio.engine.evaluation.pareto import Point
from mistudio.engine.recordings.environment import read_environments
from mistudio.engine.runs import KINDS
from mistudio.sae.config import TrainerConfig
from mistudio.settings import Settings
from mistudio.training.comparison import ComparedFigure, Comparison, compare
from mistudio.training.fields import all_fields
from mistudio.training.listing_schemas import Value
from mistudio.training.metrics import metric_series
from mistudio.training.report_figures import Line, curves_svg, pareto_svg, short
from mistudio.training.views import training_folder

_CURVES = ("fvu", "l0", "dead_fraction", "ce_loss_score", "loss")
REPORTED = ("fvu", "explained_variance", "l0", "ce_loss_score", "dead_fraction", "dense_fraction")
_PACKAGES = ("torch", "transformers", "numpy", "safetensors", "tokenizers", "triton")
_MOST_CURVES = 4
_POINTS = 240


@dataclass
class Figure:
    """A picture: its name as a file, what it shows, and the SVG."""

    name: str
    title: str
    svg: str


@dataclass
class Report:
    """Everything that a report says, in the order in which it says it.

    runs: one row for each training: its short name, where it differs from the others, and its measures; `best` has
    the positions of the best of each measure. measures: name, formula and meaning of each.
    """

    title: str
    made_at: datetime
    about: list[tuple[str, str]]
    names: list[str]
    states: list[str]
    differing: list[tuple[str, list[str]]]
    measures: list[tuple[ComparedFigure, list[str]]]
    figures: list[Figure]
    shared: list[tuple[str, str]]
    environment: list[tuple[str, str]]
    notes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    changes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def make_report(session: Session, settings: Settings, ids: Sequence[str], title: str | None = None) -> Report:
    """The report of these trainings. Raises NotFound."""
    data = compare(session, settings, ids)
    runs = data.trainings
    names = short_names([run.name for run in runs])
    measures = [one for name in REPORTED if (one := measured(data, name)) is not None]
    sweeps = {run.sweep_id for run in runs}
    return Report(
        title=title or _title(data, names),
        made_at=utc_now(),
        about=_about(data, alone=len(runs) == 1, sweeps=len(sweeps)),
        names=names,
        states=[str(run.state or "no job") for run in runs],
        differing=[
            (one.title, [words(value) for value in one.values])
            for one in data.settings
            if not _in_names(one.values, [run.name for run in runs])
        ],
        measures=[(one, [_measured(one, value) for value in one.values]) for one in measures],
        figures=[*_curves(settings, data), *_paretos(data)],
        shared=_shared(data),
        environment=_environment(settings, data),
        notes=[(name, run.notes) for name, run in zip(names, runs, strict=True) if run.notes.strip()],
        changes=[(name, said) for name, said in zip(names, data.changes, strict=True) if said],
    )


def words(value: Value, unit: str = "") -> str:
    """A value for a reader."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, (int, float)):
        exact = f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"
        return f"{exact} {unit}".strip() if unit not in ("fraction",) else exact
    return value


def _in_names(values: Sequence[Value], names: Sequence[str]) -> bool:
    """Whether the runs' names say it already, as those of a sweep say their hook points."""
    return all(isinstance(value, str) and value in name for value, name in zip(values, names, strict=True))


def short_names(names: list[str]) -> list[str]:
    """Names without what all of them begin with, cut between words; as they are where nothing would be left."""
    if len(names) < 2:
        return names
    prefix = _shared_parts(names)
    return [name.removeprefix(prefix) or name for name in names]


def _shared_parts(names: list[str]) -> str:
    """What all names begin with, in whole parts between " · "; with the last separator."""
    shared = ""
    for parts in zip(*(name.split(" · ") for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared += f"{parts[0]} · "
    return shared


def _title(data: Comparison, names: list[str]) -> str:
    runs = data.trainings
    if len(runs) == 1:
        return runs[0].name
    common = _shared_parts([run.name for run in runs]).split(" · ")[0].strip()
    model = ", ".join(sorted({run.model_name for run in runs}))
    return f"{common}: {len(names)} SAEs on {model}" if common else f"{len(names)} SAEs on {model}"


def _about(data: Comparison, *, alone: bool, sweeps: int) -> list[tuple[str, str]]:
    runs = data.trainings

    def distinct(of: list[str]) -> str:
        return ", ".join(dict.fromkeys(of))

    sources: list[str] = []
    for run in runs:
        total = sum(source.weight for source in run.sources)
        for source in run.sources:
            share = f" ({source.weight / total:.0%})" if len(run.sources) > 1 else ""
            sources.append(f"{source.dataset_name}, tokenized as {source.tokenization_name}{share}")
    tokens = [run.tokens_trained for run in runs]
    trained = short(float(min(tokens))) + (
        f" to {short(float(max(tokens)))}" if min(tokens) < max(tokens) else ""
    )
    passes = "one pass over the activations" if sweeps == 1 else f"{sweeps} passes over activations"
    dates = sorted(run.created_at for run in runs)
    return [
        ("Model", distinct([run.model_name for run in runs])),
        ("Text", distinct(sources)),
        ("Hook points", distinct([run.hook for run in runs])),
        (
            "Activations",
            distinct(["from a cache" if run.cache_id else "from the model alongside" for run in runs]),
        ),
        ("Trained on", f"{trained} tokens" + ("" if alone else f" each, in {passes}")),
        ("Measured on", distinct([f"{run.held_out_tokens:,} held-out tokens" for run in runs])),
        ("Started", dates[0].strftime("%Y-%m-%d %H:%M UTC")),
    ]


def measured(data: Comparison, name: str) -> ComparedFigure | None:
    """The measure on held-out tokens, or where runs lack it what was last recorded."""
    held = next((one for one in data.figures if one.name == f"held_out.{name}"), None)
    last = next((one for one in data.figures if one.name in (name, f"metric.{name}")), None)
    if held is not None and (last is None or None not in held.values):
        return held
    return last


def _measured(one: ComparedFigure, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.3g} %" if one.name.endswith("_fraction") else short(value)


def _curves(settings: Settings, data: Comparison) -> list[Figure]:
    fields = {one.name: one for one in all_fields()}
    lines: dict[str, list[Line]] = {}
    for place, run in enumerate(data.trainings):
        recorded = metric_series(settings, run.id, max_points=_POINTS)["columns"]
        for name in _CURVES:
            if any(
                recorded.get(name) or ()
            ):  # what was never measured, or never anything but 0, shows nothing
                lines.setdefault(name, []).append(Line(recorded["tokens"], recorded[name], place))
    return [
        Figure(
            f"curve-{name.replace('_', '-')}",
            fields[name].title,
            curves_svg(fields[name].title, "tokens", lines[name]),
        )
        for name in [name for name in _CURVES if name in lines][:_MOST_CURVES]
    ]


def _paretos(data: Comparison) -> list[Figure]:
    across = measured(data, "l0")
    if across is None or len(data.trainings) < 2:
        return []
    kinds = {run.config.architecture.kind for run in data.trainings}
    hooks = {run.hook for run in data.trainings}
    groups = [
        ", ".join(
            [run.config.architecture.kind] * (len(kinds) > 1 or len(hooks) == 1)
            + [run.hook] * (len(hooks) > 1)
        )
        for run in data.trainings
    ]
    found: list[Figure] = []
    for name, better in (("fvu", "lower"), ("ce_loss_score", "higher")):
        up = measured(data, name)
        if up is None:
            continue
        points = [
            Point(x, y, str(place + 1), groups[place])
            for place, (x, y) in enumerate(zip(across.values, up.values, strict=True))
            if x is not None and y is not None
        ]
        title = f"{up.title} against L0"
        if svg := pareto_svg(title, "L0 (active latents per token)", points, better=better):
            found.append(Figure(f"pareto-{name.replace('_', '-')}", title, svg))
    return found


def _shared(data: Comparison) -> list[tuple[str, str]]:
    """What all runs share and is not as it would be anyway."""
    usual: dict[str, Any] = {}
    for name, info in TrainerConfig.model_fields.items():
        usual[name] = info.default
        if name in KINDS:
            usual[name] = info.default.kind
            chosen = KINDS[name][str(data.shared.get(name, usual[name]))]
            usual |= {inner: one.default for inner, one in chosen.model_fields.items()}
    shown: list[tuple[str, str]] = []
    for one in all_fields():
        value = data.shared.get(one.name)
        if value is None or one.group != "Settings" or usual.get(one.name) == value:
            continue
        shown.append((one.title, words(value, one.unit)))
    return shown


def _environment(settings: Settings, data: Comparison) -> list[tuple[str, str]]:
    for run in data.trainings:
        found = read_environments(training_folder(settings, run.id))
        if not found:
            continue
        last = found[-1]
        packages: dict[str, str] = last.get("packages") or {}
        versions = ", ".join(f"{name} {packages[name]}" for name in _PACKAGES if name in packages)
        gpus = ", ".join(gpu["name"] for gpu in last.get("gpus") or []) or "none"
        cores = (last.get("threads") or {}).get("usable_cores", "?")
        git = last.get("git") or {}
        said = [
            ("miStudio", str(last.get("mistudio", ""))),
            ("Python", str(last.get("python", ""))),
            ("Packages", versions),
            ("System", str(last.get("system", ""))),
            ("Processor", f"{last.get('cpu', '')}, {cores} cores usable"),
            ("Graphics card", gpus),
        ]
        if git.get("commit"):
            said.append(("git", f"{git['commit'][:12]}{' with changes' if git.get('changed_files') else ''}"))
        seeds = sorted({one.config.seed for one in data.trainings})
        said.append(("Seed", ", ".join(str(seed) for seed in seeds)))
        return said
    return []
