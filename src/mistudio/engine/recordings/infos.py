"""What each column of a run's curves means. Imports no PyTorch."""

from __future__ import annotations

from mistudio.engine.evaluation.infos import EVALUATION_METRICS
from mistudio.sae.metric_info import METRICS, MetricInfo

_SPLICED = (
    "Measured on the same 2,048 held-out tokens each time, with the dictionary as it is after this step."
)


def _spliced(name: str) -> MetricInfo:
    info = EVALUATION_METRICS[name]
    return MetricInfo(
        info.title, info.unit, info.formula, f"{info.description} {_SPLICED}", info.better, info.version
    )


CURVE_METRICS: dict[str, MetricInfo] = {
    **METRICS,
    "tokens_per_second": MetricInfo(
        "Speed",
        "tokens/s",
        "Δ tokens / Δ seconds",
        "Tokens trained on per second, between two recorded points.",
        "higher",
    ),
    "memory_bytes": MetricInfo(
        "Memory of the process",
        "bytes",
        "resident set size of the training's process",
        "What the process has in main memory: model, dictionaries, optimiser and buffers of all runs in it.",
    ),
    "gpu_memory_bytes": MetricInfo(
        "GPU memory",
        "bytes",
        "bytes of live tensors on the GPU of the training",
        "What the process holds on its GPU; the driver shows more, as freed memory is kept for reuse.",
    ),
    **{name: _spliced(name) for name in ("ce_loss_score", "ce_loss_with_sae", "kl_div_with_sae")},
}
"""Everything that may stand in a run's curves, by name."""

RUN_SPEED = MetricInfo(
    "Speed",
    "tokens/s",
    "median of Δ tokens / Δ seconds",
    "Tokens trained on per second between two recorded points: the median of the run.",
    "higher",
)
"""What `tokens_per_second` is among the figures of a whole run: its last two points may lie on either side of an
evaluation."""
