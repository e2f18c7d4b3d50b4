"""How the cost of a training step grows with the dictionary and with k, and the model that explains it.

Measures our TopK step over d_sae 4,608 … 73,728 and k 16 … 256 (and a few batch sizes and widths, so that the terms
can be told apart), fits the cost model, and writes both to `bench/results/scaling.json` and `scaling.png`.
Run with `python -m bench.scaling [--quick]`; `--draw` draws the data again.
"""

from __future__ import annotations

import gc
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bench.steps import Setting, ours

RESULTS = Path(__file__).parent / "results"
D_SAE = (4608, 9216, 18432, 36864, 73728)
K = (16, 32, 64, 128, 256)
FIT_GOAL = 0.25
Point = dict[str, Any]

TERMS = {
    "encoder product": lambda p: 2 * p["batch"] * p["d_sae"] * p["d_in"],
    "selection": lambda p: 2 * p["batch"] * p["d_sae"],
    "sparse products": lambda p: 4 * p["batch"] * p["k"] * p["d_in"],
    "parameters": lambda p: 4 * 2 * p["d_sae"] * p["d_in"],
    "per token": lambda p: 4 * p["batch"] * p["d_in"],
}
"""Terms of the cost of a step: FLOPs of the first, bytes of the others (the bfloat16 pre-activations, one row of a
weight matrix per active latent, both weight matrices, the batch)."""
READS = {
    "encoder product": "{:.0f} GFLOP/s over all latents",
    "selection": "pre-activations at {:.1f} GB/s",
    "sparse products": "rows of active latents at {:.1f} GB/s",
    "parameters": "weights at {:.1f} GB/s (projection, Adam, rounding)",
    "per token": "activations at {:.1f} GB/s",
}


def settings() -> list[Setting]:
    """What is measured: two sweeps, and what separates terms that grow alike in them."""
    sweeps = [Setting("topk", 32, d_sae=d_sae) for d_sae in D_SAE]
    sweeps += [Setting("topk", k) for k in K if k != 32]
    sweeps += [Setting("topk", 32, batch=batch) for batch in (512, 2048)]
    sweeps += [Setting("topk", 32, d_in=d_in) for d_in in (144, 1152)]
    return sweeps


def seconds(setting: Setting, steps: int) -> float:
    """Median time of a step, after two that are not counted."""
    contestant = ours(setting)
    batches = setting.batches(2)
    taken: list[float] = []
    for number in range(steps + 2):
        start = time.perf_counter()
        contestant.step(batches[number % 2])
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[2:])


def fit(points: list[Point]) -> dict[str, float]:
    """Seconds per unit of each term, none negative, by least squares of relative errors.

    There are few terms: every subset is tried, and the best of those that come out positive is the solution.
    """
    names = list(TERMS)
    took = torch.tensor([p["seconds"] for p in points], dtype=torch.float64)
    amounts = torch.tensor([[TERMS[n](p) for n in names] for p in points], dtype=torch.float64)
    scaled = amounts / took[:, None]
    best: tuple[float, dict[str, float]] = (float("inf"), {})
    for size in range(1, len(names) + 1):
        for chosen in itertools.combinations(range(len(names)), size):
            A = scaled[:, list(chosen)]
            unit = A.abs().amax(0)
            rates = torch.linalg.lstsq(A / unit, torch.ones_like(took)[:, None]).solution[:, 0] / unit
            miss = float((A @ rates - 1).square().sum())
            if bool((rates > 0).all()) and miss < best[0]:
                found = {names[c]: float(r) for c, r in zip(chosen, rates, strict=True)}
                best = (miss, {name: found.get(name, 0.0) for name in names})
    return best[1]


def predict(rates: dict[str, float], point: Point) -> dict[str, float]:
    """Seconds of each term."""
    return {name: rates[name] * amount(point) for name, amount in TERMS.items()}


def draw(data: dict[str, Any], path: Path) -> None:
    """Both sweeps with the model's terms stacked under them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, name, fixed in ((axes[0], "d_sae", {"k": 32}), (axes[1], "k", {"d_sae": 9216})):
        fixed = {**fixed, "batch": 4096, "d_in": 576}
        points = [p for p in data["points"] if all(p[key] == value for key, value in fixed.items())]
        points.sort(key=lambda p: p[name])
        x = [p[name] for p in points]
        stacks = [[predict(data["rates"], p)[term] for p in points] for term in TERMS]
        labels = [
            READS[term].format(1e-9 / data["rates"][term] if data["rates"][term] else float("inf"))
            for term in TERMS
        ]
        shown = [i for i, stack in enumerate(stacks) if max(stack) > 0]
        axis.stackplot(x, [stacks[i] for i in shown], labels=[labels[i] for i in shown], alpha=0.55)
        axis.plot(x, [p["seconds"] for p in points], "ko", label="measured")
        axis.set_xscale("log", base=2)
        axis.set_xticks(x, [f"{value:,}" for value in x])
        axis.set_xlabel(name)
        axis.set_ylim(bottom=0)
        axis.set_title(", ".join(f"{key} {value:,}" for key, value in fixed.items()))
    axes[0].set_ylabel("seconds per step")
    axes[0].legend(loc="upper left", fontsize=8)
    figure.suptitle("A TopK training step: measured, and the fitted cost model")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows `scaling/…`; a full run also writes data and plot."""
    points: list[Point] = []
    for setting in settings():
        took = seconds(setting, 1 if quick else 5)
        point = {"d_in": setting.d_in, "d_sae": setting.d_sae, "k": setting.l0, "batch": setting.batch}
        points.append({**point, "seconds": took})
        gc.collect()
    rates = fit(points)
    data = {"points": points, "rates": rates, "threads": torch.get_num_threads()}
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "scaling.json").write_text(json.dumps(data, indent=2) + "\n", "utf-8")
        draw(data, RESULTS / "scaling.png")
    out: list[dict[str, Any]] = []
    for name, least, most in (("d_sae", D_SAE[0], D_SAE[-1]), ("k", K[0], K[-1])):
        other = {"d_sae": {"k": 32}, "k": {"d_sae": 9216}}[name]
        ends = [
            next(
                p["seconds"]
                for p in points
                if p[name] == value
                and p["batch"] == 4096
                and p["d_in"] == 576
                and all(p[key] == fixed for key, fixed in other.items())
            )
            for value in (least, most)
        ]
        growth = ends[1] / ends[0]
        out.append(
            {
                "name": f"scaling/{name}-x{most // least}",
                "ours": ends[1],
                "peer": ends[0],
                "unit": "s/step",
                "ratio": growth,
                "goal": most / least,
                "holds": growth <= most / least,
                "note": f"a step at {name} {most:,} over one at {least:,}; at most proportional",
            }
        )
    worst = max(abs(sum(predict(rates, p).values()) / p["seconds"] - 1) for p in points)
    out.append(
        {
            "name": "scaling/model-error",
            "ours": worst,
            "peer": None,
            "unit": "relative",
            "ratio": None,
            "goal": FIT_GOAL,
            "holds": worst <= FIT_GOAL,
            "note": "; ".join(READS[n].format(1e-9 / r) for n, r in rates.items() if r),
        }
    )
    return out


if __name__ == "__main__":
    if "--draw" in sys.argv:
        draw(json.loads((RESULTS / "scaling.json").read_text("utf-8")), RESULTS / "scaling.png")
    else:
        for row in rows("--quick" in sys.argv):
            print(json.dumps(row))
