"""`python -m bench.tables`: put what was measured into the tables of the docs, between their markers."""

from __future__ import annotations

import json
import statistics
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bench.__main__ import RESULTS
from bench.ground_truth import KINDS, mean_of, records

DOCS = Path(__file__).parents[1] / "docs"
SHOWN = ("sae-step/*", "sae-memory/*", "encode/*", "end-to-end/*", "sweep/*")


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line for each row, in the order of `SHOWN`."""
    lines = ["| row | ours | the other | ratio | wanted | |", "|---|---|---|---|---|---|"]
    for pattern in SHOWN:
        for row in rows:
            if fnmatch(row["name"], pattern):
                peer = "–" if row["peer"] is None else f"{row['peer']:.3g} {row['unit']}"
                ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
                mark = "holds" if row["holds"] else "**falls short**"
                ours = f"{row['ours']:.3g} {row['unit']}"
                lines.append(f"| `{row['name']}` | {ours} | {peer} | {ratio} | {row['goal']:g} | {mark} |")
    return "\n".join(lines)


def speed() -> str:
    """The rows of the step, whole trainings, sweeps and encoding, and where they were measured."""
    measured = json.loads(RESULTS.read_text("utf-8"))
    about = measured["machine"]
    where = f"{about['cpu']}, {about['cores']} cores, torch {about['torch']}, {about['measured_at'][:10]}."
    return f"{table(measured['rows'])}\n\n{where}"


def ground_truth() -> str:
    """The race for known features: means over seeds, with standard deviations."""
    lines = ["| | seeds | F1 ours / SAELens | MCC ours / SAELens | L0 | SAELens' time over ours |"]
    lines.append("|---|---|---|---|---|---|")
    for kind in KINDS:
        parts = [part for (name, _), part in sorted(records().items()) if name == kind]
        if not parts:
            continue
        cells = [kind, str(len(parts))]
        for score, digits in (("f1", 3), ("mcc", 3), ("l0", 1)):
            pair = [mean_of(parts, side, score) for side in ("ours", "theirs")]
            spread = digits == 3
            cells.append(
                " / ".join(
                    f"{mean:.{digits}f}" + (f" ± {deviation:.3f}" if spread else "")
                    for mean, deviation in pair
                )
            )
        cells.append(f"{statistics.median(part['time_ratio'] for part in parts):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


PUBLISHED = {
    "matryoshka": ("Matryoshka", ".879 / .793"),
    "batch_topk": ("BatchTopK", ".732 / .757"),
    "jump_relu": ("JumpReLU", ".732 / .753"),
    "topk": ("TopK", "–"),
    "standard": ("standard (L1)", ".556 / .604"),
}
"""F1 / MCC in SynthSAEBench-16k at L0 25 (arXiv 2602.14687)."""


def known_features() -> str:
    """The same race beside published figures."""
    lines = [
        "| F1 / MCC | ours, small world | SAELens, small world | SynthSAEBench, published |",
        "|---|---|---|---|",
    ]
    for kind, (name, published) in PUBLISHED.items():
        parts = [part for (one, _), part in records().items() if one == kind]
        cells = [
            " / ".join(f"{mean_of(parts, side, score)[0]:.3f}".lstrip("0") for score in ("f1", "mcc"))
            for side in ("ours", "theirs")
        ]
        lines.append("| " + " | ".join([name, *cells, published]) + " |")
    return "\n".join(lines)


TABLES = {
    "known features": (DOCS / "science.md", known_features),
    "speed": (DOCS / "science.md", speed),
    "ground truth": (DOCS / "decisions" / "0008-ground-truth.md", ground_truth),
}


def main() -> int:
    """Returns 1 when a page has lost its markers."""
    for name, (page, written) in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        head, found, rest = page.read_text("utf-8").partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            sys.stderr.write(f"{page.name} has no {begin} … {end}\n")
            return 1
        page.write_text(f"{head}{begin}\n{written()}\n{end}{tail}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
