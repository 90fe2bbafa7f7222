"""`visionattn train` out of memory: one sentence with the batch and the remedies, and no second attempt."""

import pytest
import torch

from visionattn.cli import main
from visionattn.tasks import ClassificationTask

pytestmark = pytest.mark.filterwarnings("default")
RUN = ["train", "backbone=swin_pico", "data.batch_size=16", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]


@pytest.mark.parametrize("when", ["forward", "backward"])
def test_the_remedies_are_named(when, tmp_path, monkeypatch, capsys):
    """The machine has no room for a batch of 16, in the forward or in the backward pass."""
    monkeypatch.chdir(tmp_path)
    step, tried = ClassificationTask.step, []

    def limited(self, batch):
        tried.append(len(batch["id"]))
        output = step(self, batch)
        if when == "forward":
            raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")
        output.loss.register_hook(_fail)
        return output

    monkeypatch.setattr(ClassificationTask, "step", limited)
    assert main([*RUN, "trainer.accelerator=cpu"]) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "out of memory with 16 images per process. Remedies: a smaller data.batch_size" in message
    assert "trainer.accumulate_grad_batches raised by the same factor; task.grad_checkpointing=true" in message
    assert "Tried to allocate 20.00 GiB" in message
    assert tried == [16]


def _fail(gradient):
    raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")
