"""Images of a split in a fixed choice: the same ones at every call, prepared as for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader

from visionattn.data import VisionData
from visionattn.data.dataset import Batch
from visionattn.errors import ConfigError


def evenly(count: int, wanted: int) -> list[int]:
    """``wanted`` of ``count`` positions, evenly spaced; all where there are fewer."""
    wanted = min(wanted, count)
    return [position * count // wanted for position in range(wanted)]


def number_of_samples(data: VisionData[Any], split: str) -> int:
    """Samples of a split that is read by index.

    Raises:
        ConfigError: a split of shards, which is read as a stream.
        DataError: the split cannot be read.
    """
    records = data.records(split)
    if not hasattr(records, "ids"):
        raise ConfigError(
            f"quantize=int8 picks images of the {split} split by index, which shards do not have: choose another data="
        )
    return data.count(records)


def batches_of(data: VisionData[Any], split: str, positions: Sequence[int], size: int) -> Iterator[Batch]:
    """The samples at these positions as the model takes them, through the evaluation transform, in order.

    Images that cannot be read are left out; a batch may be smaller, but is never empty.
    """
    dataset = data.dataset(data.records(split), data.eval_transform, False)
    keys = [[(0, position) for position in positions[i : i + size]] for i in range(0, len(positions), size)]
    loader = DataLoader(
        dataset,
        batch_sampler=keys,  # type: ignore[arg-type]  # a sample's key is (epoch, index)
        collate_fn=data.collate(False),
        num_workers=data.num_workers,
    )
    for batch in loader:
        if len(batch["id"]):
            yield data.to_model_input(batch)
