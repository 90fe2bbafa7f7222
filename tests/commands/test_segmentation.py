"""Segmentation from the command line: train, evaluate on one and more processes, predict, doctor."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import visionattn
from tests.commands.short_runs import newest
from visionattn.cli import main
from visionattn.data.segmentation.mask_files import decode_mask

pytestmark = pytest.mark.filterwarnings("default")
SMALL = ["data.image_size=48", "data.batch_size=6", "head.decoder.channels=8"]
ROUNDS = ["trainer.max_epochs=-1", "trainer.max_steps=4", "+trainer.val_check_interval=2"]
PLACE = [
    "trainer=default",
    "trainer.check_val_every_n_epoch=null",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.precision=32-true",
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    arguments = ["layout=ade20k", f"dir={folder}", "num_train=12", "num_val=7", "image_size=48"]
    assert main(["data", "make=shapes", *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    """A run counted in steps, validated every other step, as the published recipes are."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["experiment=shapes/upernet", f"data.root={shapes}", *SMALL, *ROUNDS, *PLACE]
        assert main(["train", *words]) == 0
    return newest(newest(folder / "outputs" / "segmentation"))


def test_training_leaves_figures_and_pictures(run):
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/mIoU")]
    assert [int(row["step"]) for row in rows] == [1, 3]
    for name in ("predictions", "classes", "curves", "first_batch", "confusion"):
        with Image.open(run / "plots" / f"{name}.png") as image:
            assert min(image.size) > 200
    assert len(list((run / "plots" / "overlays").glob("*.png"))) == 7
    contents = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert contents["class_facts"]["names"][0] == "arrow"
    assert "val/mIoU" in (run / "README.md").read_text()


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_evaluation_repeats_training_and_holds_the_matrix(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", f"ckpt={run}/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}/a"]) == 0
    found = result(tmp_path / "a")
    with (run / "metrics.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row.get("val/mIoU")][-1]
    assert found["metrics"]["mIoU"] == pytest.approx(float(last["val/mIoU"]), abs=1e-4)
    assert found["num_samples"] == 7
    assert found["protocol"]["mode"] == "whole"
    assert (tmp_path / "a" / "plots" / "predictions.png").is_file()
    matrix = np.load(tmp_path / "a" / "confusion.npy")
    right, union = np.diag(matrix), matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    assert found["metrics"]["mIoU"] == pytest.approx(np.mean(100 * right[union > 0] / union[union > 0]), rel=1e-14)
    assert len((tmp_path / "a" / "classes.csv").read_text().splitlines()) == 16


def test_weights_of_a_file_become_a_checkpoint_that_is_scored(run, shapes, tmp_path, monkeypatch):
    """A run of no epochs; so another project's model with its head is evaluated."""
    monkeypatch.chdir(tmp_path)
    words = ["experiment=shapes/upernet", f"data.root={shapes}", *SMALL, *PLACE, "trainer.max_epochs=0"]
    words += [f"weights={run}/checkpoints/last.ckpt", "weights_part=model", f"hydra.run.dir={tmp_path}/none"]
    assert main(["train", *words]) == 0
    for name, folder in (("a", run), ("b", tmp_path / "none")):
        assert main(["evaluate", f"ckpt={folder}/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}/{name}"]) == 0
    assert result(tmp_path / "a")["metrics"] == result(tmp_path / "b")["metrics"]


@pytest.mark.heavy
def test_another_inference_and_more_processes(run, tmp_path):
    changed = ["inference=slide", "task.inference.crop=32", "task.inference.stride=20", "+task.boundary_iou=true"]
    found = []
    for count in (1, 2, 3):
        command = [sys.executable, "-m", "visionattn", "evaluate", f"ckpt={run}/checkpoints/last.ckpt", *changed]
        where = [f"hydra.run.dir={tmp_path}/{count}", "batch_size=1"]
        devices = ["trainer=ddp", f"trainer.devices={count}", "trainer.accelerator=cpu"]
        done = subprocess.run([*command, *where, *devices], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(result(tmp_path / str(count)))
    assert [one["processes"] for one in found] == [1, 2, 3]
    for other in found[1:]:
        for name in ("mIoU", "mAcc", "aAcc", "boundary_mIoU"):
            assert found[0]["metrics"][name] == other["metrics"][name], name
        assert found[0]["ids_sha256"] == other["ids_sha256"]
    assert found[0]["protocol"]["crop"] == [32, 32]


def test_predict_draws_class_maps(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name, size in (("a.png", (60, 35)), ("b.jpg", (33, 70))):
        Image.fromarray(np.random.RandomState(0).randint(0, 255, (*size[::-1], 3), np.uint8)).save(
            tmp_path / "mine" / name
        )
    assert main(["predict", f"ckpt={run}", f"source={tmp_path}/mine", f"dir={tmp_path}/out"]) == 0
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert written["checkpoint"] == str(run / "checkpoints" / "best.ckpt")
    answers = written["images"]
    assert [answer["size"] for answer in answers] == [[60, 35], [33, 70]]
    from_python = visionattn.load(run, device="cpu").predict("mine")
    for answer, one in zip(answers, from_python, strict=True):
        classes = decode_mask((tmp_path / "out" / answer["files"]["classes"]).read_bytes())
        assert np.array_equal(one.classes, classes)
        assert classes.shape == tuple(answer["size"][::-1])
        for entry in answer["classes"]:
            assert entry["share"] == (classes == entry["label"]).mean()
        with Image.open(tmp_path / "out" / answer["files"]["drawing"]) as drawing:
            assert drawing.height >= answer["size"][1]


def test_class_maps_are_those_that_an_evaluation_scores(run, shapes, tmp_path):
    where = f"hydra.run.dir={tmp_path}/scored"
    assert main(["evaluate", f"ckpt={run}/checkpoints/last.ckpt", "trainer.accelerator=cpu", where]) == 0
    images = shapes / "ADEChallengeData2016" / "images" / "validation"
    words = [f"ckpt={run}/checkpoints/last.ckpt", f"source={images}", f"dir={tmp_path}/out", "device=cpu"]
    assert main(["predict", *words]) == 0
    matrix = np.zeros((15, 15), np.int64)
    for image in json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]:
        mask = (images.parents[1] / "annotations" / "validation" / image["image"]).with_suffix(".png")
        target = decode_mask(mask.read_bytes()).astype(int)
        found = decode_mask((tmp_path / "out" / image["files"]["classes"]).read_bytes())
        np.add.at(matrix, (target[target > 0] - 1, found[target > 0]), 1)
    assert np.array_equal(matrix, np.load(tmp_path / "scored" / "confusion.npy"))


def test_the_doctor_reports_and_fails(shapes, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["data", "doctor", "data=ade20k", f"data.root={shapes}", f"hydra.run.dir={tmp_path}/doctor"]
    assert main([*words, "data.num_classes=15"]) == 0
    assert "no problems found" in capsys.readouterr().out
    assert (tmp_path / "doctor" / "train_classes.png").stat().st_size > 0
    mask = sorted((shapes / "ADEChallengeData2016" / "annotations" / "training").glob("*.png"))[2]
    whole = mask.read_bytes()
    try:
        Image.fromarray(decode_mask(whole) + np.uint8(50)).save(mask)
        assert main([*words, "data.num_classes=15", "overwrite=true"]) == 1
        shown = capsys.readouterr()
        assert mask.name in shown.out
        assert "data doctor found 1 error" in shown.err
        again = ["train", "experiment=shapes/upernet", f"data.root={shapes}", *SMALL, *ROUNDS, *PLACE]
        assert main([*again, f"hydra.run.dir={tmp_path}/again"]) == 1
        assert f"{mask.name}: unknown labels: " in capsys.readouterr().err
    finally:
        mask.write_bytes(whole)


@pytest.mark.heavy
def test_a_bad_mask_met_late_stops_both_processes_by_name(tmp_path):
    """Of more than 256 masks some are first read in training."""
    rank = np.random.RandomState(0)
    for split, count in (("train", 264), ("val", 2)):
        for kind, high in (("images", 256), ("masks", 2)):
            (tmp_path / "set" / split / kind).mkdir(parents=True)
            for index in range(count):
                shape = (16, 16, 3) if kind == "images" else (16, 16)
                pixels = rank.randint(0, high, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "set" / split / kind / f"{index:03d}.png")
    looked_at = {place * 264 // 256 for place in range(256)}
    bad = next(index for index in range(264) if index not in looked_at)
    Image.fromarray(np.full((16, 16), 77, np.uint8)).save(tmp_path / "set" / "train" / "masks" / f"{bad:03d}.png")
    words = ["task=segmentation", "head=segformer", "head.decoder.channels=8", "data=image_mask", "data.image_size=16"]
    words += ["data.source.class_names=[background,object]", "data.num_classes=2"]
    words += [f"data.root={tmp_path}/set", "data.num_workers=0", "data.pin_memory=false", "data.batch_size=12"]
    words += ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.max_epochs=1", "logger=csv"]
    command = [sys.executable, "-m", "visionattn", "train", *words, f"hydra.run.dir={tmp_path}/run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert f"{bad:03d}.png: unknown labels: 77 (256 pixels)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
