"""Whole files from the hub, resumed at the byte where an earlier attempt stopped, and checked against their sums."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from mistudio.errors import StudioError

_CHUNK = 8 << 20
_CONNECTION_RETRIES = 2


def fetch_file(
    repo: str,
    name: str,
    *,
    commit: str,
    repo_type: Literal["model", "dataset"],
    token: str | None,
    folder: Path,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Path:
    """Download one file to `folder/name` and verify it; returns the path. One that is there already is kept.

    What has arrived lies in `folder/name.<etag>.partial` and is continued by the next call, also of another process.
    `on_bytes(done)` is called with the file's bytes that are here; what it raises stops the download. To be called
    within `hub_errors`. Raises StudioError `download_broken` for a file of another size or sum than announced.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise StudioError("download_broken", f"{repo} names a file that leads out of its folder.")
    if target.is_file():
        on_bytes(target.stat().st_size)
        return target
    url = hf_hub_url(repo, name, repo_type=repo_type, revision=commit)
    metadata = get_hf_file_metadata(url, token=token)
    etag, size = metadata.etag or "", metadata.size
    headers: dict[str, Any] = dict(build_hf_headers(token=token))
    if urlsplit(metadata.location).netloc != urlsplit(url).netloc:
        # Where large files are stored is addressed by signed links and must not see the token.
        headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{_short(etag or commit)}.partial")
    for other in target.parent.glob(f"{_escaped(target.name)}.*.partial"):
        if other != partial:
            other.unlink()
    with partial.open("ab") as file:
        start = file.tell()
        if size is not None and start > size:
            file.truncate(0)
            start = 0
        on_bytes(start)
        _get(metadata.location, file, start, headers, size, on_bytes)
        file.flush()
        os.fsync(file.fileno())
    if size is not None and partial.stat().st_size != size:
        partial.unlink()
        raise _broken(repo, name, "with another size than the hub announced")
    if not _sum_fits(partial, etag):
        partial.unlink()
        raise _broken(repo, name, "damaged: its checksum is not the one that the hub announced")
    partial.replace(target)
    return target


def _get(
    url: str,
    file: Any,
    start: int,
    headers: dict[str, Any],
    size: int | None,
    on_bytes: Callable[[int], None],
) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import tqdm

    class Counting(tqdm):
        """A progress bar that shows nothing and reports bytes instead."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})
            self.counted = int(kwargs.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.counted += int(n or 0)
            on_bytes(self.counted)
            return None

    http_get(
        url,
        file,
        resume_size=start,
        headers=headers,
        expected_size=size,
        tqdm_class=Counting,
        _nb_retries=_CONNECTION_RETRIES,
    )


def _sum_fits(path: Path, etag: str) -> bool:
    """Large files are announced by their SHA-256, small ones by git's name for their content."""
    if len(etag) == 64:
        digest = hashlib.sha256()
    elif len(etag) == 40:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        return True
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest() == etag


def _broken(repo: str, name: str, how: str) -> StudioError:
    return StudioError(
        "download_broken",
        f"{name} of {repo} arrived {how}.",
        hint="Retry; if it happens again, the hub or a proxy on the way is at fault.",
    )


def _short(etag: str) -> str:
    return "".join(character for character in etag if character.isalnum())[:40]


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
