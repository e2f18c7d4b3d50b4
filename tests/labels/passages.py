"""Passages written down as text: a word between « and » is one on which the feature fires."""

from __future__ import annotations

import re

from mistudio.labels.words import Passage, passage


def fires(text: str, group: str = "top", activation: float = 1.0) -> Passage:
    """A passage whose marked words carry the activation."""
    tokens, activations = [], []
    for piece in re.findall(r"\s*«[^»]*»|\s*[^\s«]+", text):
        marked = "«" in piece
        tokens.append(piece.replace("«", "").replace("»", ""))
        activations.append(activation if marked else 0.0)
    return passage(tokens, activations, group)


def silent(text: str) -> Passage:
    """A passage in which nothing fires."""
    return fires(text, "silent")
