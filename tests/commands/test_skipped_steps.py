"""A step with a picture that is not finite leaves no trace with task.nonfinite=skip, and ends the run otherwise."""

import json

import pytest
import torch

from tests.commands.test_processes import visionattn
from visionattn.cli import main

pytestmark = pytest.mark.filterwarnings("default")
RUN = [
    *("train", "backbone=swin_pico", "stem@backbone.stem=batch_norm_32", "task.nonfinite=skip", "logger=csv"),
    *("data.batch_size=4", "trainer.max_epochs=1", "trainer.limit_val_batches=1", "trainer.accelerator=cpu"),
    *("allow=[tests]", "hydra.run.dir=run"),
]
ALL = ["average", "optimizer", "statistics", "weights"]


def poison(at, rank, steps_of=1):
    settings = f"folder: '${{run_dir}}', at: {at}, rank: {rank}, steps_of: {steps_of}"
    return "+callbacks.poison={_target_: tests.commands.poison.Poison, " + settings + "}"


@pytest.mark.parametrize(("accumulated", "at", "moved"), [(1, 2, [ALL, ALL, [], ALL]), (2, 3, [ALL, [], ALL])])
def test_nothing_moves(tmp_path, monkeypatch, accumulated, at, moved):
    """Of several accumulated batches one is enough."""
    monkeypatch.chdir(tmp_path)
    batches = {1: 5, 2: 8}[accumulated]
    steps = [f"trainer.accumulate_grad_batches={accumulated}", f"trainer.limit_train_batches={batches}"]
    assert main([*RUN, *steps, poison(at, 0, accumulated)]) == 0
    assert json.loads((tmp_path / "run/moved_0.json").read_text()) == moved
    (incident,) = (json.loads(line) for line in (tmp_path / "run/nonfinite.jsonl").read_text().splitlines())
    assert len(incident["samples"]) == 1
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    for part in ("state_dict", "current_model_state"):
        assert all(tensor.isfinite().all() for tensor in state[part].values())


@pytest.mark.heavy
def test_nothing_moves_on_the_other_process_either(tmp_path):
    two = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.limit_train_batches=5"]
    done = visionattn(*RUN, *two, poison(2, 1), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the step was skipped" in done.stderr
    moved = [json.loads((tmp_path / f"run/moved_{rank}.json").read_text()) for rank in (0, 1)]
    assert moved[0] == [ALL, ALL, [], ALL]
    assert moved[1] == [ALL, ALL, ["statistics"], ALL]  # every forward pass starts from those of the first process


@pytest.mark.heavy
def test_all_processes_stop_before_the_weights_change(tmp_path):
    """At step 2; the checkpoint of step 2 is the last one, and the picture is named."""
    two = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.limit_train_batches=5"]
    saved = ["task.nonfinite=stop", "callbacks.last.every_n_steps=1"]
    done = visionattn(*RUN, *two, *saved, poison(2, 1), cwd=tmp_path)
    assert done.returncode == 1, done.stderr[-3000:]
    message = " ".join(done.stderr.split())
    assert "the loss is nan; training stopped before the weights changed. Samples of the batch: digit" in message
    assert "Traceback" not in message
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 2
    assert all(tensor.isfinite().all() for tensor in state["current_model_state"].values())
