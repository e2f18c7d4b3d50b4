"""What the end-to-end and sweep rows look like, and the model that explains them (PNG and data in `bench/results/`).

A training costs, for each token, one forward pass F of the model up to the hook and one step S of each SAE: n SAEs over
one pass cost F + n·S, n separate runs n·(F + S). F is measured (the same harvest with nothing trained), S is what is
left, and the sweep's eight SAEs check the sum.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.material import written

RESULTS = Path(__file__).parent / "results"
COLOURS = {
    "forward": "#9aa5b1",
    "rest": "#2f6f9f",
    "ours": "#2f6f9f",
    "separate": "#7fb2d6",
    "peer": "#c9713b",
}


def plot_end_to_end(measured: dict[str, float], tokens: int, forward: float | None = None) -> None:
    """Bars of milliseconds per token for all contestants measured so far, with these ones' seconds (in `measured`) and
    those of the harvest alone (`forward`) renewed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    file = RESULTS / "end-to-end.json"
    before: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    per_token: dict[str, float] = {
        **before.get("ms_per_token", {}),
        **{name: seconds / tokens * 1e3 for name, seconds in measured.items()},
    }
    share: float = before.get("forward_ms_per_token", 0.0) if forward is None else forward / tokens * 1e3
    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(per_token) + 1.4), layout="constrained")
    for place, (name, total) in enumerate(reversed(per_token.items())):
        passed = 0.0 if "cache" in name or "bfloat16" in name else min(share, total)
        axes.barh(place, passed, color=COLOURS["forward"])
        axes.barh(place, total - passed, left=passed, color=COLOURS["rest" if "ours" in name else "peer"])
        axes.text(total, place, f" {total:.2f} ms, {1e3 / total:,.0f} tokens/s", va="center", fontsize=8)
    axes.set_yticks(range(len(per_token)), list(reversed(per_token)))
    axes.set_xlim(0, 1.35 * max(per_token.values()))
    axes.set_xlabel("milliseconds per token (grey: the model's float32 forward pass, as ours runs it)")
    axes.spines[["top", "right"]].set_visible(False)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "end-to-end.png", dpi=150)
    pyplot.close(figure)
    written(file, {"forward_ms_per_token": share, "ms_per_token": per_token})


def plot_sweep(together: float, separate: float, multi: float, forward: float, n: int, tokens: int) -> None:
    """Cost against the number of SAEs, in seconds: measured at `n`, explained by F + n·S elsewhere.

    `forward`: one pass that serves all hooks; that of separate runs is what their seconds leave after n steps.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    counts = list(range(1, n + 1))
    step = (together - forward) / n
    peer_step = (multi - forward) / n
    lines: dict[str, tuple[list[float], float, str]] = {
        "ours, separate runs": ([c * separate / n for c in counts], separate, COLOURS["separate"]),
        "ours, one run": ([forward + c * step for c in counts], together, COLOURS["ours"]),
        "SAELens' multi-SAE runner": ([forward + c * peer_step for c in counts], multi, COLOURS["peer"]),
    }
    figure, axes = pyplot.subplots(figsize=(6.4, 4), layout="constrained")
    for name, (costs, at_n, colour) in lines.items():
        axes.plot(counts, costs, color=colour, label=name)
        axes.plot([n], [at_n], "o", color=colour)
    axes.set_xlabel("SAEs trained")
    axes.set_ylabel(f"seconds for {tokens:,} tokens")
    axes.set_ylim(0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "sweep.png", dpi=150)
    pyplot.close(figure)
    written(
        RESULTS / "sweep.json",
        {
            "tokens": tokens,
            "n": n,
            "seconds": {"together": together, "separate": separate, "saelens_multi": multi},
            "forward_seconds": forward,
            "step_seconds_per_sae": {"ours": step, "saelens": peer_step},
        },
    )
