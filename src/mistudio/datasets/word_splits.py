"""Where a text may be cut so that a tokenizer gives the same ids for the parts as for the whole.

A cut changes nothing when no step of the tokenizer looks across it; then each part can be encoded once and looked up
ever after (`encoding`). Which cuts are safe is decided from `tokenizer.json`, step by step; a tokenizer with any step
that is not known is not cut. The cuts:

- before a space that follows a character other than white space;
- behind a Latin letter, before an ASCII character that is neither letter nor apostrophe (`behind_letters`);
- before the last of several spaces in front of something visible (`last_spaces`).

At each of them every known pattern ends a match, whatever follows: words end with their letters, and of several spaces
the last belongs to what it stands before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

# Parts of a splitting pattern that never match past a cut and that never look at what stands before their match.
# They are those of GPT-2, of cl100k (Llama 3, Qwen, OLMo 2) and of o200k.
_SAFE_PARTS = frozenset(
    {
        *("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"),
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        "'(?:[sdmt]|ll|ve|re)",
        "'(?i:[sdmt]|ll|ve|re)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"[^\r\n\p{L}\p{N}]?+\p{L}+",
        r" ?\p{L}+",
        r"\p{L}+",
        r" ?\p{N}+",
        r"\p{N}+",
        r"\p{N}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\s*[\r\n]+",
        r"\s*[\r\n]",
        r"\s+(?!\S)",
        r"\s+",
        r"\s+$",
        r"\s++$",
        r"\s",
    }
)
# Without one of these at its end a pattern may leave a space unmatched, and a piece might then reach across it.
_ALL_SPACE = frozenset({r"\s+", r"\s"})
_WORD_SPLIT = "split"
_HARMLESS = "harmless"


class Cuts(NamedTuple):
    """Which cuts are safe besides those before words. `names`: tokens that they might tear where a text has them."""

    behind_letters: bool
    last_spaces: bool
    names: tuple[bytes, ...]


def safe_cuts(specification: dict[str, Any]) -> Cuts | None:
    """The cuts that are safe with a tokenizer; None when even those before words may not be. It is a tokenizer.json."""
    if (specification.get("model") or {}).get("dropout"):
        return None
    added = specification.get("added_tokens") or []
    if not all(_safe_token(token) for token in added):
        return None
    # NFC composes a character with those behind it; a space composes with nothing before it.
    if any(step.get("type") != "NFC" for step in _steps(specification.get("normalizer"), "normalizers")):
        return None
    steps = list(_steps(specification.get("pre_tokenizer"), "pretokenizers"))
    kinds = [_kind_of(step) for step in steps]
    if _WORD_SPLIT not in kinds or None in kinds:
        return None
    names = [str(token.get("content")) for token in added]
    return Cuts(
        # A step that puts a space before what has none would put it before parts of words.
        behind_letters=not any(step.get("add_prefix_space", False) for step in steps),
        last_spaces=not any(re.search(r"\s", name) for name in names),
        names=tuple(sorted({name.encode() for name in names if name.strip()})),
    )


def _steps(step: dict[str, Any] | None, inner: str) -> Iterator[dict[str, Any]]:
    if step is None:
        return
    if step.get("type") == "Sequence":
        for part in step.get(inner) or []:
            yield from _steps(part, inner)
    else:
        yield step


def _safe_token(token: dict[str, Any]) -> bool:
    """An added token is cut out of the text before all else: it must not reach over a cut."""
    return (
        not token.get("rstrip")
        and not token.get("single_word")
        and re.search(r"\S\s", str(token.get("content"))) is None
    )


def _kind_of(step: dict[str, Any]) -> str | None:
    """Splits before words, does no harm, or (None) is not known."""
    kind = step.get("type")
    if kind == "ByteLevel":
        return _WORD_SPLIT if step.get("use_regex", True) else _HARMLESS
    if kind == "Digits":
        return _HARMLESS  # it looks at neighbouring characters only, and a space is no digit
    if kind == "Split":
        whole = (step.get("behavior"), bool(step.get("invert"))) in {("Isolated", False), ("Removed", True)}
        pattern = (step.get("pattern") or {}).get("Regex")
        return _WORD_SPLIT if whole and pattern is not None and _safe_pattern(pattern) else None
    return None


def _safe_pattern(pattern: str) -> bool:
    parts = list(_alternatives(pattern))
    return all(part in _SAFE_PARTS for part in parts) and parts[-1] in _ALL_SPACE


def _alternatives(pattern: str) -> Iterator[str]:
    """The parts of a pattern between its outermost bars."""
    depth, begin, at = 0, 0, 0
    in_set = False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 1
        elif in_set:
            in_set = character != "]"
        elif character == "[":
            in_set = True
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and depth == 0:
            yield pattern[begin:at]
            begin = at + 1
        at += 1
    yield pattern[begin:]
