"""Sharded training on two processes gives the weights of one, and goes on from checkpoints of both kinds."""

from pathlib import Path

import pytest
import torch

from tests.commands.test_processes import result_of, visionattn
from tests.runs.interruption import seen
from visionattn.weights.read import read_checkpoint

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
    assert "resumes from" in done.stdout
    assert torch.load(two / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 8


@pytest.mark.heavy
def test_auxiliary_losses_and_adaptive_clipping_are_those_of_one_process(tmp_path):
    routed = [
        "mixer@backbone.mixers.s2=mixture_of_heads",
        "trainer.gradient_clip_val=null",
        "trainer.log_every_n_steps=1",
    ]
    adaptive, balance = ["task.adaptive_clip=0.05"], "backbone.mixers.s2.gate.balance"
    runs = {
        "one": ["data.batch_size=16", *adaptive, f"{balance}=1.0"],
        "two": [*SHARDED, "data.batch_size=8", *adaptive, f"{balance}=1.0"],
        "unbalanced": [*SHARDED, "data.batch_size=8", *adaptive, f"{balance}=0.0"],
    }
    found = {}
    for name, options in runs.items():
        done = visionattn(*RUN, *routed, *options, f"hydra.run.dir={tmp_path / name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        found[name] = state(tmp_path / name)
    (log,) = (tmp_path / "two").rglob("metrics.csv")
    assert "train/loss_auxiliary" in log.read_text()
    routers = [name for name in found["one"] if ".gate." in name]
    apart = {
        name: max(float((found[name][part] - found["one"][part]).abs().max()) for part in routers)
        for name in ("two", "unbalanced")
    }
    assert apart["two"] < apart["unbalanced"] / 5, apart  # the loss of a part of the batch is not that of all of it
    for name, tensor in found["one"].items():
        torch.testing.assert_close(found["two"][name], tensor, rtol=1e-2, atol=5e-4, msg=name)


PROBED = [
    *("allow=[tests]", "callbacks.last.every_n_steps=2", "data.batch_size=8"),
    "+callbacks.probe={_target_: tests.runs.interruption.Probe, folder: '${run_dir}'}",
]


def cut_off(monkeypatch, run, *options, cwd):
    """Killed in batch 3 of the first epoch; then the same command again."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    command = [*RUN, *SHARDED, *PROBED, *options, f"hydra.run.dir={run}"]
    monkeypatch.setenv("PROBE", "accumulated 2 kill")
    assert visionattn(*command, cwd=cwd).returncode in (-9, 137)
    monkeypatch.setenv("PROBE", "never 0 raise")
    done = visionattn(*command, cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "epoch 1, batch 2" in done.stdout
    ids = [name for rank in (0, 1) for names in seen(run, rank).values() for name in names]
    assert len(ids) == len(set(ids)) == 64


@pytest.mark.heavy
@pytest.mark.parametrize("distributed", [False, True])
def test_cut_off_inside_an_epoch_it_goes_on(tmp_path, monkeypatch, distributed):
    run, whole = tmp_path / "run", tmp_path / "whole"
    kind = f"trainer.strategy.save_distributed_checkpoint={distributed}"
    cut_off(monkeypatch, run, kind, cwd=tmp_path)
    done = visionattn(*RUN, *SHARDED, "data.batch_size=8", f"hydra.run.dir={whole}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    last = run / "checkpoints/last.ckpt"
    assert last.is_dir() is distributed
    found = read_checkpoint(last)["state_dict"]
    assert found.keys() == state(whole).keys()
    for name, tensor in state(whole).items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.heavy
def test_a_distributed_checkpoint_is_checked_and_evaluated(tmp_path):
    run = tmp_path / "run"
    command = [*RUN, *SHARDED, "data.batch_size=8", "trainer.strategy.save_distributed_checkpoint=true"]
    assert visionattn(*command, "trainer.max_epochs=2", f"hydra.run.dir={run}", cwd=tmp_path).returncode == 0
    assert (run / "checkpoints/previous.ckpt").is_dir()
    done = visionattn("evaluate", f"ckpt={run}/checkpoints/last.ckpt", "trainer.limit_val_batches=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert result_of(tmp_path)["metrics"]["loss"] > 0
    part = run / "checkpoints/last.ckpt/__1_0.distcp"
    damaged = bytearray(part.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    part.write_bytes(damaged)
    done = visionattn(*command, "trainer.max_epochs=3", f"hydra.run.dir={run}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "wrong checksum: __1_0.distcp" in " ".join(done.stderr.split())
    assert "previous.ckpt" in done.stdout
    assert read_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == 12


@pytest.mark.heavy
def test_averaged_weights_are_refused(tmp_path):
    done = visionattn("train", *SHARDED, "trainer.limit_train_batches=1", cwd=tmp_path)
    assert done.returncode != 0
    assert "callbacks=no_ema" in done.stderr
