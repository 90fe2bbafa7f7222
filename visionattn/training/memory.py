"""Out of memory: which batch would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from visionattn.errors import OutOfMemoryError


@contextmanager
def explained(
    probe: Callable[[int], None], batch_size: int, release: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Turns running out of memory inside the block into an :class:`OutOfMemoryError` that names a batch that fits.

    Args:
        probe: forward and backward pass with so many images; raises where the memory does not suffice.
        batch_size: images of the batch at hand.
        release: gives up what the failed attempt still holds.
    Raises:
        OutOfMemoryError: instead of torch's error.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = str(error).splitlines()[0]
    else:
        return
    # outside the except clause, so that the failed pass's tensors are no longer held by the traceback
    release()
    raise OutOfMemoryError(
        f"out of memory with {batch_size} images per process: {advice(probe, batch_size)} ({message})"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not get memory, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def advice(probe: Callable[[int], None], batch_size: int) -> str:
    """What to set instead, found by trying."""
    fits = largest_fitting(probe, batch_size)
    if not fits:
        return "not even one image fits; try task.grad_checkpointing=true, a smaller data.image_size or backbone"
    same = ""
    if batch_size % fits == 0:
        same = f" trainer.accumulate_grad_batches={batch_size // fits} keeps the images per step"
    rest = same or " the rate must follow (task.lr_base_size)"
    return f"data.batch_size={fits} would fit;{rest}; task.grad_checkpointing=true makes room for more"


def largest_fitting(probe: Callable[[int], None], batch_size: int) -> int:
    """The largest number of images below ``batch_size``, of its divisors by powers of two, that passes; 0 if none."""
    size = batch_size // 2
    while size:
        _release()
        try:
            probe(size)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return size
        size //= 2
    return 0


def _release() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> None:
    """A backward pass that leaves no trace: nothing is accumulated, and nothing is reduced between processes."""
    torch.autograd.grad(loss, [p for p in parameters if p.requires_grad], allow_unused=True)


def head_of(batch: dict[str, Any], size: int) -> dict[str, Any]:
    """The first ``size`` samples of a batch."""
    total = len(batch["id"])
    return {
        name: value[:size] if hasattr(value, "__len__") and len(value) == total else value
        for name, value in batch.items()
    }
