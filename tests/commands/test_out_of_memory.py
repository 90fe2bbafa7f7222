"""`visionattn train` out of memory: the command says which batch would fit."""

import pytest
import torch

from visionattn.cli import main
from visionattn.tasks import ClassificationTask

pytestmark = pytest.mark.filterwarnings("default")
RUN = ["train", "backbone=swin_pico", "data.batch_size=16", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]


@pytest.mark.parametrize("when", ["forward", "backward"])
def test_the_batch_that_fits_is_named(when, tmp_path, monkeypatch, capsys):
    """A machine with room for five images, in the forward or in the backward pass."""
    monkeypatch.chdir(tmp_path)
    step, tried = ClassificationTask.step, []

    def limited(self, batch):
        size = len(batch["id"])
        tried.append(size)
        output = step(self, batch)
        if size > 5 and when == "forward":
            raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")
        if size > 5:
            output.loss.register_hook(_fail)
        return output

    monkeypatch.setattr(ClassificationTask, "step", limited)
    assert main([*RUN, "trainer.accelerator=cpu"]) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "out of memory with 16 images per process: data.batch_size=4 would fit" in message
    assert "trainer.accumulate_grad_batches=4 keeps the images per step" in message
    assert "Tried to allocate 20.00 GiB" in message
    assert tried == [16, 8, 4]


def _fail(gradient):
    raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")
