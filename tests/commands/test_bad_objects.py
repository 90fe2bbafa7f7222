"""Detection meets bad input in live runs: it is counted, named or stopped at, and never becomes a silent NaN."""

import csv
import json
import math

import pytest

from tests.commands.short_runs import newest
from tests.commands.test_detection_commands import RCNN, TOY, YAML
from visionattn.cli import main
from visionattn.data.shapes import make_shapes

BAD_PACKAGE = '''
import torch

from visionattn.data.detection import DetectionEvalTransform, DetectionTrainTransform


class NaNPicture(DetectionTrainTransform):
    """Every picture gets a pixel that is no number."""

    def __call__(self, picture, target):
        image, target = super().__call__(picture, target)
        image = image.float() / 255
        image[:, 5, 5] = float("nan")
        return image, target


class NaNBox(DetectionTrainTransform):
    """Every box gets a corner that is no number, behind all checks of the annotations."""

    def __call__(self, picture, target):
        image, target = super().__call__(picture, target)
        target["boxes"][:, 2] = float("nan")
        return image, target


class OtherMasks(DetectionTrainTransform):
    """Masks of another size than their picture, behind all checks of the annotations."""

    def __call__(self, picture, target):
        image, target = super().__call__(picture, target)
        target["masks"] = target["masks"][:, :20, :30]
        return image, target


class NaNEvaluation(DetectionEvalTransform):
    def __call__(self, picture):
        return super().__call__(picture).float() * float("nan")
'''
WORDS = [
    *("task=detection", "data=coco", "data.num_classes=10", "data.image_size=64", "data.num_workers=0", "backbone=toy"),
    "data.batch_size=2",
    *("data.train_transform.short_edges=[64]", "data.eval_transform.short_edge=64", "data.source.empty_images=true"),
    *("head=mask_rcnn", "head.pyramid.channels=16", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
    *("allow=[toy_package,bad_package]", "data.eval_batch_size=2", *RCNN),
]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with the toy's package and the bad one."""
    (tmp_path / "toy_package.py").write_text(TOY)
    (tmp_path / "bad_package.py").write_text(BAD_PACKAGE)
    (tmp_path / "conf" / "backbone").mkdir(parents=True)
    (tmp_path / "conf" / "backbone" / "toy.yaml").write_text(YAML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    make_shapes("coco", tmp_path / "set", num_train=8, num_val=4, image_size=64)
    return tmp_path


def train(*words):
    return main(["train", "--config-dir", "conf", "data.root=set", *WORDS, *words])


def run_of(place):
    return newest(place / "outputs" / "detection" / "toy")


def losses(run):
    with (run / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


def change(place, split, edit):
    path = place / "set" / "annotations" / f"instances_{split}2017.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("head", ["mask_rcnn", pytest.param("cascade_mask_rcnn", marks=pytest.mark.heavy)])
def test_a_set_without_any_object_trains_and_is_scored(place, head):
    for split in ("train", "val"):
        change(place, split, lambda content: content["annotations"].clear())
    assert train(f"head={head}", "trainer.log_every_n_steps=1") == 0
    found = losses(run_of(place))
    assert len(found) == 4
    assert all(map(math.isfinite, found))
    with (run_of(place) / "metrics.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row.get("val/box_ap")]
    assert float(row["val/box_ap"]) == -1  # COCO's word for nothing to find


def test_a_dry_run_says_that_there_are_no_masks_to_learn_from(place, capsys):
    change(place, "train", lambda content: [one.pop("segmentation") for one in content["annotations"]])
    assert train("head=mask_rcnn", "--dry-run") == 1
    assert "has a mask, which the model learns from" in capsys.readouterr().err


def test_bad_annotations_and_damaged_pictures_are_counted_and_the_run_goes_on(place, capsys):
    def spoil(content):
        notes = content["annotations"]
        notes[0]["bbox"][2] = 0
        notes[1]["bbox"][0] = float("nan")
        notes[2]["segmentation"] = {"size": [5, 5], "counts": [25]}
        notes[3]["segmentation"] = [[0.0, 0.0, 1e8, 0.0, 1e8, 1e8]]

    for split in ("train", "val"):
        change(place, split, spoil)
        picture = sorted((place / "set" / f"{split}2017").iterdir())[-1]
        picture.write_bytes(picture.read_bytes()[:-200])
    assert train("data.unreadable_budget=0.5", "trainer.log_every_n_steps=1") == 0
    said = " ".join(capsys.readouterr().err.split())
    for split in ("train", "val"):
        start = said.index(f"{split}: excluded annotations:")
        for what in ("1 boxes without width or height", "1 boxes that are not finite", "2 invalid masks"):
            assert what in said[start : start + 160]
    run = run_of(place)
    assert all(map(math.isfinite, losses(run)))
    lists = {entry["split"]: entry for entry in json.loads((run / "unreadable.json").read_text())}
    assert "runcated" in json.dumps(lists["val"])
    assert "runcated" in json.dumps(lists["train"])


def test_too_many_damaged_pictures_end_the_run_with_their_names(place, capsys):
    picture = sorted((place / "set" / "val2017").iterdir())[0]
    picture.write_bytes(picture.read_bytes()[:-200])
    assert train() == 1
    said = capsys.readouterr().err
    assert picture.name in said
    assert "Traceback" not in said


@pytest.mark.parametrize("what", ["NaNPicture", "NaNBox"])
def test_a_picture_or_a_box_that_is_no_number_stops_before_the_weights_change(place, capsys, what):
    assert train(f"data.train_transform._target_=bad_package.{what}") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "the loss is nan; training stopped before the weights changed. Samples of the batch: 0000" in said
    assert "Traceback" not in said


def test_masks_of_another_size_are_an_error_that_names_the_picture(place, capsys):
    assert train("data.train_transform._target_=bad_package.OtherMasks") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert ".jpg: the transform gave masks of (20, 30) for an image of (" in said
    assert "Traceback" not in said


def test_with_skip_such_steps_are_left_out_and_written_down(place):
    words = ["data.train_transform._target_=bad_package.NaNPicture", "task.nonfinite=skip"]
    assert train(*words) == 0
    lines = [json.loads(line) for line in (run_of(place) / "nonfinite.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert all(len(line["samples"]) == 2 for line in lines)


def test_evaluation_stops_at_it_and_names_the_pictures(place, capsys):
    assert train("data.eval_transform._target_=bad_package.NaNEvaluation") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "of the detector are not finite" in said
    assert "Images: 0000" in said
