"""GPUs through NVML, where there are any."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mistudio.monitor.schemas import Gpu, GpuProcess

_log = logging.getLogger("mistudio.monitor")


class Gpus:
    """Reads every GPU of the machine. Without driver, library or GPU it finds none, and says so once at
    debug."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except Exception as error:  # NVML raises classes of its own, the loader OSError
            _log.debug("No GPU can be watched: %s", error)

    def read(self) -> list[Gpu]:
        """Each GPU now. One that fell off the bus is left out."""
        found: list[Gpu] = []
        for index, handle in enumerate(self._handles):
            try:
                found.append(self._gpu(index, handle))
            except self._nvml.NVMLError as error:
                _log.debug("GPU %d cannot be read: %s", index, error)
        return found

    def close(self) -> None:
        """Let go of NVML."""
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml, self._handles = None, []

    def _gpu(self, index: int, handle: Any) -> Gpu:
        nvml = self._nvml
        name: str | bytes = nvml.nvmlDeviceGetName(handle)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        rates = self._optional(nvml.nvmlDeviceGetUtilizationRates, handle)
        temperature = self._optional(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
        power = self._optional(nvml.nvmlDeviceGetPowerUsage, handle)
        limit = self._optional(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        processes = self._optional(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
        return Gpu(
            index=index,
            name=name.decode() if isinstance(name, bytes) else name,
            utilization=None if rates is None else float(rates.gpu),
            memory_total=int(memory.total),
            memory_used=int(memory.used),
            temperature=None if temperature is None else float(temperature),
            power=None if power is None else power / 1000,
            power_limit=None if limit is None else limit / 1000,
            processes=[GpuProcess(pid=p.pid, memory=p.usedGpuMemory) for p in processes],
        )

    def _optional(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._nvml.NVMLError:
            return None
