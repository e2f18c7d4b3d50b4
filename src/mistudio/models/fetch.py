"""Bringing a model's files into its folder, from the hub, a folder or a GGUF file. What stays is safetensors."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mistudio.errors import StudioError
from mistudio.hub.client import prepare_hub
from mistudio.jobs import JobContext
from mistudio.models.remote_code import SUFFIX, check_consent, code_in
from mistudio.models.schemas import HubModelSource, ModelConsent

_COPIED = (".json", ".jinja", ".txt", ".model")
_CHUNK = 8 << 20
Value = TypeVar("Value")


def download(context: JobContext, source: HubModelSource, consent: ModelConsent, folder: Path) -> None:
    """Fetch a repository's files, check them, and turn what is no safetensors into such."""
    token = prepare_hub(context.settings)
    from mistudio.lm import hub_listing, hub_snapshot

    context.log(f"Looking at {source.repo} ({source.revision})")
    context.progress(0, None, "bytes", "Look at the repository")
    listing = hub_listing(
        source.repo,
        revision=source.revision,
        token=token,
        gguf_file=source.gguf_file,
        timeout=context.settings.hub_timeout_seconds,
        pickles=consent.pickle,
        code=consent.code is not None,
    )
    free = shutil.disk_usage(folder).free
    if listing.needed_bytes > free:
        raise StudioError(
            "disk_full",
            f"{source.repo} needs {listing.needed_bytes:,} bytes and {free:,} are free in the data folder.",
            hint="Free some space, or choose another data folder.",
            status=507,
        )
    try:
        hub_snapshot(
            source.repo,
            revision=listing.commit,
            listing=listing,
            token=token,
            folder=folder,
            on_bytes=lambda done, total: context.progress(done, total, "bytes", "Download"),
        )
    except OSError as error:
        if error.errno is not None or "onsistency" not in str(error):
            raise
        raise StudioError(
            "download_broken",
            f"A file of {source.repo} arrived with another size than the hub announced.",
            hint="Retry; if it happens again, the hub or a proxy on the way is at fault.",
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    _verify(context, source.repo, listing.commit, token, folder)
    _consented(consent, folder, source.repo)
    if listing.gguf is not None:
        gguf = folder / listing.gguf
        _convert(context, gguf, folder)
        gguf.unlink()
    _unpickle(context, consent, folder, folder)


def bring(context: JobContext, path: Path, consent: ModelConsent, folder: Path) -> None:
    """Copy a model folder of this machine, or convert a GGUF file of it."""
    from mistudio.lm.checkpoint import INDEX, find_checkpoint

    checkpoint = find_checkpoint(path, pickles=consent.pickle)
    if checkpoint.gguf is not None:
        _convert(context, checkpoint.folder / checkpoint.gguf, folder)
        return
    suffixes = (*_COPIED, SUFFIX) if consent.code is not None else _COPIED
    small = [
        entry.name
        for entry in checkpoint.folder.iterdir()
        if entry.is_file() and entry.suffix in suffixes and not entry.name.endswith(".index.json")
    ]
    index = [INDEX] if (checkpoint.folder / INDEX).is_file() else []
    names = [*small, *index, *checkpoint.safetensors]
    total = sum((checkpoint.folder / name).stat().st_size for name in names)
    done = 0
    for name in names:
        with (checkpoint.folder / name).open("rb") as source, (folder / name).open("wb") as target:
            while block := source.read(_CHUNK):
                target.write(block)
                done += len(block)
                context.progress(done, total, "bytes", "Copy")
    _consented(consent, folder, path.name)
    if checkpoint.pickled:
        _unpickle(context, consent, checkpoint.folder, folder)


def _consented(consent: ModelConsent, folder: Path, place: str) -> None:
    if consent.code is not None:
        check_consent(code_in(folder), consent.code, place)


def _verify(context: JobContext, repo: str, commit: str, token: str | None, folder: Path) -> None:
    """Compare each large file's SHA-256 with what the hub says it is."""
    from huggingface_hub import HfApi

    from mistudio.lm.hub import hub_errors

    with hub_errors(repo, commit):
        info = HfApi(token=token).model_info(repo, revision=commit, files_metadata=True)
    sums = {
        s.rfilename: s.lfs.sha256 for s in info.siblings or [] if s.lfs and (folder / s.rfilename).is_file()
    }
    total = sum((folder / name).stat().st_size for name in sums)
    done = 0
    for name, expected in sums.items():
        digest = hashlib.sha256()
        with (folder / name).open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
                done += len(block)
                context.progress(done, total, "bytes", "Verify")
        if digest.hexdigest() != expected:
            raise StudioError(
                "download_broken",
                f"{name} of {repo} arrived damaged: its checksum is not the one that the hub announced.",
                hint="Retry; if it happens again, the hub or a proxy on the way is at fault.",
            )


def _convert(context: JobContext, gguf: Path, folder: Path) -> None:
    """GGUF to safetensors, beside the draft's other files."""
    context.log(f"Converting {gguf.name} to safetensors")
    context.progress(0, None, "bytes", "Convert")
    converted = folder / "converted"

    def convert() -> Path:
        from mistudio.lm import convert_gguf

        return convert_gguf(gguf, converted)

    interruptible(context, convert)
    for entry in list(converted.iterdir()):
        entry.rename(folder / entry.name)
    converted.rmdir()


def _unpickle(context: JobContext, consent: ModelConsent, source: Path, folder: Path) -> None:
    """Pickled weights of `source` as safetensors in `folder`; the pickles themselves do not stay there."""
    if not consent.pickle or any(folder.glob("*.safetensors")):
        return
    context.log("Turning pickled weights into safetensors")
    context.progress(0, None, "bytes", "Convert")

    def convert() -> None:
        from mistudio.lm.load import convert_pickles

        convert_pickles(source, folder, trust_remote_code=consent.code is not None)

    interruptible(context, convert)


def interruptible(context: JobContext, work: Callable[[], Value]) -> Value:
    """Run one long call that reports nothing, and leave it behind as soon as the job is cancelled."""
    results: list[Value] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        context.check()
    if failures:
        raise failures[0]
    return results[0]
