"""One-pass C++ kernels for the CPU: optional, compiled on first use where the system has a compiler.

They do what `search` and `kernels` do in PyTorch, with the same guarantees and equal up to float32's rounding;
nothing depends on them. The compiled file is kept in the user's cache folder, under a name that says from which
source, by which compiler and for which processor it was made. `MISTUDIO_NATIVE=0` in the environment turns them
off. Whether they are used depends on the machine and that variable only, so runs repeat to the bit.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from mistudio.sae.latents import Latents, row_offsets

SOURCE = Path(__file__).with_name("kernels.cpp")
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp", "-fPIC", "-shared")
_COMPILE_SECONDS = 120

_log = logging.getLogger(__name__)

_pointer, _integer = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES = {
    "mistudio_round_rows": ([_pointer, *[_integer] * 2, *[_pointer] * 3, ctypes.c_int], None),
    "mistudio_top_k": ([*[_pointer] * 5, *[_integer] * 4, *[_pointer] * 2, ctypes.c_int], _integer),
    "mistudio_above": ([*[_pointer] * 7, *[_integer] * 5, _pointer, ctypes.c_int], _pointer),
    "mistudio_take": ([_pointer] * 3, None),
    "mistudio_products": ([*[_pointer] * 4, *[_integer] * 2, _pointer, ctypes.c_int], None),
}


def serves(*tensors: Tensor) -> bool:
    """Whether the kernels are there for these tensors: float32, on the CPU, contiguous."""
    fit = all(t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in tensors)
    return fit and library() is not None


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they are turned off or cannot be made."""
    if os.environ.get("MISTUDIO_NATIVE", "1") == "0" or platform.system() != "Linux":
        return None
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if compiler is None:
        return None
    try:
        return load(compile_once(compiler, cache_folder()))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: no home folder
        detail = getattr(error, "stderr", None) or error
        _log.info("The C++ kernels were not built, PyTorch's own are used instead: %s", detail)
        return None


def cache_folder() -> Path:
    """Where compiled kernels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mistudio" / "native"


def compile_once(compiler: str, folder: Path) -> Path:
    """The shared library for this source, compiler and processor; compiled unless the folder has it.

    Raises OSError or subprocess.SubprocessError when that does not work.
    """
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=30).stdout
    processor = repr((platform.machine(), getattr(torch.cpu, "get_capabilities", dict)()))
    made_of = (SOURCE.read_bytes(), version, processor.encode(), repr(_FLAGS).encode())
    name = hashlib.sha256(b"\0".join(made_of)).hexdigest()[:24]
    target = folder / f"kernels-{name}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / target.name
            command = [compiler, *_FLAGS, "-o", str(made), str(SOURCE)]
            subprocess.run(command, capture_output=True, check=True, timeout=_COMPILE_SECONDS, text=True)
            with made.open("rb") as file:
                os.fsync(file.fileno())
            made.replace(target)
    return target


def load(path: Path) -> ctypes.CDLL:
    """Open a compiled library. Torch is loaded already, so both share one OpenMP runtime and its threads."""
    opened = ctypes.CDLL(str(path))
    for name, (arguments, result) in _SIGNATURES.items():
        function = getattr(opened, name)
        function.argtypes, function.restype = arguments, result
    return opened


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """rows [n, d] in bfloat16, their lengths [n], and the lengths of what rounding dropped [n]."""
    n, d = rows.shape
    low = torch.empty(n, d, dtype=torch.bfloat16)
    length, error = rows.new_empty(n), rows.new_empty(n)
    _call("mistudio_round_rows", rows, n, d, low, length, error)
    return low, length, error


def settle_top_k(
    pre: Tensor, slack: Tensor, x: Tensor, W: Tensor, b: Tensor, values: Tensor, indices: Tensor
) -> int:
    """The k largest positive entries of x @ Wᵀ + b, given bfloat16 pre-activations [n, m] off by at most `slack` [n].

    They go to `values` and `indices` [n, k], by latent; places left over hold 0. Returns how many entries were
    computed exactly.
    """
    n, k = values.shape
    sizes = (n, W.shape[0], W.shape[1], k)
    computed = _call("mistudio_top_k", pre, slack, x, W, b, *sizes, values, indices)
    return computed or 0


def settle_above(
    pre: Tensor,
    bound: Tensor,
    x: Tensor,
    W: Tensor,
    b: Tensor,
    norms: Tensor | None,
    threshold: Tensor,
    most: int,
) -> Latents | None:
    """Entries of x @ Wᵀ + b (times `norms` [m]) above `threshold` ([1] or [m]), given bfloat16 approximations [n, m]
    that reach `bound` [n] wherever that may be so; None when more than `most` of them do."""
    n = pre.shape[0]
    counts = torch.zeros(n, dtype=torch.int64)
    sizes = (int(threshold.shape[0] > 1), n, W.shape[0], W.shape[1], most)
    found = _call("mistudio_above", pre, bound, x, W, b, norms, threshold, *sizes, counts)
    if found is None:
        return None
    offsets = row_offsets(counts)
    total = int(offsets[-1])
    latents = Latents(x.new_empty(total), torch.empty(total, dtype=torch.int64), offsets, W.shape[0])
    _call("mistudio_take", found, latents.values, latents.indices, threads=False)
    return latents


def products(latents: Latents, rows: Tensor, W: Tensor) -> Tensor:
    """⟨rows[n], W[i]⟩ for every entry of the latents: [nnz]."""
    out = rows.new_empty(latents.values.shape)
    sizes = (latents.n_tokens, W.shape[1])
    _call("mistudio_products", latents.offsets, latents.indices, rows, W, *sizes, out)
    return out


def _call(name: str, *arguments: Tensor | int | None, threads: bool = True) -> int | None:
    opened = library()
    assert opened is not None, "ask serves() first"
    plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    return getattr(opened, name)(*plain, *([torch.get_num_threads()] if threads else []))
