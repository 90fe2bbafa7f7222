"""COCO's panoptic layout: numbers in colors, what is read is what was drawn, and what is wrong is told."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visionattn.data.checks import Report
from visionattn.data.detection import DetectionEvalTransform
from visionattn.data.detection.json_file import read_json
from visionattn.data.panoptic.annotations import read_annotations
from visionattn.data.panoptic.maps import decode_map, describe, encode_map, segment_ids, to_colors, to_numbers
from visionattn.data.panoptic.module import PanopticData
from visionattn.data.panoptic.sources import CocoPanoptic
from visionattn.data.panoptic.transforms import PanopticTrainTransform
from visionattn.data.shapes import SHAPE_NAMES, TEXTURE_NAMES, make_shapes
from visionattn.data.shapes.compose import compose_objects, image_random
from visionattn.data.shapes.panoptic import segments_of
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panoptic")
    summary = make_shapes("coco_panoptic", folder, num_train=9, num_val=5, image_size=48)
    return folder, summary


@pytest.fixture
def own(drawn, tmp_path):
    """A copy to spoil."""
    import shutil

    return Path(shutil.copytree(drawn[0], tmp_path / "set"))


def data(root, **options):
    settings = {
        "train_transform": partial(PanopticTrainTransform, jitter=[0.5, 2.0], crop_size=[48, 48]),
        "eval_transform": partial(DetectionEvalTransform, short_edge=40, long_edge=64),
    }
    module = PanopticData(
        partial(CocoPanoptic, **options.pop("source", {})), 15, root=str(root), **(settings | options)
    )
    module.setup("fit")
    return module


def test_colors_are_numbers_to_the_base_of_256():
    assert to_numbers(np.array([[[1, 2, 3]]], np.uint8)).tolist() == [[1 + 2 * 256 + 3 * 65536]]
    numbers = np.random.RandomState(0).randint(0, 256**3, (5, 7))
    assert (to_numbers(to_colors(numbers)) == numbers).all()
    assert (decode_map(encode_map(numbers)) == numbers).all()


def test_places_are_found_by_runs():
    numbers = np.array([[9, 9, 0], [0, 300, 300], [9, 300, 70000]])
    assert segment_ids(numbers, [300, 9, 70000]).tolist() == [[2, 2, 0], [0, 1, 1], [2, 1, 3]]
    assert segment_ids(np.zeros((2, 3), int), []).tolist() == [[0] * 3] * 2
    with pytest.raises(UnreadableImage, match="1 segment missing from the annotation file: 70000"):
        segment_ids(numbers, [300, 9])
    with pytest.raises(UnreadableImage, match="2 segments without pixels in the map: 7, 8"):
        segment_ids(numbers, [300, 9, 70000, 8, 7])


def test_what_is_read_is_what_was_drawn(drawn):
    folder, summary = drawn
    source = CocoPanoptic(str(folder))
    for split, count in (("train", 9), ("val", 5)):
        records = source.open(split)
        assert len(records.ids) == count
        assert records.class_names == [*SHAPE_NAMES, *TEXTURE_NAMES]
        assert records.things == [True] * 10 + [False] * 5
        total = 0
        for index in range(count):
            scene = compose_objects(48, image_random(0, "coco_panoptic", split, index), crowds=True, empty_share=0.04)
            ids, categories, crowds = segments_of(scene)
            segments = records.segments(index)
            assert (segments["ids"].numpy() == ids).all()
            assert [records.category_ids[label] for label in segments["labels"]] == categories
            assert segments["crowd"].tolist() == crowds
            assert records.image(index).shape[1:] == ids.shape
            total += len(categories)
        assert total == summary["splits"][split]["segments"]


def test_what_is_written_of_segments_is_true_of_the_map(drawn):
    content = json.loads((drawn[0] / "annotations" / "panoptic_val2017.json").read_text())
    for note in content["annotations"]:
        numbers = decode_map((drawn[0] / "panoptic_val2017" / note["file_name"]).read_bytes())
        for segment in note["segments_info"]:
            x, y, width, height = segment["bbox"]
            mask = numbers == segment["id"]
            assert mask.sum() == segment["area"] == mask[y : y + height, x : x + width].sum()
            for line in (mask[y], mask[y + height - 1], mask[:, x], mask[:, x + width - 1]):
                assert line.any()
    assert any(s["id"] > 65535 for note in content["annotations"] for s in note["segments_info"])


def test_describing_a_map():
    ids = np.array([[0, 1, 1], [2, 2, 1]])
    assert describe(ids, [7, 9], [3, 5], [False, True]) == [
        {"id": 7, "category_id": 3, "area": 3, "bbox": [1, 0, 2, 2], "iscrowd": 0},
        {"id": 9, "category_id": 5, "area": 2, "bbox": [0, 1, 2, 1], "iscrowd": 1},
    ]


def test_training_targets_are_the_masks_of_what_is_left(drawn):
    records = CocoPanoptic(str(drawn[0])).open("train")
    still = PanopticTrainTransform(short_edges=[48], long_edge=64, flip=0.0)
    crowds = 0
    for index in range(9):
        picture, segments = records.image(index), records.segments(index)
        short = min(picture.shape[1:])
        if short != 48:
            continue
        image, target = still(picture, segments)
        assert image.shape[1:] == target["masks"].shape[1:]
        kept = ~segments["crowd"]
        crowds += int(segments["crowd"].sum())
        assert target["labels"].tolist() == segments["labels"][kept].tolist()
        for place, mask in zip(torch.nonzero(kept)[:, 0], target["masks"], strict=True):
            assert (mask.bool() == (segments["ids"] == place + 1)).all()


def test_jitter_cuts_and_pads_to_one_size(drawn):
    module = data(drawn[0], batch_size=3)
    batch = module.to_model_input(next(iter(module.train_dataloader())))
    assert batch["image"].shape == (3, 3, 64, 64)  # 48, padded to a multiple of 32
    assert batch["size"] == [(48, 48)] * 3
    for target in batch["target"]:
        assert target["masks"].shape[1:] == (64, 64)
        assert len(target["masks"]) == len(target["labels"])
        assert target["masks"].flatten(1).any(1).all()
        assert target["masks"].sum(0).max() <= 1
        assert target["masks"][:, 48:].sum() == target["masks"][:, :, 48:].sum() == 0


def test_evaluation_has_the_truth_at_its_own_size(drawn):
    module = data(drawn[0], eval_batch_size=1)
    seen = []
    for batch in module.val_dataloader():
        batch = module.to_model_input(batch)
        assert min(batch["size"][0]) == 40
        assert tuple(batch["target"][0]["ids"].shape) == batch["original"][0]
        assert batch["target"][0]["ids"].max() == len(batch["target"][0]["labels"])
        seen += batch["image_id"]
    assert sorted(seen) == sorted(module.records("val").annotations.image_ids.tolist())
    assert module.things == [True] * 10 + [False] * 5


def test_crowds_and_instances_of_the_truth(drawn):
    records = CocoPanoptic(str(drawn[0])).open("val")
    number = int(records.annotations.image_ids[0])
    truth = records.ground_truth([number], masks=True)
    assert [image["id"] for image in truth["images"]] == [number]
    assert {a["image_id"] for a in truth["annotations"]} <= {number}
    with pytest.raises(DataError, match=r"instances_val2017.json lacks 1 of 2 images, e.g. -5"):
        records.ground_truth([number, -5], masks=True)


def test_copy_paste_is_refused(drawn):
    with pytest.raises(ConfigError, match="copy_paste"):
        data(drawn[0], copy_paste=0.5)


# -- what is wrong -----------------------------------------------------------------------------------------------------


def spoil(root, change, split="val"):
    file = root / "annotations" / f"panoptic_{split}2017.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return file


def read(file):
    return read_annotations(read_json(file), file)


def test_missing_folders_are_named(own, tmp_path):
    with pytest.raises(DataError, match=r"the annotations .*panoptic_train2017.json; .* holds nothing"):
        CocoPanoptic(str(tmp_path / "nowhere")).open("train")
    (own / "panoptic_val2017").rename(own / "annotations" / "panoptic_val2017")
    assert len(CocoPanoptic(str(own)).open("val").ids) == 5  # where the download unpacks them
    (own / "annotations" / "panoptic_val2017").rename(own / "other")
    with pytest.raises(DataError, match=r"the panoptic maps .*panoptic_val2017 and the annotations"):
        CocoPanoptic(str(own)).open("val")


def test_a_file_of_instances_is_no_panoptic_file(own):
    source = CocoPanoptic(str(own), annotations={"train": "annotations/instances_train2017.json"})
    with pytest.raises(DataError, match=r"categories without isthing: arrow"):
        source.open("train")


def test_annotations_that_cannot_be_right_are_left_out_and_counted(own):
    def change(content):
        notes = content["annotations"]
        notes[0]["segments_info"][0]["category_id"] = 4711
        notes[1]["segments_info"][0]["id"] = 256**3
        notes[2]["segments_info"].append(dict(notes[2]["segments_info"][0]))
        notes.append(dict(notes[3]))
        notes.append({"image_id": -1, "file_name": "x.png", "segments_info": []})
        content["images"].append({"id": 99, "file_name": "y.jpg", "height": 4, "width": 4})
        del notes[4]["segments_info"]

    found = read(spoil(own, change))
    assert found.dropped.counts == {
        "unknown categories": 1,
        "segments with an id outside 1..16777215": 1,
        "segments with an id that occurs twice": 1,
        "annotations without file_name or segments_info": 1,
        "second annotations of an image": 1,
        "annotations whose image_id is unknown": 1,
        "images without annotation": 1,
    }
    assert len(found.image_ids) == 1
    with pytest.raises(DataError, match="lists no image"):
        read(spoil(own, lambda content: content["annotations"].clear()))


def test_pictures_and_maps_that_do_not_agree_are_unreadable_and_named(own):
    names = [
        note["file_name"] for note in json.loads((own / "annotations/panoptic_val2017.json").read_text())["annotations"]
    ]
    maps = own / "panoptic_val2017"
    numbers = decode_map((maps / names[0]).read_bytes())
    (maps / names[0]).write_bytes(encode_map(numbers[:-1]))
    (maps / names[1]).write_bytes((maps / names[1]).read_bytes()[:60])
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(maps / names[2])
    (maps / names[3]).unlink()
    spoil(own, lambda content: content["annotations"][4]["segments_info"].pop())
    module = data(own, eval_batch_size=1, unreadable_budget=1.0)
    reasons = [record[1] for batch in module.val_dataloader() for record in batch["unreadable"]]
    for reason, words in zip(
        reasons,
        (
            "annotations state",
            "cannot be read: ",
            "mode L",
            "No such file",
            "1 segment missing from the annotation file",
        ),
        strict=True,
    ):
        assert reason.startswith("its panoptic map"), reason
        assert words in reason
    report = Report(own)
    module.validate("val", report)
    assert report.findings["val", "panoptic maps that cannot be used"].count == 5


def test_the_doctor_finds_nothing_wrong_and_then_something(own):
    report = Report(own)
    data(own).validate("val", report)
    assert report.errors == 0
    assert (own / "val_classes.png").stat().st_size > 0
    assert sum(row["pixels"] for row in report.tables["categories of val"]) > 0

    def change(content):
        content["annotations"][0]["segments_info"][0]["area"] += 1
        content["annotations"].pop()

    spoil(own, change)
    report = Report(own)
    data(own).validate("val", report)
    assert report.findings["val", "areas that differ from the map"].count == 1
    assert report.findings["val", "images without annotation"].count == 1


def test_things_must_agree_between_splits(own):
    def change(content):
        content["categories"][0]["isthing"] = 0

    spoil(own, change)
    with pytest.raises(DataError, match="train and val do not agree on which categories are things"):
        data(own)
