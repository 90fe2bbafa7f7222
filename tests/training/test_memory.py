"""Out of memory says which batch would fit."""

import pytest
import torch

from visionattn.errors import OutOfMemoryError
from visionattn.training.memory import explained, head_of, largest_fitting


def room_for(images: int):
    def probe(size: int) -> None:
        if size > images:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {size}")

    return probe


@pytest.mark.parametrize(("room", "fits"), [(63, 32), (32, 32), (5, 4), (1, 1), (0, 0)])
def test_the_largest_half_that_fits_is_found(room, fits):
    assert largest_fitting(room_for(room), 64) == fits


def test_the_message_says_what_to_set():
    with (
        pytest.raises(OutOfMemoryError, match=r"64 images.*data\.batch_size=16.*accumulate_grad_batches=4"),
        explained(room_for(20), 64),
    ):
        room_for(20)(64)


def test_nothing_fits():
    with pytest.raises(OutOfMemoryError, match="not even one image"), explained(room_for(0), 8):
        room_for(0)(8)


def test_memory_of_the_processor_counts_too():
    with pytest.raises(OutOfMemoryError), explained(room_for(2), 4):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), explained(room_for(2), 4):
        raise RuntimeError("shapes do not match")


def test_the_head_of_a_batch():
    batch = {"image": torch.arange(4), "target": torch.arange(4), "id": list("abcd"), "unreadable": []}
    part = head_of(batch, 2)
    assert part["id"] == ["a", "b"]
    assert part["image"].tolist() == [0, 1]
