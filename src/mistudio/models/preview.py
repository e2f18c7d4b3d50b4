"""Looking at a model before it is added: its files, sizes, code and memory. Nothing but small files is fetched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mistudio.hub.client import Origin, prepare_hub
from mistudio.hub.download import HubFile, fetch_file
from mistudio.jobs.slots import usable_gpus
from mistudio.lm.checkpoint import PICKLED, find_checkpoint, read_config, safetensors_header
from mistudio.lm.footprint import read_footprint_facts
from mistudio.lm.hub import HubListing, hub_listing
from mistudio.models.local_paths import local_file, local_folder
from mistudio.models.memory import forecasts
from mistudio.models.remote_code import SUFFIX, code_in, shown
from mistudio.models.schemas import (
    FolderModelSource,
    HubModelSource,
    ModelFileOut,
    ModelPreviewOut,
    ModelPreviewWanted,
)
from mistudio.settings import Settings

_LARGEST_CODE_FILE = 1 << 20
_CONFIG_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def preview_model(
    settings: Settings, wanted: ModelPreviewWanted, *, any_folder: bool = False
) -> ModelPreviewOut:
    """What would be added.

    Raises ModelLoadError for what no model can be loaded from and as `hub_listing` does, StudioError as `fetch_file`
    does and for a path that is not there or not allowed.
    """
    source = wanted.source
    if isinstance(source, HubModelSource):
        return _hub(settings, source, wanted)
    if isinstance(source, FolderModelSource):
        path = local_folder(settings, source.path, any_folder=any_folder)
    else:
        path = local_file(settings, source.path, any_folder=any_folder)
    return _local(settings, path, wanted)


def _hub(settings: Settings, source: HubModelSource, wanted: ModelPreviewWanted) -> ModelPreviewOut:
    token = prepare_hub(settings)
    listing = hub_listing(
        source.repo,
        revision=source.revision,
        token=token,
        gguf_file=source.gguf_file,
        timeout=settings.hub_timeout_seconds,
        pickles=True,
    )
    small = ["config.json"] if "config.json" in listing.files else []
    code_names = [
        name for name, size in listing.files.items() if name.endswith(SUFFIX) and size <= _LARGEST_CODE_FILE
    ]
    origin = Origin("model", source.repo, listing.commit, source.revision, token)
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        _fetch(origin, listing, small, folder)
        config = read_config(folder) if small else {}
        if "auto_map" in config:
            _fetch(origin, listing, code_names, folder)
        code = shown(code_in(folder), config)
    weights = _weights_of(listing.needed)
    parameters, stored = listing.gguf_parameters, dict[str, int]()
    if weights == "safetensors":
        stored = _stored_on_hub(origin)
        parameters = sum(stored.values()) or None
    approximate = parameters is None
    if approximate:
        parameters = _reckoned(config, [listing.files[n] for n in listing.needed if _is_weights(n)])
    return _preview(
        settings,
        wanted,
        name=source.repo.rpartition("/")[2],
        commit=listing.commit,
        gated=listing.gated,
        license=listing.license,
        files=[ModelFileOut(name=n, bytes=s, needed=n in listing.needed) for n, s in listing.files.items()],
        config=config,
        parameters=parameters,
        approximate=approximate,
        stored=stored,
        code=code,
        weights=weights,
    )


def _fetch(origin: Origin, listing: HubListing, names: Iterable[str], folder: Path) -> None:
    for name in names:
        fetch_file(origin, HubFile(name, listing.files[name], listing.sums.get(name)), folder)


def _stored_on_hub(origin: Origin) -> dict[str, int]:
    """Parameters by stored type, from the heads of the safetensors files; empty where they lie in an unusual way."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    with origin.errors(), suppress(NotASafetensorsRepoError, SafetensorsParsingError):
        metadata = HfApi(token=origin.token).get_safetensors_metadata(origin.repo, revision=origin.commit)
        return {str(kind): int(count) for kind, count in metadata.parameter_count.items()}
    return {}


def _local(settings: Settings, path: Path, wanted: ModelPreviewWanted) -> ModelPreviewOut:
    checkpoint = find_checkpoint(path, pickles=True)
    folder = checkpoint.folder
    names = [checkpoint.gguf] if checkpoint.gguf else [e.name for e in folder.iterdir() if e.is_file()]
    sizes = {name: (folder / name).stat().st_size for name in sorted(names)}
    needed = [checkpoint.gguf] if checkpoint.gguf else [*checkpoint.weights, *_small(sizes)]
    stored: dict[str, int] = {}
    for name in checkpoint.safetensors:
        for tensor in safetensors_header(folder / name).values():
            stored[tensor.dtype] = stored.get(tensor.dtype, 0) + tensor.parameters
    if checkpoint.pickled:
        config = read_config(folder)
        parameters = _reckoned(config, [sizes[name] for name in checkpoint.pickled])
    else:
        config, parameters = read_footprint_facts(checkpoint)
    return _preview(
        settings,
        wanted,
        name=path.stem if checkpoint.gguf else path.name,
        commit=None,
        gated=False,
        license=None,
        files=[ModelFileOut(name=n, bytes=s, needed=n in needed) for n, s in sizes.items()],
        config=config,
        parameters=parameters,
        approximate=bool(checkpoint.pickled),
        stored=stored,
        code=None if checkpoint.gguf else shown(code_in(folder), config),
        weights=_weights_of(needed),
    )


def _preview(
    settings: Settings,
    wanted: ModelPreviewWanted,
    *,
    files: list[ModelFileOut],
    config: Mapping[str, Any],
    parameters: int | None,
    approximate: bool,
    stored: dict[str, int],
    **known: Any,
) -> ModelPreviewOut:
    text: Mapping[str, Any] = config.get("text_config") or config
    names = config.get("architectures")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    sized = parameters is not None and bool(_number(text, "hidden_size", "n_embd"))
    return ModelPreviewOut(
        files=sorted(files, key=lambda file: (not file.needed, file.name)),
        bytes=sum(file.bytes for file in files if file.needed),
        bytes_free=shutil.disk_usage(settings.data_dir).free,
        architecture=str(names[0]) if isinstance(names, list) and names else None,
        model_type=config.get("model_type"),
        n_layers=_number(text, "num_hidden_layers", "n_layer"),
        d_model=_number(text, "hidden_size", "n_embd"),
        vocab_size=_number(text, "vocab_size"),
        context_length=_number(text, "max_position_embeddings", "n_positions"),
        parameters=parameters,
        parameters_approximate=approximate,
        stored_as=stored,
        memory=forecasts(
            config,
            parameters or 0,
            batch_size=wanted.batch_size,
            context_length=wanted.context_length,
            cuda=bool(usable_gpus(settings)),
        )
        if sized
        else [],
        **known,
    )


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", *PICKLED)) or name.lower().endswith(".gguf")


def _weights_of(names: Iterable[str]) -> str:
    found = [name for name in names if _is_weights(name)]
    if any(name.lower().endswith(".gguf") for name in found):
        return "gguf"
    return "safetensors" if any(name.endswith(".safetensors") for name in found) else "pickle"


def _small(sizes: Mapping[str, int]) -> list[str]:
    return [name for name in sizes if name.endswith((".json", ".jinja", ".txt", ".model"))]


def _reckoned(config: Mapping[str, Any], sizes: list[int]) -> int | None:
    """Parameters from the bytes of the files and the type that the configuration says they have."""
    each = _CONFIG_BYTES.get(str(config.get("dtype") or config.get("torch_dtype")))
    return sum(sizes) // each if each and sizes else None


def _number(config: Mapping[str, Any], *names: str) -> int | None:
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), None)
