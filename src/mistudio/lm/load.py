"""Loading a language model from the hub, a folder or a GGUF file."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mistudio.lm.checkpoint import INDEX, Checkpoint, find_checkpoint
from mistudio.lm.errors import ModelLoadError
from mistudio.lm.hub import PICKLE_INDEX, hub_snapshot
from mistudio.lm.model import LanguageModel
from mistudio.lm.quantization import (
    Quantization,
    quantization_config,
    quantization_obstacle,
    unfit_layer,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_UNSUPPORTED = re.compile(
    r"does not recognize|not supported|Unrecognized|custom code|requires? .*(package|library)"
)
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def load_language_model(
    source: str | Path,
    *,
    dtype: str = "float32",
    device: str = "auto",
    revision: str | None = None,
    gguf_file: str | None = None,
    token: str | None = None,
    quantization: Quantization = "none",
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a causal language model.

    source: a folder with config.json and safetensors, a GGUF file or a folder with one, or a hub id.
    dtype: float32, bfloat16, float16, or auto (as stored). device: auto (CUDA if there is one), cpu, cuda or
    cuda:N. revision, token: for the hub. gguf_file: which GGUF file of a folder or repository.
    quantization: int8 or int4 quantize the linear layers as they are loaded; `dtype` is that of everything else.
    Pickled weights are refused. Python files that come with a model run only with `trust_remote_code`, and only from a
    folder: look at them first.
    Raises ModelLoadError.
    """
    where = _device(device)
    obstacle = quantization_obstacle(quantization, cuda=where.type == "cuda")
    if obstacle is not None:
        raise ModelLoadError("no_quantization", obstacle, "Load it without quantization.")
    checkpoint = _resolve(source, revision, gguf_file, token)
    hf = _load_hf(
        checkpoint, str(source), dtype, trusted=trust_remote_code, quantization=quantization, where=where
    )
    unfit = unfit_layer(hf, quantization) if where.type == "cpu" else None
    if unfit is not None:
        raise ModelLoadError("no_quantization", unfit, "Load it as int8, or without quantization.")
    if quantization == "none":
        try:
            hf.to(where)
        except (torch.OutOfMemoryError, MemoryError):
            raise _no_memory(source, where) from None
    tokenizer = (
        _load_tokenizer(checkpoint, str(source), trusted=trust_remote_code)
        if checkpoint.has_tokenizer
        else None
    )
    return LanguageModel(hf, tokenizer, source=str(source))


def load_tokenizer(
    source: str | Path,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
    token: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """The Transformers tokenizer of a model folder, GGUF file or hub id.

    Raises ModelLoadError.
    """
    checkpoint = _resolve(source, revision, gguf_file, token)
    if not checkpoint.has_tokenizer:
        raise ModelLoadError(
            "no_tokenizer", f"{source} holds no tokenizer.", "Put tokenizer.json next to the model's weights."
        )
    return _load_tokenizer(checkpoint, str(source), trusted=trust_remote_code)


def convert_gguf(path: str | Path, folder: str | Path, *, dtype: str = "float32") -> Path:
    """Turn a GGUF file into a plain folder of safetensors, configuration and tokenizer; returns `folder`.

    Dequantizing takes tens of seconds each time a GGUF is loaded, safetensors load in one. `folder` appears
    whole or not at all, and must not exist. Raises ModelLoadError.
    """
    path, folder = Path(path), Path(folder)
    if folder.exists():
        raise ModelLoadError(
            "already_exists", f"{folder} already exists.", "Choose another folder or delete that one."
        )
    checkpoint = find_checkpoint(path)
    if checkpoint.gguf is None:
        raise ModelLoadError("no_weights", f"{path} holds no GGUF file.", "It needs no conversion.")
    hf = _load_hf(checkpoint, str(path), dtype)
    tokenizer = _load_tokenizer(checkpoint, str(path))
    folder.parent.mkdir(parents=True, exist_ok=True)
    half_made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        hf.save_pretrained(half_made)
        tokenizer.save_pretrained(half_made)
        find_checkpoint(half_made)
        half_made.chmod(0o755)
        half_made.rename(folder)
    except Exception as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if isinstance(error, OSError) or full:
            raise ModelLoadError(
                "not_written",
                f"The converted model could not be written to {folder}: "
                f"{'the disk is full' if full else error}.",
                f"It needs about {sum(p.numel() * p.element_size() for p in hf.parameters()) >> 20} MiB.",
            ) from error
        raise
    finally:
        shutil.rmtree(half_made, ignore_errors=True)
    return folder


def convert_pickles(source: Path, folder: Path, *, trust_remote_code: bool = False) -> None:
    """Turn a folder's pickled weights into safetensors in `folder`; pickles that lie there are removed.

    PyTorch unpickles nothing but tensors (`weights_only`). Raises ModelLoadError.
    """
    checkpoint = find_checkpoint(source, pickles=True)
    hf = _load_hf(checkpoint, str(source), "auto", trusted=trust_remote_code)
    with tempfile.TemporaryDirectory(prefix=".unpickled-", dir=folder) as half_made:
        hf.save_pretrained(half_made)
        for entry in Path(half_made).iterdir():
            if entry.name.endswith((".safetensors", INDEX)):
                entry.rename(folder / entry.name)
    for name in (*checkpoint.pickled, PICKLE_INDEX):
        (folder / name).unlink(missing_ok=True)


def _resolve(
    source: str | Path, revision: str | None, gguf_file: str | None, token: str | None
) -> Checkpoint:
    path = Path(source).expanduser()
    if path.exists() or isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        return find_checkpoint(path, gguf_file)
    return find_checkpoint(
        hub_snapshot(source, revision=revision, token=token, gguf_file=gguf_file), gguf_file
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelLoadError(
            "no_cuda", f"'{name}' is not a device.", "Use auto, cpu, cuda or cuda:N."
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelLoadError(
            "no_cuda",
            f"The device '{name}' was asked for, but PyTorch sees {torch.cuda.device_count()} CUDA devices.",
            "Use cpu, or install a CUDA build of PyTorch and its driver.",
        )
    return device


def _load_hf(
    checkpoint: Checkpoint,
    source: str,
    dtype: str,
    *,
    trusted: bool = False,
    quantization: Quantization = "none",
    where: torch.device | None = None,
) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if dtype != "auto" and dtype not in DTYPES:
        raise ModelLoadError("bad_dtype", f"'{dtype}' is not a dtype.", f"Use auto, {', '.join(DTYPES)}.")
    gguf = {"gguf_file": checkpoint.gguf} if checkpoint.gguf else {}
    common: dict[str, Any] = {"trust_remote_code": trusted, "local_files_only": True, **gguf}
    quantized: dict[str, Any] = {}
    if quantization != "none":
        compute = DTYPES.get(dtype, torch.bfloat16)
        quantized = {
            "quantization_config": quantization_config(quantization, compute),
            "device_map": {"": where},
        }
    with load_errors(source):
        config = AutoConfig.from_pretrained(checkpoint.folder, **common)
        brought: Any = getattr(config, "auto_map", None) or {}
        known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or (trusted and "AutoModelForCausalLM" in brought)
        if not known or getattr(config, "is_encoder_decoder", False):
            raise ModelLoadError(
                "unsupported_architecture",
                f"{source} is a {config.model_type} model, which does not write text from left to right.",
                "Use a causal (decoder-only) language model.",
            )
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            dtype=DTYPES.get(dtype, "auto"),
            output_loading_info=True,
            **({} if gguf else {"use_safetensors": not checkpoint.pickled}),
            **quantized,
            **common,
        )
    hf, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelLoadError(
            "corrupt_weights",
            f"The weights of {source} lack {len(missing)} tensors that its configuration asks for, first "
            f"'{missing[0]}'.",
            "The weights and config.json belong to different models, or a file is missing.",
        )
    if gguf:
        # The dequantized weights are plain; with these marks Transformers would refuse to save them.
        hf.config.__dict__.pop("quantization_config", None)
        hf.is_quantized, hf.hf_quantizer = False, None
    return hf.requires_grad_(False)


def _load_tokenizer(checkpoint: Checkpoint, source: str, *, trusted: bool = False) -> Any:
    from transformers import AutoTokenizer

    gguf = {"gguf_file": checkpoint.gguf} if checkpoint.gguf else {}
    try:
        return AutoTokenizer.from_pretrained(
            checkpoint.folder, trust_remote_code=trusted, local_files_only=True, **gguf
        )
    except Exception as error:
        raise ModelLoadError(
            "no_tokenizer",
            f"The tokenizer of {source} cannot be loaded: {_first_line(error)}",
            "Fetch tokenizer.json and tokenizer_config.json again.",
        ) from error


@contextmanager
def load_errors(source: str) -> Generator[None]:
    try:
        yield
    except ModelLoadError:
        raise
    except (torch.OutOfMemoryError, MemoryError):
        raise _no_memory(source, torch.device("cpu")) from None
    except Exception as error:
        text = str(error)
        if "contains custom code" in text:
            raise ModelLoadError(
                "unsupported_architecture",
                f"The model {source} is of an architecture that only its own code knows, and that code was not "
                "consented to.",
                "Read the Python files that come with it, and add it with your consent to them if you trust them.",
            ) from None
        if _UNSUPPORTED.search(text):
            raise ModelLoadError(
                "unsupported_architecture",
                f"The model {source} cannot be loaded by Transformers here: {_first_line(error)}",
                "A newer transformers may know this one; a model's own code runs only with consent.",
            ) from error
        raise ModelLoadError(
            "corrupt_weights",
            f"The model {source} cannot be read: {_first_line(error)}",
            "Its files may be damaged or belong to different models: fetch them again.",
        ) from error


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _no_memory(source: str | Path, device: torch.device) -> ModelLoadError:
    return ModelLoadError(
        "out_of_memory",
        f"There is not enough memory on {device} for {source}.",
        "Use bfloat16, a smaller model, or end other programs.",
    )
