"""One sentence about running out of memory, in place of torch's error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from visionattn.errors import OutOfMemoryError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not allocate memory, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


@contextmanager
def out_of_memory_explained(batch_size: int) -> Iterator[None]:
    """Turn running out of memory inside the block into an error that names the remedies.

    Args:
        batch_size: images of the current batch.

    Raises:
        OutOfMemoryError: instead of torch's error, whose first line it quotes.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"out of memory with {batch_size} images per process. Remedies: a smaller data.batch_size with "
            "trainer.accumulate_grad_batches raised by the same factor; task.grad_checkpointing=true; a smaller "
            "data.image_size or backbone, or a lower trainer.precision. "
            f"({str(error).splitlines()[0]})"
        ) from None
