"""How much memory this process has, as its curves show it."""

from __future__ import annotations

import time

import psutil
import torch

_PROCESS = psutil.Process()
_SECONDS = 0.1
_last = (-_SECONDS, 0.0)


def memory_row(device: torch.device) -> dict[str, float]:
    """`memory_bytes` of this process, and `gpu_memory_bytes` of its tensors where it trains on a GPU.

    The process is asked ten times a second at most: asking takes a tenth of a millisecond, and small steps three.
    """
    global _last
    now = time.monotonic()
    if now - _last[0] >= _SECONDS:
        _last = now, float(_PROCESS.memory_info().rss)
    found = {"memory_bytes": _last[1]}
    if device.type == "cuda":
        found["gpu_memory_bytes"] = float(torch.cuda.memory_allocated(device))
    return found
