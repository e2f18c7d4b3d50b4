"""What the machine is doing: processors, memory, disk, network, GPUs, and the processes of jobs."""

from mistudio.domain import Domain

domain = Domain(
    name="monitor",
    router="mistudio.monitor.routes:router",
    commands="mistudio.monitor.commands:app",
    snapshots={"system": "mistudio.monitor.sampling:snapshot"},
)
