"""Communication between the processes of a run; with one process every function is the identity."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")


def several_processes() -> bool:
    """Whether a process group of more than one process is running."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first() -> bool:
    """Whether this is the first process."""
    return not several_processes() or dist.get_rank() == 0


def collective_device() -> torch.device:
    """Device on which the current process group reduces tensors: the GPU for NCCL, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def gather(value: T) -> list[T]:
    """The values of all processes in the order of their ranks, on every process."""
    if not several_processes():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def gather_to_first(value: T) -> list[T] | None:
    """The values of all processes on the first process; None on the others."""
    if not several_processes():
        return [value]
    values: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values)
    return values


def broadcast_from_first(value: T) -> T:
    """The value of the first process, on every process."""
    if not several_processes():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process. Every process must call it."""
    if not several_processes():
        return flag
    flags = torch.tensor([int(flag)], device=collective_device())
    dist.all_reduce(flags)
    return bool(flags.item())


def mean_of_processes(value: float) -> Tensor:
    """The mean of a number over all processes. Every process must call it."""
    if not several_processes():
        return torch.tensor(float(value))
    total = torch.tensor(float(value), device=collective_device())
    dist.all_reduce(total)
    return total / dist.get_world_size()
