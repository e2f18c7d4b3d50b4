"""`python -m bench [--rows 'sae-step/*'] [--quick]`: measure, print a table, write `bench/results/latest.json`.

Each part (`rows(quick)` of a module, or the function that PARTS names) interleaves ours and theirs in one run, since
machines are noisy. Rows of parts that were not asked for keep their last measured values in the file.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import traceback
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "latest.json"
PARTS = {
    "serve": "bench.serve",
    "delete": "bench.delete",
    "metrics": "bench.watch:serving",
    "events": "bench.watch:latency",
    "training/frames": "bench.watch:frames",
    "training/back": "bench.watch:back",
    "rows": "bench.rows",
    "training/list-10k": "bench.training_list",
    "sae-step": "bench.sae_step",
    "sae-memory": "bench.sae_memory",
    "tokenize": "bench.tokenization",
    "encode": "bench.encode",
    "scaling": "bench.scaling",
    "harvest": "bench.harvest",
    "features": "bench.features",
    "end-to-end/on-the-fly/vs-saelens": "bench.end_to_end:against_saelens",
    "end-to-end/on-the-fly/vs-dictionary-learning": "bench.end_to_end:against_dictionary_learning",
    "end-to-end/on-the-fly-bfloat16/vs-saelens": "bench.end_to_end:against_saelens_in_bfloat16",
    "end-to-end/from-cache/vs-saelens": "bench.end_to_end:from_cache",
    "sweep": "bench.sweep",
    "training/memory-forecast": "bench.training_memory",
    "training/start": "bench.training_start",
    "ground-truth": "bench.ground_truth",
}


def machine() -> dict[str, Any]:
    """What the figures were measured on; no names or paths of the machine."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    import torch

    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def main() -> int:
    """Returns 1 when a part could not be measured; a row that misses its goal is reported, not an error."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rows", default="*", help="pattern of row names, e.g. 'sae-step/*'")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    chosen = parser.parse_args()
    about = machine()
    measured: list[dict[str, Any]] = []
    broken: list[str] = []
    for part, module in PARTS.items():
        if not _wanted(part, chosen.rows):
            continue
        sys.stderr.write(f"measuring {part} …\n")
        try:
            name, _, function = module.partition(":")
            rows = getattr(importlib.import_module(name), function or "rows")(chosen.quick)
        except Exception:
            traceback.print_exc()
            broken.append(part)
            continue
        measured += [
            {**row, "measured_at": about["measured_at"]} for row in rows if fnmatch(row["name"], chosen.rows)
        ]
    before = json.loads(RESULTS.read_text("utf-8"))["rows"] if RESULTS.exists() else []
    names = {row["name"] for row in measured}
    kept = [row for row in before if row["name"] not in names]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"machine": about, "rows": sorted(kept + measured, key=lambda row: row["name"])}, indent=2)
        + "\n"
    )
    _print(measured)
    for part in broken:
        sys.stderr.write(f"{part} could not be measured (see above)\n")
    return 1 if broken else 0


def _wanted(part: str, pattern: str) -> bool:
    """Whether a pattern such as 'sae-step/*' or '*' can match a row of this part."""
    return all(fnmatch(*pair) for pair in zip(part.split("/"), pattern.split("/"), strict=False))


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"{'row':<38}{'ours':>12}{'peer':>12}  {'unit':<10}{'ratio':>8}{'goal':>8}  holds")
    for row in rows:
        peer = "–" if row["peer"] is None else f"{row['peer']:.4g}"
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(
            f"{row['name']:<38}{row['ours']:>12.4g}{peer:>12}  {row['unit']:<10}{ratio:>8}{row['goal']:>8g}"
            f"  {'yes' if row['holds'] else 'NO'}{'  ' + row['note'] if row.get('note') else ''}"
        )


if __name__ == "__main__":
    sys.exit(main())
