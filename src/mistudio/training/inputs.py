"""What a request for trainings names, found and checked: tokens, model, hook points, cache, and every SAE of it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from mistudio.activations.schemas import HarvestSettings
from mistudio.activations.tables import ActivationCache
from mistudio.datasets.tables import Tokenization
from mistudio.engine.runs import Run, SettingsRefused, shared_batch_size, sweep
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.lm.hooks import place_of
from mistudio.models.tables import Model
from mistudio.training.schemas import MOST_TRAININGS, TrainingCreate


@dataclass(frozen=True)
class Inputs:
    """What a request names, found and checked."""

    tokenizations: list[Tokenization]
    model: Model
    runs: list[Run]
    batch_size: int
    """activations in a batch that feeds all runs"""
    d_in: dict[str, int]
    """widths by hook point"""
    available: int
    """tokens there are to train on, held-out ones among them"""
    harvest: HarvestSettings
    cache: ActivationCache | None


def check_inputs(session: Session, request: TrainingCreate) -> Inputs:
    """What the request names, if it fits together. Raises NotFound, Conflict, StudioError with the field."""
    tokenizations = [_ready_tokenization(session, source.tokenization_id) for source in request.sources]
    model = session.get(Model, tokenizations[0].model_id)
    if model is None:
        raise NotFound("model", tokenizations[0].model_id)
    strangers = [one.name for one in tokenizations if one.model_id != model.id]
    if strangers:
        raise StudioError(
            "tokenizations_of_several_models",
            f"The tokenization “{strangers[0]}” was made for another model than “{tokenizations[0].name}”.",
            hint="Mix tokenizations that were made with one model.",
            fields={"sources": "made for different models"},
        )
    widths: dict[str, int] = {}
    for hook in request.hooks:
        point = next((p for p in model.hook_points if p["name"] == hook), None)
        if point is None:
            kinds = sorted({place_of(p["kind"]) for p in model.hook_points})
            raise StudioError(
                "hook_not_found",
                f"The model “{model.name}” has no hook point “{hook}”.",
                hint=f"It has blocks.0 … blocks.{(model.n_layers or 1) - 1}, each with {', '.join(kinds)}.",
                fields={"hooks": "not a hook point of this model"},
            )
        widths[hook] = int(point["d"])
    available = sum(one.n_tokens or 0 for one in tokenizations)
    harvest = request.harvest or HarvestSettings(seed=request.config.seed)
    cache = None
    if request.cache_id is not None:
        cache = _fitting_cache(session, request)
        available = cache.n_tokens or 0
        harvest = HarvestSettings.model_validate(cache.settings)
    runs, batch_size = _runs(request)
    _refuse_other_widths(runs, widths)
    return Inputs(tokenizations, model, runs, batch_size, widths, available, harvest, cache)


def refuse_too_few(found: Inputs, held_out_tokens: int) -> None:
    """Raises StudioError where the held-out tokens leave less than one batch to train on."""
    if found.available - held_out_tokens < found.batch_size:
        raise StudioError(
            "too_few_tokens",
            f"There are {found.available:,} tokens, {held_out_tokens:,} of them held out: not enough for one "
            f"batch of {found.batch_size:,}.",
            hint="Use more text, a smaller batch, or hold out less.",
            fields={"held_out_tokens": "leaves too few tokens to train on"},
        )


def _refuse_other_widths(runs: list[Run], widths: dict[str, int]) -> None:
    for run in runs:
        if run.config.hidden_dim not in (None, widths[run.hook]):
            raise StudioError(
                "invalid_input",
                f"The activations at {run.hook} have {widths[run.hook]} dimensions, and hidden_dim is "
                f"{run.config.hidden_dim}.",
                hint="Take a hook point of that width, or leave hidden_dim out.",
                status=422,
                fields={"config.hidden_dim": f"{widths[run.hook]} here, or left out"},
            )


def _ready_tokenization(session: Session, tokenization_id: str) -> Tokenization:
    found = session.get(Tokenization, tokenization_id)
    if found is None:
        raise NotFound("tokenization", tokenization_id)
    if found.n_tokens is None:
        raise Conflict("tokenization_not_ready", f"The tokenization “{found.name}” is not finished yet.")
    return found


def _fitting_cache(session: Session, request: TrainingCreate) -> ActivationCache:
    cache = session.get(ActivationCache, str(request.cache_id))
    if cache is None:
        raise NotFound("activation_cache", str(request.cache_id))
    if cache.n_tokens is None:
        raise Conflict("cache_not_ready", f"The activation cache “{cache.name}” is not finished yet.")
    lacking = [hook for hook in request.hooks if hook not in cache.hooks]
    if cache.tokenization_id != request.sources[0].tokenization_id or lacking:
        raise StudioError(
            "cache_does_not_fit",
            f"The activation cache “{cache.name}” holds {', '.join(cache.hooks)} of another tokenization or "
            f"without {(lacking or request.hooks)[0]}.",
            hint="Choose a cache of this tokenization that holds the hook points, or none.",
            fields={"cache_id": "does not hold these hook points of this tokenization"},
        )
    return cache


def _runs(request: TrainingCreate) -> tuple[list[Run], int]:
    """Every hook point with every combination of the grid, and the size of the batches that can feed them all."""
    count = len(request.hooks)
    for values in request.grid.values():
        count *= len(values)
    if count > MOST_TRAININGS:
        raise StudioError(
            "grid_too_large",
            f"The grid makes {count:,} SAEs, and one run trains at most {MOST_TRAININGS}.",
            hint="Leave out values or hook points, or start several runs.",
            fields={"grid": f"more than {MOST_TRAININGS} SAEs"},
        )
    if places := {"hook", "hook_out", "hooks"} & request.grid.keys():
        raise StudioError(
            "invalid_input",
            f"“{min(places)}” is no setting of a grid.",
            hint="Name hook points in “hooks”: each is trained with every combination of the grid.",
            status=422,
            fields={"grid": "hook points belong into “hooks”"},
        )
    try:
        runs = [
            run for hook in request.hooks for run in sweep(Run(hook, config=request.config), request.grid)
        ]
        batch_size = shared_batch_size(runs)
    except SettingsRefused as error:
        raise StudioError(
            "invalid_input", error.message, hint=error.hint, status=422, fields={"grid": error.message}
        ) from error
    return runs, batch_size
