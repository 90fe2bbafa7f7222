"""Open Images' tables, and the images of them that are there."""

import pytest

from tests.data.detection.formats.trees import SIZES, objects, picture, write
from visionattn.data.detection import OpenImages
from visionattn.errors import DataError

HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"


def row(image, label, left, right, top, bottom, group=0):
    return f"{image},xclick,{label},1,{left},{right},{top},{bottom},0,0,{group},0,0\n"


def open_images(root):
    for split, ids in (("train", ("aa", "bb")), ("validation", ("cc",))):
        for name, size in zip(ids, SIZES, strict=False):
            picture(root / split / f"{name}.jpg", size)
    rows = row("aa", "/m/01g317", 0.25, 0.75, 0.1, 0.6) + row("aa", "/m/0k4j", 0, 1, 0, 1, group=1)
    rows += row("zz", "/m/0bt9lr", 0, 1, 0, 1)  # an image that is not there
    write(root / "oidv6-train-annotations-bbox.csv", HEAD + rows)
    write(root / "validation-annotations-bbox.csv", HEAD + row("cc", "/m/0k4j", 0.5, 1, 0.5, 1))
    write(root / "class-descriptions-boxable.csv", "/m/01g317,Person\n/m/0k4j,Car\n/m/0bt9lr,Dog\n")
    return root


def test_the_images_that_are_there_with_their_boxes(tmp_path):
    source = OpenImages(str(open_images(tmp_path)))
    records = source.open("train")
    assert records.class_names == ["Car", "Person"]
    assert records.ids[:] == ["aa.jpg", "bb.jpg"]
    assert objects(records, 0) == [("Person", [15.0, 4.0, 45.0, 24.0])]
    assert records.annotations.crowds == 1
    assert records.told[0].startswith("1 boxes around groups")
    assert "1 of 2 images have no box" in records.told[1]
    assert objects(source.open("val"), 0) == [("Car", [30.0, 20.0, 60.0, 40.0])]
    facts = OpenImages.inspect(tmp_path, {"boxes": {}, "descriptions": "auto", "class_names": None})
    assert (facts.class_names, facts.images) == (("Car", "Person"), {"train": 2, "val": 1})


def test_fiftyones_folders_and_other_classes_of_the_validation(tmp_path):
    picture(tmp_path / "train/data/aa.jpg")
    picture(tmp_path / "validation/data/cc.jpg")
    write(tmp_path / "train/labels/detections.csv", HEAD + row("aa", "/m/0k4j", 0, 1, 0, 1))
    write(tmp_path / "validation/labels/detections.csv", HEAD + row("cc", "/m/0bt9lr", 0, 1, 0, 1))
    write(tmp_path / "train/metadata/classes.csv", "/m/0k4j,Car\n/m/0bt9lr,Dog\n")
    source = OpenImages(str(tmp_path))
    assert objects(source.open("train"), 0) == [("Car", [0.0, 0.0, 60.0, 40.0])]
    dropped = source.open("val").annotations.dropped
    assert dropped.counts == {"boxes of classes that the training images do not have": 1}
    assert "detections.csv line 2: cc, /m/0bt9lr" in dropped.examples[next(iter(dropped.counts))][0]
    assert OpenImages(str(tmp_path), class_names=["Dog", "Car"]).open("val").labels.tolist() == [0]


def test_mistakes_have_their_sentence(tmp_path):
    root = open_images(tmp_path)
    bad = row("aa", "/m/0k4j", 10, 20, 0, 5) + row("aa", "/m/0k4j", "x", 1, 0, 1) + row("aa", "/m/0k4j", 0, 1, 0, 1)
    write(root / "oidv6-train-annotations-bbox.csv", HEAD + bad)
    dropped = OpenImages(str(root)).open("train").annotations.dropped
    assert dropped.counts == {"boxes that are not four fractions of the image": 2}
    with pytest.raises(DataError, match="has no images of test"):
        OpenImages(str(root)).open("test")
    write(root / "oidv6-train-annotations-bbox.csv", "ImageID,LabelName\n")
    with pytest.raises(DataError, match="has no column XMin, XMax, YMin, YMax; its first line is ImageID, LabelName"):
        OpenImages(str(root)).open("train")
    (root / "oidv6-train-annotations-bbox.csv").unlink()
    with pytest.raises(DataError, match=r"no table train-annotations-bbox\.csv; name it in data\.source\.boxes\.train"):
        OpenImages(str(root)).open("train")
