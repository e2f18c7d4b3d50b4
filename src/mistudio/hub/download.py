"""Whole files from the hub, resumed at the byte where an earlier attempt stopped, and checked against their sums."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from mistudio.errors import StudioError
from mistudio.hub.client import Origin
from mistudio.hub_answers import listed_sum
from mistudio.store import disk_errors
from mistudio.store.atomic import sync_folder

_BLOCK = 8 << 20
_CONNECTION_RETRIES = 2

Report = Callable[[str, int, int], None]
"""Called as (what is being done, bytes done, bytes in all); what it raises stops the transfer."""


@dataclass(frozen=True)
class HubFile:
    """A file as a listing names it. `sum` is its SHA-256, or git's SHA-1 of a small file; None where not given."""

    name: str
    size: int
    sum: str | None = None


def listed_files(info: Any) -> dict[str, HubFile]:
    """The files of a repository by name, as the client's listing with `files_metadata` has them."""
    return {s.rfilename: HubFile(s.rfilename, int(s.size or 0), listed_sum(s)) for s in info.siblings or []}


def fetch_files(origin: Origin, files: Sequence[HubFile], folder: Path, report: Report) -> list[Path]:
    """Download files whole to `folder/name`, in this order; returns their paths.

    What an earlier attempt left there is checked and kept, and a file that it had begun is gone on with. Raises
    StudioError as `hub_errors` does, `download_broken`, `disk_full`; `DiskFull`.
    """
    total = sum(file.size for file in files)
    here, missing = 0, list[HubFile]()

    def checked(done: int) -> None:
        report("Check what is here", min(here + done, total), total)

    def arrived(done: int) -> None:
        report("Download", min(here + done, total), total)

    for file in files:
        path = place(origin, file, folder)
        if path.is_file() and _intact(path, file, checked):
            here += file.size
        else:
            path.unlink(missing_ok=True)
            missing.append(file)
    check_room(origin.repo, sum(file.size - _begun(file, folder) for file in missing), folder)
    for file in missing:
        _fetch(origin, file, folder, checked, arrived)
        here += file.size
    report("Download", total, total)
    return [folder / file.name for file in files]


def fetch_file(
    origin: Origin, file: HubFile, folder: Path, on_bytes: Callable[[int], None] = lambda _: None
) -> Path:
    """As `fetch_files`, for one file; `on_bytes(done)` is called with the file's bytes that are here."""
    [path] = fetch_files(origin, [file], folder, lambda _, done, __: on_bytes(done))
    return path


def check_room(repo: str, needed: int, folder: Path) -> None:
    """Raises StudioError `disk_full` where `needed` more bytes do not fit on the disk of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StudioError(
            "disk_full",
            f"{repo} needs {needed:,} bytes and {free:,} are free in the data folder.",
            hint="Free some space, then retry.",
            status=507,
        )


def headers_for(origin: Origin, file: HubFile, location: str) -> dict[str, Any]:
    """What to send when asking for a file's bytes where they are."""
    from huggingface_hub.utils import build_hf_headers

    headers: dict[str, Any] = dict(build_hf_headers(token=origin.token))
    if _is_elsewhere(origin, file, location):
        # Where large files are stored is addressed by signed links and must not see the token.
        headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
    # Packed on the way, a file has neither its size nor its ranges.
    return headers | {"Accept-Encoding": "identity"}


def locate(origin: Origin, file: HubFile) -> tuple[str, HubFile]:
    """Where the bytes of a file are, and the file with its sum. Raises StudioError `download_broken`, `hub_refused`."""
    from huggingface_hub import constants, get_hf_file_metadata

    found = get_hf_file_metadata(_url(origin, file), token=origin.token)
    if found.size is not None and found.size != file.size:
        raise broken(origin, file.name, "with another size than its listing says")
    if file.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
        raise StudioError(
            "hub_refused",
            f"{file.name} of {origin.repo} has {file.size:,} bytes, more than the hub gives by HTTP.",
            hint="Fetch it with the hub's own tools, and add it from this machine.",
        )
    return found.location, HubFile(file.name, file.size, file.sum or found.etag)


def has_expired(error: BaseException, origin: Origin, file: HubFile, location: str) -> bool:
    """Whether a signed link to where the bytes of a file are may have run out: the file is then to be located anew."""
    response: Any = getattr(error, "response", None)
    return getattr(response, "status_code", 0) == 403 and _is_elsewhere(origin, file, location)


def _is_elsewhere(origin: Origin, file: HubFile, location: str) -> bool:
    return urlsplit(location).netloc != urlsplit(_url(origin, file)).netloc


def _url(origin: Origin, file: HubFile) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(origin.repo, file.name, repo_type=origin.kind, revision=origin.commit)


def broken(origin: Origin, name: str, how: str) -> StudioError:
    """A file that did not arrive as it was announced, and how."""
    return StudioError(
        "download_broken",
        f"{name} of {origin.repo} arrived {how}.",
        hint="Retry; if it happens again, the hub or a proxy on the way is at fault.",
        status=502,
    )


def digest_for(sum: str | None, size: int) -> Any:
    """The hash that makes such a sum of a file of `size` bytes; None where none is known."""
    if len(sum or "") == 64:
        return hashlib.sha256()
    if len(sum or "") == 40:
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return None


def short_name(file: HubFile, origin: Origin) -> str:
    """What tells this version of a file from another one, in the name of what has arrived of it."""
    return "".join(c for c in file.sum or origin.commit if c.isalnum())[:40]


class _Arriving:
    """The part of a file that is here, open to be gone on with; hashed as it grows, so that it is read only once."""

    def __init__(
        self,
        raw: BinaryIO,
        origin: Origin,
        file: HubFile,
        checked: Callable[[int], None],
        arrived: Callable[[int], None],
    ) -> None:
        self._raw, self._origin, self._file, self._arrived = raw, origin, file, arrived
        raw.seek(0, os.SEEK_END)
        if raw.tell() > file.size:
            raw.truncate(0)
        self.done, self._digest = 0, digest_for(file.sum, file.size)
        raw.seek(0)
        while block := raw.read(_BLOCK):
            if self._digest is not None:
                self._digest.update(block)
            self.done += len(block)
            checked(self.done)
        arrived(self.done)

    def write(self, chunk: bytes) -> int:
        self.done += len(chunk)
        if self.done > self._file.size:
            raise broken(self._origin, self._file.name, "longer than the hub announced")
        with disk_errors(self._raw.name):
            self._raw.write(chunk)
        if self._digest is not None:
            self._digest.update(chunk)
        self._arrived(self.done)
        return len(chunk)

    def tell(self) -> int:
        return self.done

    def seek(self, offset: int) -> int:
        """The client goes back to the beginning when the hub has sent the whole file instead of its rest."""
        assert offset == 0
        self._raw.truncate(0)
        self.done, self._digest = 0, digest_for(self._file.sum, self._file.size)
        return 0

    def truncate(self) -> int:
        return 0

    def check(self) -> None:
        """Raises StudioError `download_broken` unless all of it is here and has its sum."""
        if self.done != self._file.size:
            raise broken(self._origin, self._file.name, "with another size than the hub announced")
        if self._digest is not None and self._digest.hexdigest() != self._file.sum:
            raise broken(
                self._origin,
                self._file.name,
                "damaged: its checksum is not the one that the hub announced",
            )


def _fetch(
    origin: Origin,
    file: HubFile,
    folder: Path,
    checked: Callable[[int], None],
    arrived: Callable[[int], None],
) -> None:
    target = folder / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with origin.errors():
        location, file = locate(origin, file)
        partial = target.with_name(f"{target.name}.{short_name(file, origin)}.partial")
        for other in _partials(target):
            if other != partial:
                other.unlink()
        with partial.open("ab+") as raw:
            arriving = _Arriving(raw, origin, file, checked, arrived)
            _get(origin, file, location, arriving)
            with disk_errors(partial):
                raw.flush()
                os.fsync(raw.fileno())
        try:
            arriving.check()
        except StudioError:
            partial.unlink()
            raise
    partial.replace(target)
    sync_folder(target.parent)


def _get(origin: Origin, file: HubFile, location: str, arriving: _Arriving) -> None:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        """A progress bar that shows nothing."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    sink: Any = arriving
    while True:
        before = arriving.done
        try:
            return http_get(
                location,
                sink,
                resume_size=arriving.done,
                headers=headers_for(origin, file, location),
                expected_size=file.size,
                tqdm_class=Silent,
                _nb_retries=_CONNECTION_RETRIES,
            )
        except HfHubHTTPError as error:
            if arriving.done == before or not has_expired(error, origin, file, location):
                raise
            location, _ = locate(origin, file)


def place(origin: Origin, file: HubFile, folder: Path) -> Path:
    """Where a file of a repository belongs in a folder of ours. Raises StudioError for one that would leave it."""
    target = folder / file.name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise StudioError("download_broken", f"{origin.repo} names a file that leads out of its folder.")
    return target


def _intact(path: Path, file: HubFile, tick: Callable[[int], None]) -> bool:
    """Whether a file that is here is the one that is wanted; `tick(bytes)` is called as it is read."""
    digest, done = digest_for(file.sum, file.size), 0
    if path.stat().st_size != file.size:
        return False
    if digest is None:
        return True
    with path.open("rb") as held:
        while block := held.read(_BLOCK):
            digest.update(block)
            done += len(block)
            tick(done)
    return digest.hexdigest() == file.sum


def _begun(file: HubFile, folder: Path) -> int:
    return sum(part.stat().st_size for part in _partials(folder / file.name))


def _partials(target: Path) -> list[Path]:
    escaped = "".join(f"[{c}]" if c in "*?[" else c for c in target.name)
    return list(target.parent.glob(f"{escaped}.*.partial"))
