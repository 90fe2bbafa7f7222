"""Panoptic segmentation from the command line: train, evaluate on one and two processes, predict, doctor."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import visionattn
from tests.commands.short_runs import newest
from visionattn.cli import main
from visionattn.data.panoptic.maps import decode_map

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("default")
SMALL = ["data.image_size=64", "data.batch_size=4", "head.channels=32", "head.num_queries=6", "head.decoder_layers=1"]
SMALL += ["head.num_points=64", "data.train_transform.crop_size=[48,48]", "data.eval_transform.short_edge=48"]
SMALL += ["weights=null"]
ROUNDS = ["trainer.max_epochs=-1", "trainer.max_steps=3", "trainer.accelerator=cpu", "trainer.precision=32-true"]
ROUNDS += [
    "trainer.devices=1",
    "trainer.strategy=auto",
    "+trainer.val_check_interval=3",
    "trainer.check_val_every_n_epoch=null",
]
ROUNDS += [
    "task.score=0.0",
    "task.overlap=0.0",
    "head.no_object_weight=0.0",
    "task.instance=true",
    "optim=adamw",
    "optim.lr=3e-3",
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    arguments = ["layout=coco_panoptic", f"dir={folder}", "num_train=12", "num_val=5", "image_size=48"]
    assert main(["data", "make=shapes", *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "experiment=shapes/mask2former", f"data.root={shapes}", *SMALL, *ROUNDS]) == 0
    return newest(newest(folder / "outputs" / "panoptic"))


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_training_leaves_figures_and_pictures(run):
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row.get("val/PQ")] == [2]
    assert any(row.get("val/mask_ap") for row in rows)
    for name in ("predictions", "classes", "curves", "first_batch"):
        with Image.open(run / "plots" / f"{name}.png") as image:
            assert min(image.size) > 200
    contents = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert contents["class_facts"]["things"] == [True] * 10 + [False] * 5


@pytest.mark.heavy
def test_evaluation_is_the_same_on_one_and_two_processes(run, shapes, tmp_path):
    contents, generator = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True), torch.Generator()
    for name in ("transformer_module.decoder.mask_predictor.mask_embedder.2.0", "class_predictor"):
        weight = contents["state_dict"][f"head.network.{name}.weight"]
        weight.copy_(3 * torch.randn(weight.shape, generator=generator.manual_seed(0)))  # sure of something
    torch.save(contents, tmp_path / "sure.ckpt")
    torch.set_num_threads(1)  # another number of threads rounds otherwise
    words = ["evaluate", f"ckpt={tmp_path}/sure.ckpt", "trainer.accelerator=cpu"]
    assert main([*words, f"hydra.run.dir={tmp_path}/1"]) == 0
    two = [*words, f"hydra.run.dir={tmp_path}/2", "trainer=ddp", "trainer.devices=2"]
    done = subprocess.run(
        [sys.executable, "-m", "visionattn", *two],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = [result(tmp_path / name) for name in ("1", "2")]
    assert [one["processes"] for one in found] == [1, 2]
    assert found[0]["metrics"] == found[1]["metrics"]
    assert found[0]["ids_sha256"] == found[1]["ids_sha256"]
    assert found[0]["num_samples"] == 5
    assert found[0]["protocol"]["overlap"] == 0.0
    assert {"PQ", "SQ_th", "RQ_st", "mask_ap", "box_ap50"} <= set(found[0]["metrics"])
    for name in ("panoptic.json", "classes.csv", "detections.json"):
        assert (tmp_path / "1" / name).read_text() == (tmp_path / "2" / name).read_text()
    written = json.loads((tmp_path / "1" / "panoptic.json").read_text())
    truth = json.loads((shapes / "annotations" / "panoptic_val2017.json").read_text())
    assert {note["image_id"] for note in written["annotations"]} == {image["id"] for image in truth["images"]}
    assert sum(len(note["segments_info"]) for note in written["annotations"]) > 0
    for note in written["annotations"]:
        numbers = decode_map((tmp_path / "2" / "panoptic" / note["file_name"]).read_bytes())
        assert set(np.unique(numbers).tolist()) - {0} == {segment["id"] for segment in note["segments_info"]}
        assert numbers.shape == decode_map((shapes / "panoptic_val2017" / note["file_name"]).read_bytes()).shape
    assert len((tmp_path / "1" / "classes.csv").read_text().splitlines()) == 16


def test_predict_draws_segments(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name, size in (("a.png", (60, 35)), ("b.jpg", (33, 70))):
        pixels = np.random.RandomState(0).randint(0, 255, (*size[::-1], 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "mine" / name)
    assert main(["predict", f"ckpt={run}/checkpoints/last.ckpt", f"source={tmp_path}/mine", f"dir={tmp_path}/out"]) == 0
    answers = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert [answer["size"] for answer in answers] == [[60, 35], [33, 70]]
    from_python = visionattn.load(run / "checkpoints" / "last.ckpt", device="cpu").predict("mine")
    for answer, one in zip(answers, from_python, strict=True):
        numbers = decode_map((tmp_path / "out" / answer["files"]["panoptic"]).read_bytes())
        assert np.array_equal(one.ids, numbers)
        assert [segment["id"] for segment in one.segments] == [segment["id"] for segment in answer["segments"]]
        assert numbers.shape == tuple(answer["size"][::-1])
        assert {segment["id"]: segment["area"] for segment in answer["segments"]} == {
            int(number): int((numbers == number).sum()) for number in np.unique(numbers[numbers > 0])
        }
    official = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert [one["file_name"] for one in official["images"]] == ["a.png", "b.jpg"]
    assert len(official["categories"]) == 15
    for entry, answer in zip(official["annotations"], answers, strict=True):
        assert tmp_path / "out" / "panoptic" / entry["file_name"] == tmp_path / "out" / answer["files"]["panoptic"]
        assert [one["id"] for one in entry["segments_info"]] == [one["id"] for one in answer["segments"]]


def test_instances_alone_train_on_the_layout_of_detection(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    common = ["train", "experiment=shapes/mask2former", "data=coco", f"data.root={shapes}", "data.num_classes=10"]
    common += ["data.num_workers=0", *SMALL, *ROUNDS, "trainer.limit_val_batches=1"]
    assert main([*common, "task.instance=false"]) == 2
    assert "data=coco has objects but no panoptic maps" in capsys.readouterr().err
    assert main([*common, "task.panoptic=false", "task.monitor=val/mask_ap"]) == 0
    assert (newest(newest(tmp_path / "outputs" / "panoptic")) / "plots" / "predictions.png").stat().st_size > 0


def test_a_missing_file_of_instances_is_told_before_training(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", "experiment=shapes/mask2former", f"data.root={shapes}", *SMALL, *ROUNDS]
    assert main([*words, "data.source.instances.val=annotations/none.json"]) == 1
    assert "none.json cannot be read" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_doctor_passes_the_drawn_set(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["data", "doctor", "data=coco_panoptic", f"data.root={shapes}", f"hydra.run.dir={tmp_path}/doctor"]
    assert main([*words, "data.num_classes=15"]) == 0
    shown = capsys.readouterr().out
    assert "classes that never occur" in shown  # of so few pictures
    assert "error" not in shown
    assert main([*words, "data.num_classes=14", "overwrite=true"]) == 1
    assert "wrong number of classes" in capsys.readouterr().out
