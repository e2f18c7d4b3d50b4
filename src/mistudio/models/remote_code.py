"""Python files that come with a model. They run only with a person's consent to exactly these files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mistudio.errors import StudioError
from mistudio.models.schemas import ModelCodeFile, ModelCodeOut

SUFFIX = ".py"
_SHOWN_CHARACTERS = 200_000


def code_in(folder: Path) -> dict[str, bytes]:
    """The Python files of a model folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob(f"*{SUFFIX}")) if path.is_file()}


def digest_of(files: Mapping[str, bytes]) -> str:
    """64 hexadecimal digits that stand for these files: another file, name or byte gives others."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()


def shown(files: Mapping[str, bytes], config: Mapping[str, Any]) -> ModelCodeOut | None:
    """The files as a person reads them before consenting; None where there are none or nothing would call them."""
    if not files or "auto_map" not in config:
        return None
    return ModelCodeOut(
        digest=digest_of(files),
        files=[
            ModelCodeFile(
                name=name,
                bytes=len(content),
                text=content.decode("utf-8", errors="replace")[:_SHOWN_CHARACTERS],
            )
            for name, content in sorted(files.items())
        ],
    )


def check_consent(files: Mapping[str, bytes], consented: str, place: str) -> None:
    """Raises StudioError `code_changed` unless these are the very files that were consented to."""
    if digest_of(files) != consented:
        raise StudioError(
            "code_changed",
            f"The Python files of {place} are not the ones that were consented to.",
            hint="Look at them again, and consent to what is there now if you trust it.",
            status=409,
        )
