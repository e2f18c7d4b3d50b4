"""Where a text may be cut so that a tokenizer gives the same ids for the parts as for the whole.

A cut changes nothing when no step of the tokenizer looks across it; then each part can be encoded once and looked up
ever after (`encoding`). Which cuts are safe is decided from `tokenizer.json`, step by step; a tokenizer with any step
that is not known is not cut. The cuts:

- before a space that follows a character other than white space;
- behind a Latin letter, before an ASCII character that is neither letter nor apostrophe (`behind_letters`);
- before the last of several spaces in front of a visible ASCII character other than a digit (`last_spaces`; digits are
  often split off before spaces are looked at).

At each of them every known pattern ends a match, whatever follows: words end with their letters, and of several spaces
the last belongs to what it stands before. Tokenizers in the way of SentencePiece (Llama 2, Gemma, Mistral) have no
pattern: they write a space as ▁ and merge symbols all over the text. No merge reaches over the first kind of cut when
no token of the vocabulary has a ▁ behind another character; the other cuts are not made with them.
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
_SPACE = "▁"
_TO_SPACE_MARK = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}


class Cuts(NamedTuple):
    """Which cuts are safe besides those before words. `names`: tokens that they might tear where a text has them.

    `prepends`: the tokenizer puts a mark before each text that it is given, and so must be told where a text begins.
    """

    behind_letters: bool
    last_spaces: bool
    prepends: bool
    names: tuple[bytes, ...]


def safe_cuts(specification: dict[str, Any]) -> Cuts | None:
    """The cuts that are safe with a tokenizer; None when even those before words may not be. It is a tokenizer.json."""
    if (specification.get("model") or {}).get("dropout"):
        return None
    added = specification.get("added_tokens") or []
    if not all(_safe_token(token) for token in added):
        return None
    normalizers = list(_steps(specification.get("normalizer"), "normalizers"))
    steps = list(_steps(specification.get("pre_tokenizer"), "pretokenizers"))
    names = [str(token.get("content")) for token in added]
    if _TO_SPACE_MARK in normalizers or any(step.get("type") == "Metaspace" for step in steps):
        return _cuts_before_marks(specification, normalizers, steps, names)
    # NFC composes a character with those behind it; a space composes with nothing before it.
    if any(step.get("type") != "NFC" for step in normalizers):
        return None
    kinds = [_kind_of(step) for step in steps]
    if _WORD_SPLIT not in kinds or None in kinds:
        return None
    return Cuts(
        prepends=False,
        # A step that puts a space before what has none would put it before parts of words.
        behind_letters=not any(step.get("add_prefix_space", False) for step in steps),
        last_spaces=not any(re.search(r"\s", name) for name in names),
        names=_bytes_of(names),
    )


def _cuts_before_marks(
    specification: dict[str, Any],
    normalizers: list[dict[str, Any]],
    steps: list[dict[str, Any]],
    names: list[str],
) -> Cuts | None:
    model = specification.get("model") or {}
    vocabulary: dict[str, int] = model.get("vocab") or {}
    torn = re.compile(f"[^{_SPACE}]{_SPACE}")
    if model.get("type") != "BPE" or _SPACE not in vocabulary or any(map(torn.search, vocabulary)):
        return None
    prepend = {"type": "Prepend", "prepend": _SPACE}
    if any(step not in (_TO_SPACE_MARK, prepend, {"type": "NFC"}) for step in normalizers):
        return None
    for step in steps:
        # Where normalizing has left no space, a split at spaces does nothing.
        idle = step.get("type") == "Split" and step.get("pattern") == {"String": " "}
        marks = step.get("type") == "Metaspace" and step.get("replacement") == _SPACE
        if not marks and not (idle and _TO_SPACE_MARK in normalizers):
            return None
    return Cuts(
        behind_letters=False, last_spaces=False, prepends=prepend in normalizers, names=_bytes_of(names)
    )


def without_prepend(specification: dict[str, Any]) -> dict[str, Any]:
    """The normalizer of a tokenizer.json less what it puts before a text."""
    steps = _steps(specification.get("normalizer"), "normalizers")
    return {"type": "Sequence", "normalizers": [step for step in steps if step.get("type") != "Prepend"]}


def _bytes_of(names: list[str]) -> tuple[bytes, ...]:
    return tuple(sorted({name.encode() for name in names if name.strip()}))


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
