"""The doctor for images with one label each: every kind of defect once, with its severity and the paths."""

import numpy as np
import pytest
from PIL import Image

from tests.data.helpers import jpeg, make_tree
from tests.data.pictures import deep_png, with_orientation
from visionattn.data.checks import Report
from visionattn.data.classification import ClassificationData, Digits, ImageFolder, WebDataset

RED = Image.new("RGB", (32, 24), (200, 40, 40))


def examined(root, folder, num_classes=3, splits=("train", "val"), **options):
    report = Report(folder)
    data = ClassificationData(ImageFolder, num_classes, 16, root=str(root), **options)
    for split in splits:
        data.validate(split, report)
    return report


def findings(report):
    return {(split, kind): finding for (split, kind), finding in report.findings.items()}


def test_a_healthy_folder(tmp_path):
    report = examined(make_tree(tmp_path / "tree", {"train": 3, "val": 2}), tmp_path)
    assert not report.findings
    assert (report.errors, report.warnings) == (0, 0)
    assert report.facts["train: images"] == "9"
    assert report.facts["train: sizes (height x width)"] == "32x40 to 32x40, typically 32x40"
    assert report.facts["train: channels"] == "3: 9 images"
    assert [row["images"] for row in report.tables["classes of val"]] == [2, 2, 2]


def test_every_defect_is_named(tmp_path):
    root = make_tree(tmp_path / "tree", {"train": 3, "val": 2})
    train, val = root / "train", root / "val"
    (val / "ant" / "leak.jpg").write_bytes((train / "ant" / "0.jpg").read_bytes())
    (train / "bee" / "same.jpg").write_bytes((train / "bee" / "1.jpg").read_bytes())
    (train / "cat" / "bee.jpg").write_bytes((train / "bee" / "2.jpg").read_bytes())
    (train / "cat" / "cut.jpg").write_bytes(jpeg(9)[:200])
    (train / "cat" / "turned.jpg").write_bytes(with_orientation(RED, 6, "JPEG"))
    Image.new("RGB", (3, 2)).save(train / "cat" / "tiny.png")
    for path in (val / "bee").iterdir():
        path.unlink()
    found = findings(examined(root, tmp_path))
    leak = found["val", "images that are also in train"]
    assert (leak.severity, leak.examples) == ("error", ["val/ant/leak.jpg is train/ant/0.jpg of train"])
    twice = found["train", "images that occur twice"]
    assert (twice.severity, twice.count) == ("warning", 2)
    two = found["train", "one image with two classes"]
    assert (two.severity, two.examples) == ("error", ["train/bee/2.jpg and train/cat/bee.jpg"])
    assert found["train", "images that cannot be read"].examples[0].startswith("train/cat/cut.jpg: ")
    turned = found["train", "images stored turned, with an EXIF orientation"]
    assert (turned.severity, turned.examples) == ("warning", ["train/cat/turned.jpg: 6"])
    assert found["train", "images of fewer than 8 pixels"].examples == ["train/cat/tiny.png: 2x3"]
    assert found["val", "classes that never occur"].examples == ["1 of 3: bee"]
    assert found["val", "classes that never occur"].severity == "warning"


def test_few_leaks_are_a_warning(tmp_path):
    root = make_tree(tmp_path / "tree", {"train": 3, "val": 40})
    (root / "val" / "ant" / "leak.jpg").write_bytes((root / "train" / "ant" / "0.jpg").read_bytes())
    assert findings(examined(root, tmp_path))["val", "images that are also in train"].severity == "warning"


def test_other_classes_and_splits_that_cannot_be_opened(tmp_path):
    root = make_tree(tmp_path / "tree", {"train": 2, "val": 2})
    found = findings(examined(root, tmp_path, num_classes=5))
    assert found["train", "wrong number of classes"].examples == ["the data have 3, data.num_classes is 5"]
    (root / "val" / "ant").rename(root / "val" / "dog")
    found = findings(examined(root, tmp_path))
    assert "only in train: ant; only in val: dog" in found["val", "the split cannot be opened"].examples[0]


def test_ranges_and_channels(tmp_path):
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1)
    root = make_tree(tmp_path / "tree", {"train": 2, "val": 2})
    for index, path in enumerate(sorted(root.glob("*/*/*.jpg"))):
        path.with_suffix(".png").write_bytes(deep_png(ramp // (1 + index)))
        path.unlink()
    report = examined(root, tmp_path)
    need = findings(report)["train", "images that need another key of the data"]
    assert "data.value_range=[0,4095]" in need.examples[0]
    assert report.facts["train: stored values"] == "0 to 4095 in 6 images"
    assert not examined(root, tmp_path, value_range=[0, 4095]).errors


def test_images_made_in_memory(tmp_path):
    report = Report(tmp_path)
    ClassificationData(Digits(8), 10, 8).validate("val", report)
    assert not report.findings
    assert report.facts["val: images"] == "359"


def test_shards(tmp_path):
    pytest.importorskip("webdataset")
    import io
    import tarfile

    with tarfile.open(tmp_path / "a-0.tar", "w") as tar:
        for index in range(4):
            for ending, data in (("jpg", jpeg(index) if index else b"x"), ("cls", str(9 * (index == 3)).encode())):
                member = tarfile.TarInfo(f"{index}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    source = WebDataset(str(tmp_path), {"val": "a-0.tar|4"}, class_names=["a", "b"])
    report = Report(tmp_path)
    ClassificationData(source, 2, 8).validate("val", report)
    found = findings(report)
    assert found["val", "labels outside the classes"].examples == ["3: 9 of 0..1"]
    assert found["val", "images that cannot be read"].count == 1
    assert [row["images"] for row in report.tables["classes of val"]] == [3, 0]
