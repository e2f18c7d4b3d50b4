"""What a harvest would take: disk, memory, and the time by what harvests on this machine took, scaled by the work.

The work of a token is its forward pass up to the deepest hook, 2 operations for each weight and 2·context·width in each
block's attention (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), and what is done with its activations: statistics
and writing, for each value about as long as `VALUE_FLOPS` operations of the pass take.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from mistudio.activations.schemas import CacheCreate, CacheForecastOut
from mistudio.activations.tables import ActivationCache
from mistudio.datasets.tokenizations import ready_tokenization
from mistudio.engine.sizes import GROUP_TOKENS, ORIGIN_BYTES
from mistudio.lm.footprint import ModelFootprint, estimate
from mistudio.lm.hooks import parse_hook
from mistudio.models.library import model_folder, ready_model
from mistudio.models.tables import Model
from mistudio.settings import Settings
from mistudio.store import row_bytes

VALUE_FLOPS = 900
"""Measured on two cores, SmolLM2-135M in float32: 30 hooks against one took 11 ns more for each value; 12 ps an
operation."""
# Groups of tokens that are in memory at once: the one that is read, and those that wait to be written.
_GROUPS = 6
_RUNS = 50


def forecast_cache(
    session: Session, settings: Settings, wanted: CacheCreate, widths: Mapping[str, int]
) -> CacheForecastOut:
    """Bytes, memory and, after the first harvest on this machine, seconds. `widths`: of each hook."""
    import psutil

    tokenization = ready_tokenization(session, wanted.tokenization_id)
    model = ready_model(session, tokenization.model_id)
    n_tokens = min(tokenization.n_tokens or 0, wanted.settings.n_tokens or tokenization.n_tokens or 0)
    values = sum(widths.values())
    context = int(tokenization.settings["context_length"])
    footprint = estimate(model_folder(settings, model.id))
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    rate, basis = _rate(session, settings, model, token_flops(footprint, widths, context))
    return CacheForecastOut(
        n_tokens=n_tokens,
        hooks=list(widths),
        bytes=n_tokens * (sum(row_bytes(wanted.dtype, d) for d in widths.values()) + ORIGIN_BYTES),
        bytes_free=shutil.disk_usage(settings.data_dir).free,
        memory_bytes=footprint.harvest_bytes(wanted.settings.batch_sequences, context, len(widths))
        + _GROUPS * GROUP_TOKENS * values * 4,
        memory_available=psutil.virtual_memory().available,
        seconds=None if rate is None else n_tokens / rate,
        tokens_per_second=rate,
        basis=basis,
    )


def token_flops(footprint: ModelFootprint, widths: Mapping[str, int], context: int) -> float:
    """Floating-point operations of harvesting one token at these hooks, in sequences of `context` tokens."""
    block = (footprint.parameters - footprint.embedding_parameters) / max(1, footprint.n_layers)
    attention = 2 * footprint.d_model * (footprint.d_model + footprint.kv_width)
    depth = max((_depth(hook, footprint.n_layers, attention / block) for hook in widths), default=0.0)
    forward = depth * (2 * block + 2 * context * footprint.d_model)
    return forward + VALUE_FLOPS * sum(widths.values())


def _depth(hook: str, n_layers: int, attention: float) -> float:
    """Blocks that have to run for a hook; `attention` is the share of a block's weights that are its attention's."""
    parsed = parse_hook(hook)
    if parsed.layer is None:
        return n_layers
    part = {"resid_pre": 0.0, "attn_z": attention, "attn_out": attention, "resid_mid": attention}
    return parsed.layer + part.get(parsed.kind, 1.0)


def _rate(session: Session, settings: Settings, model: Model, flops: float) -> tuple[float | None, str]:
    """Tokens a second, and in words where that is known from: the harvest whose work was most like this one's."""
    query = (
        select(ActivationCache)
        .options(joinedload(ActivationCache.tokenization), joinedload(ActivationCache.model))
        .where(ActivationCache.n_tokens > 0)
        .order_by(ActivationCache.created_at.desc())
        .limit(_RUNS)
    )
    own = session.scalars(query.where(ActivationCache.model_id == model.id)).all()
    runs = _measured(settings, own or session.scalars(query).all())
    if not runs:
        return None, "unknown: nothing has been harvested on this machine yet"
    like, before = min(runs, key=lambda run: abs(math.log(run[1] / flops)))
    assert like.statistics is not None
    measured = like.statistics["tokens_seen"] / like.statistics["seconds"]
    basis = f"measured: {measured:,.0f} tokens/s in “{like.name}” on this machine"
    if not own:
        basis += ", with another model"
    if not math.isclose(before, flops):
        basis += f", scaled from {_short(before)} to {_short(flops)} operations a token"
    return measured * before / flops, basis


def _measured(settings: Settings, caches: Iterable[ActivationCache]) -> list[tuple[ActivationCache, float]]:
    """Finished harvests, newest first, each with the operations of one of its tokens."""
    footprints: dict[str, ModelFootprint] = {}
    runs: list[tuple[ActivationCache, float]] = []
    for cache in caches:
        if not (cache.statistics or {}).get("seconds"):
            continue
        if cache.model_id not in footprints:
            footprints[cache.model_id] = estimate(model_folder(settings, cache.model_id))
        known = {str(point["name"]): int(point["d"]) for point in cache.model.hook_points}
        widths = {hook: known.get(hook, cache.model.d_model or 0) for hook in cache.hooks}
        context = int(cache.tokenization.settings["context_length"])
        runs.append((cache, token_flops(footprints[cache.model_id], widths, context)))
    return runs


def _short(flops: float) -> str:
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if flops >= size:
            return f"{flops / size:.3g} {name}"
    return f"{flops:,.0f}"
