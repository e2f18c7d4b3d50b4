"""Several processes at one training: which rank this is, and the few things that ranks say to each other.

A batch may be spread over ranks (each has all weights and a part of the tokens), or the latents (each has all
tokens and a part of the latents' weights). Losses and steps are written against `Ranks`; in a process that is alone
every method returns what it was given.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor
from torch import distributed as dist

from mistudio.sae.errors import SAEError

Split = Literal["batch", "latents"]
"""What ranks divide among them."""


class Ranks:
    """This process alone: rank 0 of 1."""

    rank: int = 0
    size: int = 1

    def sum(self, part: Tensor) -> Tensor:
        """The sum of every rank's tensor, in place; all have the same shape."""
        return part

    def gather(self, part: Tensor) -> list[Tensor]:
        """Every rank's tensor [n_r, …] in the order of ranks; lengths may differ."""
        return [part]

    def counts(self, mine: int, device: torch.device) -> list[int]:
        """Every rank's number, in the order of ranks; `device` is where tensors are."""
        return [mine]

    def any(self, mine: bool) -> bool:
        """Whether it is true on any rank."""
        return mine

    def of_first(self, mine: Any) -> Any:
        """What the first rank gives, on every rank; anything that can be pickled."""
        return mine

    def wait(self) -> None:
        """Until every rank is here."""

    def summed(self, part: Tensor) -> Tensor:
        """The sum of every rank's tensor, for autograd: each rank goes on to compute the same loss from it, so the
        gradient of a part is that of the sum."""
        return part

    def shared(self, whole: Tensor) -> Tensor:
        """A tensor that all ranks have alike and use in parts, for autograd: its gradients add up."""
        return whole

    def span(self, count: int) -> tuple[int, int]:
        """Which of `count` things, start to stop, are this rank's: contiguous, as equal as can be."""
        return count * self.rank // self.size, count * (self.rank + 1) // self.size


ALONE = Ranks()


class Group(Ranks):
    """The ranks of a torch.distributed process group (by default all)."""

    def __init__(self, group: Any = None) -> None:
        self._group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)

    def sum(self, part: Tensor) -> Tensor:
        """The sum of every rank's tensor, in place."""
        dist.all_reduce(part, group=self._group)
        return part

    def gather(self, part: Tensor) -> list[Tensor]:
        """Every rank's tensor [n_r, …] in the order of ranks."""
        length = torch.tensor([part.shape[0]], device=part.device)
        lengths = [torch.empty_like(length) for _ in range(self.size)]
        dist.all_gather(lengths, length, group=self._group)
        counts = [int(n) for n in lengths]
        padded = part.new_zeros(max(counts), *part.shape[1:])
        padded[: part.shape[0]] = part
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded, group=self._group)
        return [p[:n] for p, n in zip(parts, counts, strict=True)]

    def counts(self, mine: int, device: torch.device) -> list[int]:
        """Every rank's number, in the order of ranks."""
        return [int(part) for part in torch.cat(self.gather(torch.tensor([mine], device=device)))]

    def any(self, mine: bool) -> bool:
        """Whether it is true on any rank."""
        device = "cuda" if dist.get_backend(self._group) == "nccl" else "cpu"
        return bool(self.sum(torch.tensor(float(mine), device=device)) > 0)

    def of_first(self, mine: Any) -> Any:
        """What the first rank gives, on every rank; anything that can be pickled."""
        told = [mine]
        first = 0 if self._group is None else dist.get_global_rank(self._group, 0)
        dist.broadcast_object_list(told, first, self._group)
        return told[0]

    def wait(self) -> None:
        """Until every rank is here."""
        dist.barrier(group=self._group)

    def summed(self, part: Tensor) -> Tensor:
        """The sum of every rank's tensor; the gradient of a part is that of the sum."""
        return _call(_Summed, part, self)

    def shared(self, whole: Tensor) -> Tensor:
        """The same tensor; gradients of all ranks add up."""
        return _call(_Shared, whole, self)


@dataclass(frozen=True)
class Place:
    """Where a process of a run belongs."""

    ranks: Ranks
    device: torch.device


@contextmanager
def joined() -> Generator[Place]:
    """Join the run that `torchrun` started, for the length of a `with`; alone where it did not start this process.

    Ranks talk by NCCL where every one of this machine has a GPU of its own, else by gloo.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Place(ALONE, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        return
    local, here = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    on_gpus = torch.cuda.is_available() and torch.cuda.device_count() >= here
    device = torch.device("cuda", local) if on_gpus else torch.device("cpu")
    if on_gpus:
        torch.cuda.set_device(device)
    # Imported later (torch's optimisers do), its functions' defaults would hold the group for as long as the process
    # lives, with gloo's threads, which may then abort an exiting interpreter.
    import_module("torch.distributed.nn")
    try:
        dist.init_process_group("nccl" if on_gpus else "gloo")
    except (RuntimeError, ValueError) as error:
        raise SAEError(
            f"Rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} could not join the others: {error}",
            hint="Start all ranks with torchrun, and check that they can reach each other.",
        ) from error
    try:
        yield Place(Group(), device)
    finally:
        dist.destroy_process_group()


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, ranks: Ranks) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ranks.sum(part.clone())

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return upstream, None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, ranks: Ranks) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.ranks = ranks
        return whole.view_as(whole)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.ranks.sum(upstream.clone()), None


def _call(function: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
    return function.apply(tensor, ranks)
