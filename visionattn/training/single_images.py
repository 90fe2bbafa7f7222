"""One sentence about batch norms that see a single value, in place of torch's error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from visionattn.errors import ConfigError


@contextmanager
def batch_norm_explained(batch_size: int) -> Iterator[None]:
    """Turn torch's refusal to normalize a single value per channel into an error that names the remedies.

    Args:
        batch_size: images of the current batch.

    Raises:
        ConfigError: instead of torch's ValueError.
    """
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            f"a batch norm cannot train on a batch of {batch_size}: it sees one value per channel; set data.batch_size "
            "to at least 2 (trainer.accumulate_grad_batches does not help here)"
        ) from None
