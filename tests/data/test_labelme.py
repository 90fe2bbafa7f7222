"""labelme's files: objects with boxes and masks, maps of classes, and the folders that they lie in."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.data.detection.formats.trees import module, objects
from visionattn.data.detection import Labelme
from visionattn.data.labelme import read_labelme
from visionattn.data.recognize import recognize
from visionattn.data.segmentation import LabelmeMasks
from visionattn.data.segmentation.labels import LabelError
from visionattn.errors import DataError

SIZE = (24, 32)


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def mask_of(pixels):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, bool)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


SQUARE = shape("car", [[4, 4], [12, 4], [12, 10], [4, 10]])
BOX = shape("dog", [[30, 20], [20, 12]], "rectangle")
CIRCLE = shape("dog", [[16, 12], [16, 16]], "circle")
PARTS = [shape("car", [[x, 0], [x + 4, 0], [x + 4, 4], [x, 4]], group_id=3) for x in (0, 20)]
MASK = shape("cat", [[2, 3], [5, 5]], "mask", mask=mask_of([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]))
LINE = shape("car", [[0, 0], [9, 9]], "line")


def write(folder, stem, shapes, labels=None, **more):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1], (90, 120, 60)).save(folder / f"{stem}.png")
    if shapes is not None:
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{stem}.png", "imageData": None}
        content |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1]} | more
        (labels or folder).mkdir(parents=True, exist_ok=True)
        ((labels or folder) / f"{stem}.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def splits(tmp_path):
    write(tmp_path / "train", "a", [SQUARE, BOX, LINE])
    write(tmp_path / "train", "b", [*PARTS, CIRCLE])
    write(tmp_path / "train", "größe 1", None)
    write(tmp_path / "val", "c", [MASK, SQUARE])
    write(tmp_path / "val", "d", [])
    return tmp_path


def test_shapes_become_objects_with_boxes_and_masks(splits):
    source = Labelme(str(splits), class_names=["car", "cat", "dog"])
    records = source.open("train")
    assert records.ids[:] == ["a.png", "b.png", "größe 1.png"]
    assert objects(records, 0) == [("car", [4.0, 4.0, 12.0, 10.0]), ("dog", [20.0, 12.0, 30.0, 20.0])]
    found = dict(objects(records, 1))
    assert found["car"] == [0.0, 0.0, 24.0, 4.0]  # two parts of one object
    assert found["dog"] == pytest.approx([12, 8, 20, 16])
    masks = records.objects(1, True)["masks"].numpy()
    assert sorted(masks.sum((1, 2)).tolist()) == pytest.approx([32, np.pi * 16], rel=0.05)
    assert records.annotations.unmasked.total == 1  # the rectangle
    assert "lines and points" in str(records.annotations.dropped.counts)
    val = source.open("val")
    assert dict(objects(val, 0))["cat"] == [2, 3, 6, 6]
    assert sorted(val.objects(0, True)["masks"].sum((1, 2)).tolist()) == [5, 48]
    assert objects(val, 1) == []


def test_rectangles_alone_have_no_masks(tmp_path):
    for index in range(5):
        write(tmp_path, f"{index}", [BOX])
    facts = Labelme.inspect(tmp_path, {})
    assert facts.options == {"masks": False}
    assert facts.class_names == ("dog",)
    assert sum(facts.images.values()) == 5
    assert "held out by their names" in facts.notes[0]
    assert not Labelme(str(tmp_path)).open("train").masks


def test_maps_are_drawn_in_the_order_of_the_file(splits):
    later = shape("dog", [[8, 4], [12, 10]], "rectangle")
    nowhere = shape("__ignore__", [[0, 20], [32, 24]], "rectangle")
    write(splits / "val", "c", [MASK, SQUARE, later, nowhere])
    source = LabelmeMasks(str(splits), class_names=["car", "cat", "dog"])
    records = source.open("val")
    image, classes = records.load(0)
    assert np.asarray(image).shape[:2] == classes.shape == SIZE
    assert np.bincount(classes.ravel(), minlength=256)[[0, 1, 2, 3, 255]].tolist() == [589, 24, 3, 24, 128]
    assert source.classes().names == ["background", "car", "cat", "dog"]
    assert "1 of 3 images have no file of labelme and are left out" in source.open("train").told
    with pytest.raises(
        LabelError, match=r"c\.json: the class 'cat' is not among car, dog; .*class_names=\[car,dog,cat\]"
    ):
        LabelmeMasks(str(splits)).open("val").load(0)


@pytest.mark.parametrize("place", ["beside", "labels", "flat"])
def test_a_folder_is_recognized_for_objects_and_for_maps_where_these_are_asked_for(tmp_path, place):
    for split in ("", "") if place == "flat" else ("train", "valid"):
        for index in range(3):
            folder = tmp_path / split / "images" if place == "labels" else tmp_path / split
            write(folder, f"{split}{index}", [SQUARE], tmp_path / split / "labels" if place == "labels" else None)
    mark = recognize(tmp_path)
    assert (mark.data, mark.task, mark.root) == ("labelme", "detection", tmp_path)
    assert recognize(tmp_path, "segmentation").data == "labelme_masks"
    assert Labelme(str(tmp_path)).open("val").class_names == ["car"]
    assert LabelmeMasks(str(tmp_path)).open("val").load(0)[1].max() == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ('{"images": []}', "has no list of shapes"),
        ('{"shapes": [{"points": []}]}', "shape 1 has no label"),
        ('{"shapes": [{"label": "a", "points": [[1, "x"]]}]}', r"the points of shape 1 \(a\) are no pairs"),
        ('{"shapes": [{"label": "a", "points": [], "shape_type": "mask", "mask": "?"}]}', "the mask of shape 1"),
    ],
)
def test_a_file_that_is_none_of_labelmes_is_told(content, message, tmp_path, splits):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_labelme(tmp_path / "a.json")
    (splits / "train" / "a.json").write_text(content)
    dropped = Labelme(str(splits), class_names=["car", "dog"]).open("train").annotations.dropped
    assert dropped.counts["images whose JSON file cannot be read"] == 1


def test_a_test_folder_is_read_where_none_is_for_validation(tmp_path):
    for split, count in (("train", 6), ("test", 2)):
        for index in range(count):
            write(tmp_path / split, f"{split}{index}", [SQUARE])
    sizes = [len(Labelme(str(tmp_path)).open(split).ids) for split in ("train", "val", "test")]
    assert (sizes[0] + sizes[1], sizes[2]) == (6, 2)


def test_what_is_missing_is_told(tmp_path, splits):
    with pytest.raises(DataError, match=r"'cat' is not among car, dog; .* data\.source\.class_names=\[car,dog,cat\]"):
        Labelme(str(splits)).open("val")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no files of labelme"):
        Labelme(str(tmp_path / "none")).open("train")
    write(tmp_path / "lines", "a", [LINE])
    with pytest.raises(DataError, match="no shape of the 1 files"):
        Labelme(str(tmp_path / "lines")).classes()


def test_masks_are_not_inferred_where_most_objects_are_boxes(splits, capsys):
    write(splits / "train", "b", [BOX, SQUARE])
    facts = Labelme.inspect(splits, {"class_names": ["car", "cat", "dog"]})
    assert facts.options == {"masks": False}
    assert "2 of the 4 training objects looked at have no mask, so that boxes alone are learned" in facts.notes[1]
    write(splits / "train", "b", [SQUARE, CIRCLE, *PARTS])
    facts = Labelme.inspect(splits, {"class_names": ["car", "cat", "dog"]})
    assert (facts.options, len(facts.notes)) == ({"masks": True}, 1)
    data = module(Labelme(str(splits), class_names=["car", "cat", "dog"]), 3)
    data.setup("fit")
    told = capsys.readouterr().err
    assert "val: objects of classes that no training image shows, which cannot be learned: cat (1)" in told


def test_one_split_is_told_with_the_data_that_read_it(splits):
    with pytest.raises(DataError, match=r"data=labelme data\.root=.*train this one alone"):
        recognize(splits / "train")
