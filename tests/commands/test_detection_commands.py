"""Detection from the command line: a user's own backbone trains, is scored and draws; bad input has a name."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from faster_coco_eval import COCO
from PIL import Image

import visionattn
from tests.commands.short_runs import newest
from visionattn.cli import main
from visionattn.data.shapes import make_shapes

TOY = '''
from torch import nn


class ToyBackbone(nn.Module):
    """Three strided convolutions."""

    def __init__(self, width=8, **kwargs):
        super().__init__()
        widths, strides = [3, width, 2 * width, 4 * width], [4, 2, 2]
        self.stages = nn.ModuleList(nn.Conv2d(a, b, s, s) for a, b, s in zip(widths, widths[1:], strides))
        facts = enumerate(zip(widths[1:], [4, 8, 16]))
        self.feature_info = [{"num_chs": w, "reduction": r, "module": f"stages.{i}"} for i, (w, r) in facts]

    def forward_intermediates(self, x, norm=False, intermediates_only=False, **kwargs):
        maps = []
        for stage in self.stages:
            x = stage(x).relu()
            maps.append(x)
        return maps
'''
YAML = "# a toy\n_target_: toy_package.ToyBackbone\nwidth: 8\nnum_classes: 0\n"
SMALL = [
    *("task=detection", "data=coco", "data.num_classes=10", "data.image_size=64", "data.num_workers=0"),
    *("data.train_transform.short_edges=[64]", "data.eval_transform.short_edge=64", "data.source.empty_images=true"),
    *("head.pyramid.channels=16", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu"),
]
FILES = ("result", "classes", "detections")
RCNN = ["head.regions.width=16", "head.regions.mask_channels=16", "head.regions.sampled=8"]
RCNN += ["head.proposals.after_nms=[20,10]", "head.proposals.anchor_scale=4"]


def size_of(path):
    with Image.open(path) as image:
        return image.size


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    make_shapes("coco", folder, num_train=8, num_val=5, image_size=64)
    return folder


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    """A run with a backbone of the user's own."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "toy_package.py").write_text(TOY)
    (folder / "conf" / "backbone").mkdir(parents=True)
    (folder / "conf" / "backbone" / "toy.yaml").write_text(YAML)
    own = ["--config-dir", str(folder / "conf"), "allow=[toy_package]", "backbone=toy", f"data.root={shapes}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        assert main(["train", *SMALL, *RCNN, *own, "head=mask_rcnn"]) == 0
        yield newest(folder / "outputs" / "detection" / "toy")


def test_training_leaves_pictures_and_figures(trained):
    for name in ("predictions", "classes", "curves", "first_batch", "precision_recall", "confusion"):
        assert size_of(trained / "plots" / f"{name}.png")[0] > 100
    header = (trained / "metrics.csv").read_text().splitlines()[0]
    for name in ("val/box_ap", "val/mask_ap", "val/mask_ar_large"):
        assert name in header
    assert "predictions and targets" in (trained / "README.md").read_text()


def test_evaluate_writes_the_submission_and_the_classes(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = f"ckpt={trained}/checkpoints/last.ckpt"
    assert main(["evaluate", checkpoint, "allow=[toy_package]", "trainer.accelerator=cpu"]) == 0
    folder = newest(tmp_path / "outputs" / "evaluate")
    result = json.loads((folder / "result.json").read_text())
    assert result["num_samples"] == 5
    assert {"box_ap", "mask_ap75"} <= result["metrics"].keys()
    assert result["protocol"]["short_edge"] == 64
    classes = json.loads((folder / "classes.json").read_text())
    assert [c["id"] for c in classes] == [1, 2, 3, 5, 8, 13, 21, 34, 55, 90]
    assert size_of(folder / "plots" / "confusion.png")[0] > 100
    for line in json.loads((folder / "detections.json").read_text()):
        assert {"image_id", "category_id", "bbox", "score", "segmentation"} == line.keys()


@pytest.mark.heavy
def test_evaluation_on_one_two_and_three_processes_says_the_same(trained, tmp_path):
    said = []
    for count in (1, 2, 3):
        words = [f"ckpt={trained}/checkpoints/last.ckpt", "allow=[toy_package]", f"hydra.run.dir={tmp_path}/{count}"]
        words += ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={count}"]
        home = trained.parents[3]  # where the toy's package lies
        alike = os.environ | {"OMP_NUM_THREADS": "1"}  # another number of threads rounds otherwise
        subprocess.run([sys.executable, "-m", "visionattn", "evaluate", *words], cwd=home, env=alike, check=True)
        folder = tmp_path / str(count)
        result, classes, found = (json.loads((folder / f"{name}.json").read_text()) for name in FILES)
        assert result["num_samples"] == 5
        said.append((result["metrics"], classes, found))
    assert said[0] == said[1] == said[2]
    assert any("box_ap" in row for row in said[0][1])


def test_predict_draws_every_picture_and_names_the_broken_one(trained, shapes, tmp_path, capsys):
    source = tmp_path / "photos"
    source.mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(next((shapes / "val2017").iterdir()), source / name)
    (source / "broken.png").write_bytes(b"nothing")
    arguments = [f"ckpt={trained}/checkpoints/last.ckpt", f"source={source}", f"dir={tmp_path / 'out'}"]
    assert main(["predict", *arguments, "allow=[toy_package]", "options.score=0.0", "device=cpu"]) == 0
    said = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [image["image"] for image in said["images"]] == ["a.jpg", "b.jpg"]
    assert [one["image"] for one in said["unreadable"]] == ["broken.png"]
    assert "broken.png cannot be read" in capsys.readouterr().err
    for image in said["images"]:
        assert size_of(tmp_path / "out" / image["files"]["drawing"]) == tuple(10 * edge for edge in image["size"])
        for found in image["objects"]:
            assert found.keys() == {"class", "category_id", "bbox", "score", "segmentation"}
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(results) == sum(len(image["objects"]) for image in said["images"])
    assert {result["image_id"] for result in results} == {1, 2}
    written = COCO(tmp_path / "out" / "coco.json")
    assert [written.imgs[number]["file_name"] for number in (1, 2)] == ["a.jpg", "b.jpg"]
    assert [written.anns[number]["score"] for number in sorted(written.anns)] == [one["score"] for one in results]
    model = visionattn.load(trained / "checkpoints" / "last.ckpt", device="cpu", allow=["toy_package"])
    from_python = model.predict([source / "a.jpg", source / "b.jpg"], score=0.0)
    assert from_python.to_coco() == results
    assert from_python[0].masks.shape == (len(from_python[0].boxes), *size_of(source / "a.jpg")[::-1])


def test_predictions_are_those_that_an_evaluation_scores(trained, shapes, tmp_path):
    words = [f"ckpt={trained}/checkpoints/last.ckpt", "allow=[toy_package]"]
    assert main(["evaluate", *words, "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path}/scored"]) == 0
    source = f"source={shapes}/val2017"
    assert main(["predict", *words, source, f"dir={tmp_path}/out", "options.score=0.0", "device=cpu"]) == 0
    scored, found = (json.loads((tmp_path / name / "detections.json").read_text()) for name in ("scored", "out"))
    truth = json.loads((shapes / "annotations" / "instances_val2017.json").read_text())["images"]
    number = {one["id"]: place for place, one in enumerate(sorted(truth, key=lambda one: one["file_name"]), 1)}
    expected = [line | {"image_id": number[line["image_id"]]} for line in scored]
    order = [sorted(lines, key=lambda line: (line["image_id"], -line["score"])) for lines in (expected, found)]
    assert [line["score"] for line in order[0]] == pytest.approx([line["score"] for line in order[1]], abs=1e-6)
    assert [line["image_id"] for line in order[0]] == [line["image_id"] for line in order[1]]
    boxes = [np.array([line["bbox"] for line in lines]) for lines in order]
    np.testing.assert_allclose(*boxes, atol=1e-3)


def test_predict_says_what_it_cannot_do(trained, tmp_path, capsys):
    checkpoint = f"ckpt={trained}/checkpoints/last.ckpt"
    assert main(["predict", checkpoint, f"source={tmp_path}/none", "allow=[toy_package]"]) == 1
    assert "was not found; a source is an image" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["cascade_mask_rcnn", pytest.param("retinanet", marks=pytest.mark.heavy)])
def test_other_heads_train_on_the_zoos_backbones(shapes, tmp_path, monkeypatch, head):
    monkeypatch.chdir(tmp_path)
    options = RCNN if "rcnn" in head else []
    assert main(["train", *SMALL, *options, f"data.root={shapes}", f"head={head}", "backbone=swin_pico"]) == 0
    assert "val/box_ap" in (newest(tmp_path / "outputs" / "detection" / "swin_pico") / "metrics.csv").read_text()
