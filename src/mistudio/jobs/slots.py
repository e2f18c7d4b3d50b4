"""How much may run at once on this machine, and on which GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from threading import Condition
from typing import cast

from mistudio.domain import Resource
from mistudio.errors import StudioError
from mistudio.settings import Settings


@dataclass(frozen=True)
class Slot:
    """A place in one of the pools; `gpu` is what CUDA_VISIBLE_DEVICES calls the GPU that belongs to it."""

    pool: Resource
    gpu: str | None = None

    @property
    def device(self) -> str:
        """Where the job's models run: it sees one GPU at most."""
        return "cpu" if self.gpu is None else "cuda:0"

    def environment(self) -> dict[str, str]:
        """The variables that keep the job's process to its own GPU."""
        return {"CUDA_VISIBLE_DEVICES": self.gpu or ""}


class Slots:
    """The pools of one process: `cpu`, `gpu` and `io`. Where no GPU is used, GPU work takes a cpu slot."""

    def __init__(self, settings: Settings, gpus: Sequence[str] | None = None) -> None:
        """`gpus` are the names of the GPUs; by default those that the settings allow and the machine has."""
        found = usable_gpus(settings) if gpus is None else gpus
        wanted = len(found) if settings.gpu_slots is None else settings.gpu_slots
        places: dict[Resource, list[Slot]] = {
            "cpu": [Slot("cpu")] * settings.cpu_slots,
            "gpu": [Slot("gpu", found[place % len(found)]) for place in range(wanted)] if found else [],
            "io": [Slot("io")] * settings.io_slots,
        }
        self._free = places
        self._has_gpu = bool(places["gpu"])
        self._changed = Condition()

    def pool(self, resource: str) -> Resource:
        """The pool that work of this resource draws from."""
        return "cpu" if resource == "gpu" and not self._has_gpu else cast(Resource, resource)

    def size(self, resource: str) -> int:
        """How many jobs of this resource could run at once if nothing else ran."""
        return len(self._free[self.pool(resource)])

    def available(self) -> set[str]:
        """The resources of which a job could start now."""
        with self._changed:
            return {name for name in ("cpu", "gpu", "io") if self._free[self.pool(name)]}

    def take(self, resource: str, timeout: float = 0.0) -> Slot | None:
        """Take a slot for a job, waiting up to `timeout` seconds for one; None if there is none."""
        pool = self.pool(resource)
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._free[pool]), timeout):
                return None
            return self._free[pool].pop(0)

    def release(self, slot: Slot) -> None:
        """Give a slot back."""
        with self._changed:
            self._free[slot.pool].append(slot)
            self._changed.notify_all()


def usable_gpus(settings: Settings) -> list[str]:
    """The GPUs that `device` allows, by their CUDA_VISIBLE_DEVICES names. Raises StudioError `device_…`."""
    kind, _, number = settings.device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise StudioError(
            "device_invalid",
            f"The setting device is “{settings.device}”, which is not a device.",
            hint="Use auto, cpu, cuda or cuda:N.",
        )
    if kind == "cpu":
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:  # whoever started us has chosen
        visible = [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    else:
        visible = list(detected_gpus())
    if not number:
        return visible
    if int(number) >= len(visible):
        raise StudioError(
            "device_not_found",
            f"The setting device is “{settings.device}”, but {len(visible)} GPUs were found.",
            hint="Use auto or cpu, or check the driver with nvidia-smi.",
        )
    return [visible[int(number)]]


@cache
def detected_gpus() -> tuple[str, ...]:
    """The NVIDIA GPUs of this machine by number, found without PyTorch: through NVML, else nvidia-smi."""
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            return tuple(str(index) for index in range(pynvml.nvmlDeviceGetCount()))
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # not installed, no driver, driver mismatch: nvidia-smi has the last word
        pass
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        listed = subprocess.run(
            [program, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in listed.stdout.splitlines() if line.strip().isdigit())


def largest_gpu(settings: Settings) -> int | None:
    """Bytes of memory of the largest GPU that jobs of this machine may use; None where they use none, where the driver
    does not say, or where other machines run them."""
    if settings.dispatch != "local" or not (names := usable_gpus(settings)):
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            handles = [
                pynvml.nvmlDeviceGetHandleByIndex(int(name))
                if name.isdigit()
                else pynvml.nvmlDeviceGetHandleByUUID(name)
                for name in names
            ]
            return max(int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles)
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # NVML raises classes of its own, the loader OSError
        return None
