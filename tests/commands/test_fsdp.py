"""Sharded training on two processes gives the weights of one, in a checkpoint of whole tensors that it goes on from."""

import pytest
import torch

from .test_processes import visionattn

RUN = [
    *("train", "backbone=swin_pico", "callbacks=no_ema", "logger=csv", "trainer.accelerator=cpu", "resume=auto"),
    *("trainer.max_epochs=1", "trainer.limit_train_batches=4", "trainer.limit_val_batches=1", "seed=3"),
    *("optim=sgd", "optim.lr=0.01", "schedule=constant"),
]
SHARDED = ["trainer=fsdp", "trainer.devices=2", "trainer.accelerator=cpu"]


def state(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.heavy
def test_sharded_training_equals_one_process_and_goes_on(tmp_path):
    one, two = (tmp_path / name for name in ("one", "two"))
    runs = [(one, ["data.batch_size=16"]), (two, [*SHARDED, "data.batch_size=8"])]
    for folder, options in runs:
        done = visionattn(*RUN, *options, f"hydra.run.dir={folder}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    for name, tensor in state(one).items():
        torch.testing.assert_close(state(two)[name], tensor, rtol=1e-3, atol=2e-5, msg=name)
    done = visionattn(*RUN, *SHARDED, "data.batch_size=8", "trainer.max_epochs=2", f"hydra.run.dir={two}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "goes on from" in done.stdout
    assert torch.load(two / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 8


def test_averaged_weights_are_refused(tmp_path):
    done = visionattn("train", *SHARDED, "trainer.limit_train_batches=1", cwd=tmp_path)
    assert done.returncode != 0
    assert "callbacks=no_ema" in done.stderr
