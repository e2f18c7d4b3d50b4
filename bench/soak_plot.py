"""`python -m bench.soak_plot`: memory over time of the last soak, as `bench/results/soak.png`."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Draw every series in MB over minutes."""
    found = json.loads((RESULTS / "soak.json").read_text())
    samples, growth = found["samples"], found["growth per hour"]
    minutes = [sample["seconds"] / 60 for sample in samples]
    figure, axes = plt.subplots(figsize=(9, 5))
    for name, share in growth.items():
        values = [None if sample[name] is None else sample[name] / 1e6 for sample in samples]
        axes.plot(minutes, values, label=f"{name} ({100 * share:+.1f} % an hour)")
    axes.set(
        xlabel="minutes",
        ylabel="MB",
        ylim=(0, None),
        title=f"Three trainings and a page that shows one: {samples[-1]['points']:,} points of its curves",
    )
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.tight_layout()
    figure.savefig(RESULTS / "soak.png", dpi=120)


if __name__ == "__main__":
    main()
