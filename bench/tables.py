"""`python -m bench.tables`: put the measured rows into the table of docs/science.md, between its two markers."""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bench.__main__ import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "science.md"
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
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


def main() -> int:
    """Returns 1 when the page has lost its markers."""
    text = PAGE.read_text("utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        sys.stderr.write(f"{PAGE.name} has no {BEGIN} … {END}\n")
        return 1
    measured = json.loads(RESULTS.read_text("utf-8"))
    about = measured["machine"]
    where = f"{about['cpu']}, {about['cores']} cores, torch {about['torch']}, {about['measured_at'][:10]}."
    PAGE.write_text(f"{head}{BEGIN}\n{table(measured['rows'])}\n\n{where}\n{END}{tail}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
