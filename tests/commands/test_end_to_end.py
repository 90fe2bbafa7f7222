"""Every command does what it says, on real images, from the command line down to the files it leaves."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from omegaconf import OmegaConf
from PIL import Image

from tests.commands.short_runs import TINY, newest
from visionattn.cli import main

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_train_leaves_a_folder_that_explains_itself(trained):
    for name in ("config.yaml", "metrics.csv", "README.md", "checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        assert (trained / name).stat().st_size > 0, name
    for picture in ("curves", "confusion", "mistakes", "classes", "calibration", "first_batch"):
        with Image.open(trained / "plots" / f"{picture}.png") as image:
            assert min(image.size) > 200
    assert list(trained.rglob("events.out.tfevents.*"))
    assert OmegaConf.load(trained / "config.yaml").backbone.mixers.s3.window_size == 4
    with (trained / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/top1"]]
    assert len(rows) == 2
    card = (trained / "README.md").read_text()
    for part in (
        "visionattn train",
        "mixer@backbone.mixers.s3=swin/4",
        "commit",
        "seed",
        "torch",
        "sha256",
        "val/top1",
    ):
        assert part in card, part


def test_checkpoint_is_plain_data_with_the_config_and_both_sets_of_weights(trained):
    contents = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    assert "backbone" in contents["config"]
    averaged, current = contents["state_dict"], contents["current_model_state"]
    assert averaged.keys() == current.keys()
    assert any(not torch.equal(averaged[name], current[name]) for name in averaged)


def test_evaluate_gives_the_figures_of_training(trained, tmp_path):
    assert main(["evaluate", f"ckpt={trained}/checkpoints/last.ckpt"]) == 0
    result = json.loads((newest(tmp_path / "outputs" / "evaluate") / "result.json").read_text())
    with (trained / "metrics.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["val/top1"]][-1]
    assert result["metrics"]["top1"] == pytest.approx(float(last["val/top1"]), abs=1e-4)
    assert result["metrics"]["loss"] == pytest.approx(float(last["val/loss"]), rel=1e-4)
    assert result["num_samples"] == 359
    assert result["protocol"]["crop_pct"] == 1.0
    assert result["protocol"]["interpolation"] == "bilinear"
    assert len(result["ids_sha256"]) == 64
    assert result["versions"]["torch"] == torch.__version__


def test_evaluate_on_other_data(trained, tmp_path, capsys):
    assert main(["data", "make=shapes", "layout=imagenet", f"dir={tmp_path}/shapes", "num_train=20", "num_val=20"]) == 0
    capsys.readouterr()
    checkpoint = f"ckpt={trained}/checkpoints/last.ckpt"
    chosen = ["data=image_folder", f"data.root={tmp_path}/shapes", "num_workers=0", "batch_size=8"]
    classes = len(list((tmp_path / "shapes" / "val").iterdir()))
    assert main(["evaluate", checkpoint, *chosen, f"data.num_classes={classes}"]) == (0 if classes == 10 else 1)
    if classes != 10:
        assert f"the model has 10 classes, the data have {classes}" in capsys.readouterr().err


def test_export_loads_in_timm_with_equal_logits(trained, tmp_path, capsys):
    checkpoint = trained / "checkpoints" / "best.ckpt"
    assert main(["export", f"ckpt={checkpoint}", "format=timm", f"dir={tmp_path}/exported"]) == 0
    assert "relative error of the logits" in capsys.readouterr().out
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["architecture"] == "va_dinat_pico"
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    model = timm.create_model(f"local-dir:{tmp_path}/exported", pretrained=True)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert torch.equal(model.head.fc.weight, state["head.classifier.fc.weight"])
    assert model.stages[2].blocks[0].mixer.window_size == (4, 4)


def test_an_unknown_export_format_is_named(trained, capsys):
    assert main(["export", f"ckpt={trained}/checkpoints/best.ckpt", "format=caffe"]) == 2
    assert "unknown format caffe" in capsys.readouterr().err


def test_dry_run_reads_labels_and_no_image(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            (tmp_path / "set" / split / name / "0.jpg").write_bytes(b"nobody looks")
    arguments = ["data=image_folder", "data.root=set", "backbone=swin_pico", "trainer.accelerator=cpu"]
    assert main(["train", "--dry-run", *arguments, "data.num_classes=2"]) == 0
    assert "labels were read, images were not" in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.rglob("*.ckpt"))
    assert main(["train", "--dry-run", *arguments, "data.num_classes=3"]) == 1  # as training would
    assert "num_classes" in capsys.readouterr().err


def test_dry_run_builds_the_optimizer_too(capsys):
    assert main(["train", "--dry-run", "optim.lr=abc", "trainer.accelerator=cpu"]) == 2
    assert "abc" in capsys.readouterr().err


def test_a_missing_folder_is_one_sentence(capsys):
    assert main(["train", "data=image_folder", "data.root=/nowhere", "data.num_workers=0", *TINY]) == 1
    error = capsys.readouterr().err
    assert "/nowhere" in error
    assert "Traceback" not in error


def test_resume_continues_the_epochs(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    resumed = [f"ckpt={run}/checkpoints/last.ckpt", *TINY, "mixer@backbone.mixers.s3=swin/4", "trainer.max_epochs=3"]
    assert main(["train", *resumed]) == 0
    contents = torch.load(
        newest(tmp_path / "outputs/classification/dinat_pico") / "checkpoints/last.ckpt", weights_only=True
    )
    assert contents["epoch"] == 2
    assert contents["global_step"] == 12


def test_resuming_from_bare_weights_is_refused(trained, tmp_path, capsys):
    state = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    torch.save({"state_dict": state}, tmp_path / "bare.ckpt")
    assert main(["train", f"ckpt={tmp_path}/bare.ckpt", *TINY]) == 1
    assert "cannot be resumed from: it lacks config" in capsys.readouterr().err


def test_sweep_makes_one_run_for_each(tmp_path):
    assert main(["train", "-m", "backbone=swin_pico,dinat_pico", *TINY, "trainer.max_epochs=1"]) == 0
    assert len(list(tmp_path.rglob("best.ckpt"))) == 2


@pytest.mark.parametrize(
    "options",
    [
        ["debug=default"],
        ["debug=overfit", "trainer.max_epochs=2"],
        ["debug=limit", "trainer.max_epochs=1"],
        ["debug=profiler", "trainer.limit_train_batches=2"],
        ["debug=anomaly", "trainer.max_epochs=1", "trainer.limit_train_batches=1"],
        ["callbacks=no_ema", "logger=csv", "task.mixup_alpha=0.8", "optim=timm", "debug=default"],
        ["task.channels_last=true", "task.grad_checkpointing=true", "task.layer_decay=0.8", "debug=default"],
        ["trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2", "optim=sgd", "debug=default"],
        [
            "schedule=constant",
            "data.train_transform.auto_augment=rand-m5-n1",
            "data.train_transform.re_prob=0.5",
            "debug=default",
        ],
    ],
    ids=lambda options: options[0] if len(options) < 3 else options[-2],
)
def test_options_run(options, tmp_path):
    assert main(["train", "backbone=swin_pico", "trainer.accelerator=cpu", "data.batch_size=16", *options]) == 0
    assert list(tmp_path.rglob("last.ckpt"))


def test_wandb_without_the_package_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr("visionattn.runs.build.find_spec", lambda name: None)
    assert main(["train", "logger=wandb", *TINY]) == 2
    assert "pip install wandb" in capsys.readouterr().err


def test_a_non_finite_loss_stops_the_run_and_names_the_samples(capsys, tmp_path):
    assert main(["train", *TINY, "optim.lr=1e30", "schedule=constant", "trainer.gradient_clip_val=null"]) == 1
    error = capsys.readouterr().err
    assert "training stopped before the weights changed" in error
    assert "digits/" in error


def test_the_scripts_are_doors_to_the_same_functions(trained):
    root = __import__("pathlib").Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(root / "scripts" / "train.py"), "trainer.max_epoch=1"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "did you mean trainer.max_epochs?" in done.stderr


def test_a_metric_is_added_by_name(trained, tmp_path, capsys):
    extra = "evaluator@task.evaluators.extra=torchmetrics"
    assert main(["evaluate", f"ckpt={trained}", extra, f"hydra.run.dir={tmp_path}/result"]) == 0
    metrics = json.loads((tmp_path / "result" / "result.json").read_text())["metrics"]
    assert 0 <= metrics["f1"] <= 100
    assert 0 <= metrics["top1"] <= 100
    old = Path(__file__).parents[1] / "recorded" / "before_redesign" / "classification.ckpt"
    assert main(["evaluate", f"ckpt={old}", extra, f"hydra.run.dir={tmp_path}/old"]) == 2
    assert "before evaluators could be chosen" in capsys.readouterr().err
