"""Which files of a hub repository make up which configuration and split.

The rules are those of the hub's own documentation ("Data files configuration", "File names and splits"): what the
card's `configs` says; else shards named `data/{split}-00000-of-00002…`; else folders, then file names, with a split's
word in them; else everything is `train`. Parquet conversions (`refs/convert/parquet`) lie in `{config}/{split}/`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mistudio.datasets.formats import format_of, is_packed

Layout = dict[str, dict[str, list[str]]]
"""Configuration → split → paths in the repository, in order."""

DEFAULT = "default"
_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SHARD = re.compile(r"data/(?P<split>[^/]+?)-\d{5}-of-\d{5}[^/]*")
_CONVERTED = re.compile(r"(?P<config>[^/]+)/(?:partial-)?(?P<split>[^/]+)/\d{4}\.parquet")
_NOT_DATA = re.compile(r"(^|/)(\.|__)|(^|/)(README|LICENSE|dataset_infos?|config)[^/]*$", re.IGNORECASE)


def card_metadata(text: str) -> dict[str, Any]:
    """The YAML block at the top of a card; empty when there is none or it is broken."""
    import yaml

    match = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", text.replace("\r\n", "\n"), re.DOTALL)
    if match is None:
        return {}
    try:
        found = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def card_text(text: str) -> str:
    """A card without its YAML block."""
    return re.sub(
        r"\A\ufeff?---\s*\n.*?\n---\s*(\n|\Z)", "", text.replace("\r\n", "\n"), count=1, flags=re.DOTALL
    )


def layout(files: Iterable[str], card: Mapping[str, Any]) -> Layout:
    """Configurations and splits of a repository with these files and this card metadata; empty without data."""
    paths = sorted(path for path in files if not _NOT_DATA.search(path) and _readable(path))
    if configs := _configs(card):
        found = {name: _from_card(config, paths) for name, config in configs.items()}
        return {name: splits for name, splits in found.items() if splits}
    converted = [match for path in paths if (match := _CONVERTED.fullmatch(path))]
    if converted and len(converted) == len(paths):
        made: Layout = {}
        for match in converted:
            made.setdefault(match["config"], {}).setdefault(match["split"], []).append(match.string)
        return made
    splits = _by_names(paths)
    return {DEFAULT: splits} if splits else {}


def default_configuration(found: Layout, card: Mapping[str, Any]) -> str | None:
    """The configuration that is meant when none is named; None when there are several and none is the default."""
    if len(found) == 1:
        return next(iter(found))
    marked = [name for name, config in _configs(card).items() if config.get("default") is True]
    return next((name for name in [*marked, DEFAULT] if name in found), None)


def rows_by_card(card: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """(configuration, split) → rows, where the card's `dataset_info` says them."""
    infos = card.get("dataset_info")
    found: dict[tuple[str, str], int] = {}
    for info in infos if isinstance(infos, list) else [infos]:
        if not isinstance(info, dict) or not isinstance(info.get("splits"), list):
            continue
        config = str(info.get("config_name") or DEFAULT)
        for split in info["splits"]:
            if isinstance(split, dict) and isinstance(split.get("num_examples"), int):
                found[config, str(split.get("name"))] = split["num_examples"]
    return found


def _readable(path: str) -> bool:
    return format_of(path) is not None or (is_packed(path) and path.lower().endswith(".zip"))


def _configs(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    listed = card.get("configs")
    if not isinstance(listed, list):
        return {}
    return {
        str(config.get("config_name") or DEFAULT): config
        for config in listed
        if isinstance(config, dict) and ("data_files" in config or "data_dir" in config)
    }


def _from_card(config: Mapping[str, Any], paths: list[str]) -> dict[str, list[str]]:
    below = str(config.get("data_dir") or "").strip("/")
    below = f"{below}/" if below and below != "." else ""
    inside = [path for path in paths if path.startswith(below)]
    named: Any = config.get("data_files")
    if named is None:
        return _by_names(inside, below)
    entries: list[tuple[str, Any]] = []
    for entry in named if isinstance(named, list) else [named]:
        if isinstance(entry, dict) and "path" in entry:
            entries.append((str(entry.get("split") or "train"), entry["path"]))
        elif isinstance(entry, dict):
            entries += [(str(split), patterns) for split, patterns in entry.items()]
        else:
            entries.append(("train", entry))
    splits: dict[str, list[str]] = {}
    for split, patterns in entries:
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            match = glob(below + str(pattern).removeprefix("./"))
            splits.setdefault(split, []).extend(path for path in inside if match.fullmatch(path))
    return {split: list(dict.fromkeys(found)) for split, found in splits.items() if found}


def glob(pattern: str) -> re.Pattern[str]:
    """A pattern of paths: `*` and `?` within a folder, `**` across folders, `[abc]` a character, `{a,b}` a choice."""
    out, at, depth = "", 0, 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("**/", at):
            out, at = out + "(?:[^/]+/)*", at + 3
        elif pattern.startswith("**", at):
            out, at = out + ".*", at + 2
        elif character == "[" and (end := pattern.find("]", at + 2)) > 0:
            inner = pattern[at + 1 : end]
            inverted, inner = inner[:1] in "!^", inner.lstrip("!^") if inner[:1] in "!^" else inner
            out += f"[{'^' if inverted else ''}{re.escape(inner).replace(chr(92) + '-', '-')}]"
            at = end + 1
        elif character == "{" and "}" in pattern[at:]:
            out, at, depth = out + "(?:", at + 1, depth + 1
        elif character == "}" and depth:
            out, at, depth = out + ")", at + 1, depth - 1
        elif character == "," and depth:
            out, at = out + "|", at + 1
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(character) or re.escape(character)
            at += 1
    try:
        return re.compile(out)
    except re.error:
        return re.compile(re.escape(pattern))


def _by_names(paths: list[str], below: str = "") -> dict[str, list[str]]:
    short = {path: path.removeprefix(below) for path in paths}
    shards: dict[str, list[str]] = {}
    for path, name in short.items():
        if match := _SHARD.fullmatch(name):
            shards.setdefault(match["split"], []).append(path)
    if shards:
        return shards
    paths = _of_main_format(paths)
    for place in ("folder", "file"):
        found: dict[str, list[str]] = {}
        for path in paths:
            folder, _, file = short[path].rpartition("/")
            parts = folder.split("/") if place == "folder" else [file]
            if split := _split_named(parts):
                found.setdefault(split, []).append(path)
        if found:
            return found
    return {"train": paths} if paths else {}


def _split_named(parts: list[str]) -> str | None:
    for split, words in _WORDS.items():
        pattern = re.compile(rf"(^|.*[-._ 0-9])({'|'.join(words)})([-._ 0-9].*|$)")
        if any(pattern.fullmatch(part) for part in parts):
            return split
    return None


def _of_main_format(paths: list[str]) -> list[str]:
    """The files of the commonest format: a CSV of labels beside a thousand texts is no part of them."""
    counts = Counter(format_of(path) for path in paths)
    if not counts:
        return []
    main = counts.most_common(1)[0][0]
    return [path for path in paths if format_of(path) == main]
