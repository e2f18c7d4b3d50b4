"""F1 and MCC of every part of the race for known features as a dot, means as bars."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLOURS = {"ours": "tab:blue", "theirs": "tab:gray"}


def draw(parts: list[dict[str, Any]], kinds: Sequence[str], title: str, file: Path) -> None:
    """One pane for each score; seeds are dots, so that their noise is seen beside the difference."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for pane, score in zip(panes, ("f1", "mcc"), strict=True):
        for place, kind in enumerate(kinds):
            for side, shift in (("ours", -0.18), ("theirs", 0.18)):
                values = [part[side][score] for part in parts if part["kind"] == kind]
                if values:
                    pane.bar(place + shift, statistics.mean(values), 0.32, color=COLOURS[side], alpha=0.45)
                    pane.scatter([place + shift] * len(values), values, s=14, color=COLOURS[side], zorder=3)
        pane.set_title(f"{score.upper()}: seeds (dots) and mean (bars)", fontsize=10)
        pane.set_xticks(range(len(kinds)), kinds, rotation=15)
        pane.grid(axis="y", alpha=0.3)
    for side, name in (("ours", "miStudio"), ("theirs", "SAELens")):
        panes[0].bar(0, 0, color=COLOURS[side], alpha=0.45, label=name)
    panes[0].legend()
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
