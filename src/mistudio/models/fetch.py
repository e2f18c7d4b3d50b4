"""Bringing a model's files into its folder, from the hub, a folder or a GGUF file. What stays is safetensors."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mistudio.hub.client import Origin, prepare_hub
from mistudio.hub.download import HubFile, check_room, fetch_files
from mistudio.jobs import JobContext
from mistudio.lm.checkpoint import PICKLED
from mistudio.models.remote_code import SUFFIX, check_consent, code_in
from mistudio.models.schemas import HubModelSource, ModelConsent

_COPIED = (".json", ".jinja", ".txt", ".model")
_CHUNK = 8 << 20
Value = TypeVar("Value")


def download(
    context: JobContext, source: HubModelSource, consent: ModelConsent, held: Path, folder: Path
) -> None:
    """Fetch a repository's files into `held`, and make of them what stays in `folder`: safetensors and what is small.

    A later attempt goes on with what is in `held`. Raises StudioError as `fetch_files` does, `code_changed`;
    ModelLoadError.
    """
    token = prepare_hub(context.settings)
    from mistudio.lm import hub_listing

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
    context.log(f"{source.repo} is at commit {listing.commit}")
    origin = Origin("model", source.repo, listing.commit, source.revision, token)
    files = [HubFile(name, listing.files[name], listing.sums.get(name)) for name in listing.needed]
    converted = [file for file in files if file.name == listing.gguf or file.name.endswith(PICKLED)]
    brought = fetch_files(
        origin, files, held, lambda stage, done, total: context.progress(done, total, "bytes", stage)
    )
    check_room(source.repo, sum(file.size for file in converted), folder)
    for file, path in zip(files, brought, strict=True):
        if file not in converted:
            _put(path, folder / file.name)
    _consented(consent, folder, source.repo)
    if listing.gguf is not None:
        _convert(context, held / listing.gguf, folder)
    _unpickle(context, consent, held, folder)


def _put(path: Path, target: Path) -> None:
    """A second name for a file, which takes no room; on a disk that has no links, its only one."""
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.move(path, target)


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
