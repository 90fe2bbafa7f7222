"""Out of memory: one sentence that names the batch and the remedies."""

import pytest
import torch

from visionattn.errors import OutOfMemoryError
from visionattn.training.out_of_memory import out_of_memory_explained


@pytest.mark.parametrize(
    "words",
    [
        "out of memory with 64 images per process",
        "a smaller data.batch_size with trainer.accumulate_grad_batches raised by the same factor",
        "task.grad_checkpointing=true",
        "a smaller data.image_size or backbone",
        "a lower trainer.precision",
        "CUDA out of memory: 20 GiB",
    ],
)
def test_the_sentence_names_the_batch_the_remedies_and_torchs_words(words):
    with pytest.raises(OutOfMemoryError) as caught, out_of_memory_explained(64):
        raise torch.OutOfMemoryError("CUDA out of memory: 20 GiB\nand more lines")
    assert words in str(caught.value)
    assert "and more lines" not in str(caught.value)


def test_memory_of_the_cpu_counts_too():
    with pytest.raises(OutOfMemoryError, match="with 4 images"), out_of_memory_explained(4):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_explained(4):
        raise RuntimeError("shapes do not match")
