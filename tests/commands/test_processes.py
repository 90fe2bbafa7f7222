"""Two and three processes give the figures of one, and two stop together."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.commands.short_runs import newest
from visionattn.cli import main

BATCHES = ["trainer.max_epochs=1", "trainer.limit_train_batches=3", "trainer.accelerator=cpu", "seed=3"]
TWO = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]


def visionattn(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "visionattn", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def result_of(folder: Path) -> dict:
    return json.loads((newest(folder / "outputs" / "evaluate") / "result.json").read_text())


def validation(metrics: Path) -> dict[str, float]:
    """The last row of metrics.csv that has validation figures."""
    with metrics.open() as file:
        row = [row for row in csv.DictReader(file) if row["val/top1"]][-1]
    return {name: float(value) for name, value in row.items() if name.startswith("val/")}


@pytest.mark.heavy
def test_evaluation_is_the_same_to_the_last_digit(trained, tmp_path, monkeypatch):
    words = ["evaluate", f"ckpt={trained}/checkpoints/last.ckpt", "trainer.accelerator=cpu"]
    for count in (1, 3):
        (tmp_path / str(count)).mkdir()
    monkeypatch.chdir(tmp_path / "1")
    assert main(words) == 0
    done = visionattn(*words, "trainer=ddp", "trainer.devices=3", cwd=tmp_path / "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("result.json") == 1
    one, three = (result_of(tmp_path / str(count)) for count in (1, 3))
    assert (one["processes"], three["processes"]) == (1, 3)
    assert three["metrics"]["top1"] == one["metrics"]["top1"]
    assert three["metrics"]["top5"] == one["metrics"]["top5"]
    assert three["metrics"]["loss"] == pytest.approx(one["metrics"]["loss"], rel=1e-6)
    assert three["num_samples"] == one["num_samples"] == 359
    assert three["ids_sha256"] == one["ids_sha256"]


def test_training_on_two_processes_gives_the_weights_and_figures_of_one(tmp_path, monkeypatch):
    states, figures = [], []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    assert main(["train", "data.batch_size=32", *BATCHES]) == 0
    done = visionattn("train", *TWO, "data.batch_size=16", *BATCHES, cwd=tmp_path / "two")
    assert done.returncode == 0, done.stderr
    for name in ("one", "two"):
        run = newest(tmp_path / name / "outputs" / "classification" / "dinat_pico")
        assert len(list((tmp_path / name / "outputs").rglob("last.ckpt"))) == 1
        states.append(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
        figures.append(validation(run / "metrics.csv"))
    for key, tensor in states[0].items():
        torch.testing.assert_close(states[1][key], tensor, rtol=1e-3, atol=2e-5, msg=key)
    assert figures[1]["val/top1"] == pytest.approx(figures[0]["val/top1"], abs=1e-4)
    assert figures[1]["val/loss"] == pytest.approx(figures[0]["val/loss"], rel=1e-4)


def test_a_non_finite_loss_on_one_process_stops_both_with_the_same_message(tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "broken.py")], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    reports = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert reports[0]["error"] == reports[1]["error"]
    assert "the loss is nan" in reports[0]["error"]
    assert "sample-1" in reports[0]["error"]
    assert reports[0]["unchanged"]
    assert reports[1]["unchanged"]


BROKEN = """
import json
import torch
from torch import distributed as dist, multiprocessing
from visionattn.errors import NonFiniteLossError
from visionattn.training.nonfinite import StepMonitor


def work(rank):
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:29517", rank=rank, world_size=2)
    weight = torch.nn.Parameter(torch.ones(3))
    before, message, guard = weight.detach().clone(), "", StepMonitor()
    try:
        for step in range(4):
            image = torch.full((1, 3), float("nan") if rank == 1 and step == 2 else 1.0)
            loss = (image * weight).sum()
            guard.see(loss, image, {"image": image, "id": [f"sample-{rank}"]}, [])
            guard.decide(None, stop=False)
            if step == 1:
                before = weight.detach().clone()
    except NonFiniteLossError as error:
        message = str(error)
    with open(f"rank{rank}.json", "w") as file:
        json.dump({"error": message, "unchanged": torch.equal(weight.detach(), before)}, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    multiprocessing.spawn(work, nprocs=2)
"""
