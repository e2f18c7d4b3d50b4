"""How much memory this process has, as its curves show it."""

from __future__ import annotations

import psutil
import torch

_PROCESS = psutil.Process()


def memory_row(device: torch.device) -> dict[str, float]:
    """`memory_bytes` of this process, and `gpu_memory_bytes` of its tensors where it trains on a GPU."""
    found = {"memory_bytes": float(_PROCESS.memory_info().rss)}
    if device.type == "cuda":
        found["gpu_memory_bytes"] = float(torch.cuda.memory_allocated(device))
    return found
