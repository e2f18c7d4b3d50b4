"""The memory and disk that a training takes, counted by what needs them before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mistudio.engine.sizes import GROUP_TOKENS, POOL_TOKENS, SPLICED_TOGETHER, SPLICED_TOKENS
from mistudio.lm.footprint import ModelFootprint
from mistudio.sae.config import JumpReLUConfig, TrainerConfig
from mistudio.sae.sizes import SEARCH_BLOCK_BYTES
from mistudio.store.shuffle import WINDOW_TOKENS

PROCESS = 340_000_000
"""Measured: a job's process that has imported PyTorch and steps, its libraries and their buffers among it."""
MODEL_PROCESS = 190_000_000
"""Measured: what transformers and its libraries add."""
FLOAT = 4
_MOMENTS = {"adam": 2, "muon": 1, "signum": 1}
"""Numbers that an optimiser keeps for each weight."""
_STEP_BYTES = {"gated": 36, "standard": 12}
"""Bytes for each token and latent of a batch, of architectures that do not say how many latents are active."""
_ACTIVE_BYTES, _DENSE_BYTES, _DENSE_ABOVE = 145, 26, 0.09
"""Of JumpReLU for each active latent of a token, and for each latent where a larger share is active at the start, which
with those within the bandwidth is too many for the sparse step. Measured at 2,048 to 12,288 latents."""
_WITHIN_A_STEP = ("gradients",)
"""Dictionaries step one after the other, so one of them has these at a time."""


def parameters_of(config: TrainerConfig, d_in: int) -> int:
    """Numbers that one dictionary learns."""
    return 2 * config.d_sae * d_in + config.d_sae + d_in


@dataclass(frozen=True)
class Reading:
    """Where activations come from, as far as memory goes.

    widths: by hook point. held_out_tokens: kept for the measure. value: bytes of a number in the pool of shuffled
    activations, or in the cache of `cached_tokens` (0 where the model runs alongside). footprint: of the model, with
    the tokens of one of its forward passes; None where all that is needed is in a cache.
    """

    widths: Mapping[str, int]
    held_out_tokens: int
    value: int
    footprint: ModelFootprint | None = None
    pass_tokens: int = 0
    context: int = 0
    cached_tokens: int = 0


def memory_parts(runs: Sequence[tuple[TrainerConfig, int]], reading: Reading) -> dict[str, int]:
    """Bytes at the peak of a training of these SAEs (settings and width of the activations), by what needs them.

    Held against measured peaks by the bench (`training/memory-forecast`).
    """
    widest = sum(reading.widths.values())
    batch = max(config.batch_size for config, _ in runs) * widest * FLOAT
    held_out = reading.held_out_tokens * widest * FLOAT
    model = reading.footprint
    parts = {"process": PROCESS + (0 if model is None else MODEL_PROCESS)}
    if reading.cached_tokens or model is None:
        pages = min(reading.cached_tokens, 2 * WINDOW_TOKENS)
        parts |= {
            # A window is copied out of the mapped file while the next one is read.
            "shuffled activations": 2 * min(reading.cached_tokens, WINDOW_TOKENS) * widest * reading.value,
            "pages of the cache": pages * widest * reading.value,
            "activations in flight": 6 * batch,
            "held-out activations": held_out,
        }
    else:
        parts |= {
            "shuffled activations": (POOL_TOKENS + GROUP_TOKENS) * widest * reading.value,
            "activations in flight": 3 * batch,
            "held-out activations": 2 * held_out,
        }
    if model is not None:
        compares = reading.held_out_tokens > 0 and any(config.evaluate_every != 0 for config, _ in runs)
        parts |= {
            "language model": model.weight_bytes,
            # Freed and taken again by every layer, in sizes that leave gaps.
            "forward pass": 3 * reading.pass_tokens * model.forward_bytes_per_token,
            "logits with the SAE spliced in": 3 * SPLICED_TOKENS * model.logits_bytes_per_token * compares,
        }
        if compares:
            # The largest of those that are spliced in at a time takes the place of the gradients.
            sizes = sorted((parameters_of(config, d_in) * FLOAT for config, d_in in runs), reverse=True)
            parts["finished SAEs compared at a time"] = sum(sizes[1:SPLICED_TOGETHER])
    for config, d_in in runs:
        for name, size in dictionary_bytes(config, d_in).items():
            before = parts.get(name, 0)
            parts[name] = max(before, size) if name in _WITHIN_A_STEP else before + size
    parts["pre-activations of a batch"] = max(step_bytes(config) for config, _ in runs)
    return {name: size for name, size in parts.items() if size}


def gpu_bytes(parts: Mapping[str, int], *, cached: bool) -> int:
    """Of these parts, the bytes that lie on the GPU where there is one: all but the process itself, what is held out,
    and what is read of a cache. Counted, not measured."""
    host = {"process", "held-out activations", "pages of the cache"} | (
        {"shuffled activations"} if cached else set()
    )
    return sum(size for name, size in parts.items() if name not in host)


def dictionary_bytes(config: TrainerConfig, d_in: int) -> dict[str, int]:
    """What one dictionary keeps in memory while it learns, and the gradients of its step.

    Its finished form takes the place of the gradients after the last step, and as many bytes.
    """
    size = parameters_of(config, d_in) * FLOAT
    half = size // 2 if config.precision == "bfloat16" else 0
    return {
        "SAE weights": size,
        "gradients": size + half,
        "weights in bfloat16": half,
        "optimiser's moments": _MOMENTS[config.optimizer.kind] * size,
        "averaged weights": size if config.ema_decay else 0,
    }


def step_bytes(config: TrainerConfig) -> int:
    """What one step of a dictionary needs for itself beside its gradients.

    All families look for active latents in blocks of tokens. Those that keep the strongest find a number of them that
    is small; of the others, a share of `sae.sizes.SPARSE_PAYS_BELOW` may be active before the step is done densely,
    with several numbers for each of them, counted here for each token and latent (measured). JumpReLU has most of them
    at the start. A batch may be worked through in parts.
    """
    architecture = config.architecture
    each = float(_STEP_BYTES.get(architecture.kind, 0))
    if isinstance(architecture, JumpReLUConfig):
        active = architecture.share_at_start(config.d_sae)
        each = _DENSE_BYTES if active > _DENSE_ABOVE else _ACTIVE_BYTES * active
    return SEARCH_BLOCK_BYTES + int(each * (config.batch_size // config.accumulate * config.d_sae))


def disk_bytes(config: TrainerConfig, d_in: int) -> int:
    """Its checkpoints, the finished weights, and the points of the curves."""
    parameters = parameters_of(config, d_in)
    kept = 1 + _MOMENTS[config.optimizer.kind] + bool(config.ema_decay)
    states = 1 + (config.keep_checkpoints - 1 + (config.best_checkpoint != "none")) * (
        0 < config.checkpoint_every < config.total_steps
    )
    return (states * kept + 1) * parameters * FLOAT + (config.total_steps // config.log_every) * 24 * 8
