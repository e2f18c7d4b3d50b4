"""What is measured. Sizes are bytes, rates bytes per second, times seconds since 1970 (UTC)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Cpu(BaseModel):
    """Processors, in percent of their capacity since the sample before."""

    total: float = Field(description="All cores together, 0 to 100.")
    cores: list[float] = Field(description="Each logical core, 0 to 100.")
    load: list[float] = Field(description="Load averages of 1, 5 and 15 minutes.")


class Memory(BaseModel):
    """Main memory and swap."""

    total: int
    used: int = Field(description="In use and not reclaimable: total less available.")
    available: int
    swap_total: int
    swap_used: int


class Disk(BaseModel):
    """The file system of the data folder, and what all disks read and write."""

    total: int
    used: int
    free: int = Field(description="What this user may still write.")
    read_rate: float | None = Field(description="Bytes a second; null where the system does not tell.")
    write_rate: float | None


class Network(BaseModel):
    """All interfaces but loopback."""

    received_rate: float | None = Field(description="Bytes a second; null where the system does not tell.")
    sent_rate: float | None


class GpuProcess(BaseModel):
    """A process that holds memory of a GPU."""

    pid: int
    memory: int | None = None


class Gpu(BaseModel):
    """One GPU, as NVML tells it; null for what this model does not report."""

    index: int
    name: str
    utilization: float | None = Field(description="Percent of the time in which a kernel ran.")
    memory_total: int
    memory_used: int
    temperature: float | None = Field(description="Degrees Celsius.")
    power: float | None = Field(description="Watts.")
    power_limit: float | None
    processes: list[GpuProcess]


class WorkProcess(BaseModel):
    """This server, or the process of a job together with its children."""

    pid: int
    role: Literal["server", "job"]
    job_id: str | None
    cpu: float = Field(description="Percent of one core; 200 is two cores busy.")
    rss: int = Field(description="Resident memory.")
    threads: int
    started_at: float
    gpu_memory: int | None = Field(default=None, description="GPU memory held; null without a GPU.")


class Sample(BaseModel):
    """Everything at one moment."""

    at: float
    cpu: Cpu
    memory: Memory
    disk: Disk
    network: Network
    gpus: list[Gpu]
    processes: list[WorkProcess]


class GpuHistory(BaseModel):
    """One GPU over time."""

    index: int
    utilization: list[float | None]
    memory_used: list[int | None]
    temperature: list[float | None]
    power: list[float | None]


class History(BaseModel):
    """Columns of equal length, oldest first."""

    at: list[float]
    cpu: list[float]
    cores: list[list[float]] = Field(description="One list per core.")
    memory_used: list[int]
    swap_used: list[int]
    disk_used: list[int]
    read_rate: list[float | None]
    write_rate: list[float | None]
    received_rate: list[float | None]
    sent_rate: list[float | None]
    gpus: list[GpuHistory]


class SystemOut(BaseModel):
    """The machine that this server runs on, now and over the past."""

    interval_seconds: float = Field(description="Time between samples.")
    now: Sample
    history: History


class KindBytes(BaseModel):
    """How much one kind of data takes."""

    kind: str = Field(description="datasets, models, … or database, other.")
    bytes: int


class StorageOut(BaseModel):
    """What the data folder holds."""

    data_dir: str
    total: int = Field(description="Everything in the data folder.")
    kinds: list[KindBytes]
    measured_at: float
