"""What the tests' tiny models read. It never changes: what they learn would change with it."""

from __future__ import annotations

from pathlib import Path

CORPUS = (Path(__file__).parent / "corpus.txt").read_text("utf-8")
"""Some 33 kB of English and code."""
FOR_TOKENIZER = CORPUS[:5_234]
"""What a tokenizer is trained on in a moment."""
