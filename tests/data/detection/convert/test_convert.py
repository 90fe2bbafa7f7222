"""Round trips between the formats, what is counted as lost, and that nothing is overwritten or left behind."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.detection.formats.trees import SIZES, picture, voc, write, yolo
from visionattn.cli import main
from visionattn.data.detection import Coco, PascalVOCDetection, Yolo
from visionattn.data.detection.convert.polygons import joined
from visionattn.data.detection.masks import draw, encode
from visionattn.data.shapes import make_shapes

READERS = {"coco": Coco, "yolo": Yolo, "voc": PascalVOCDetection}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A drawn set with crowds, masks of several parts and sparse category ids."""
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    make_shapes("coco", folder, num_train=12, num_val=5, image_size=64)
    return folder


def convert(start, to, root, folder, *more):
    assert main(["data", "convert", f"from={start}", f"to={to}", f"root={root}", f"dir={folder}", *more]) == 0
    return READERS[to](str(folder))


def truth(source, split):
    """file name -> its objects as (class, crowd, box, mask's pixels or None), in order."""
    records = source.open(split)
    content = records.ground_truth(records.annotations.image_ids.tolist(), False)
    names = dict(zip(records.category_ids, records.class_names, strict=True))
    found = {image["file_name"]: (image["height"], image["width"], []) for image in content["images"]}
    of = {image["id"]: image["file_name"] for image in content["images"]}
    for one in content["annotations"]:
        height, width, objects = found[of[one["image_id"]]]
        mask = draw([one["segmentation"]], height, width)[0] if one.get("segmentation") else None
        objects.append((names[one["category_id"]], bool(one.get("iscrowd")), one["bbox"], mask))
    return found


def same(one, other, crowds=True, box=0.001, pixels=0, masks=True):
    assert one.keys() == other.keys()
    for name, (height, width, objects) in one.items():
        assert other[name][:2] == (height, width)
        kept = [o for o in objects if crowds or not o[1]]
        assert len(kept) == len(other[name][2])
        for (cls, crowd, corners, mask), (cls2, crowd2, corners2, mask2) in zip(kept, other[name][2], strict=True):
            assert (cls, crowd) == (cls2, crowd2)
            np.testing.assert_allclose(corners2, corners, atol=box)
            if masks and mask is not None and not crowd:
                assert (mask != mask2).sum() <= pixels


def test_coco_to_yolo_and_back(shapes, tmp_path, capsys):
    source = Coco(str(shapes))
    there = convert("coco", "yolo", shapes, tmp_path / "yolo")
    shown = capsys.readouterr()
    crowds = sum(o[1] for split in ("train", "val") for _, _, objects in truth(source, split).values() for o in objects)
    assert crowds > 0
    assert f"{crowds} crowds (left out" in shown.err
    back = convert("yolo", "coco", tmp_path / "yolo", tmp_path / "coco")
    for split in ("train", "val"):
        records, again = source.open(split), back.open(split)
        assert records.class_names == there.open(split).class_names == again.class_names
        assert records.category_ids == there.open(split).category_ids == again.category_ids
        same(truth(source, split), truth(back, split), crowds=False, pixels=12)  # bridges between parts may fill pixels
    areas = [a["area"] for a in back.open("val").content()["annotations"]]
    assert min(areas) > 0


def test_coco_to_voc_and_back(shapes, tmp_path, capsys):
    source = Coco(str(shapes))
    convert("coco", "voc", shapes, tmp_path / "voc")
    assert "masks of crowds (only their boxes are kept, marked as difficult)" in capsys.readouterr().err
    back = convert("voc", "coco", tmp_path / "voc", tmp_path / "coco")
    for split in ("train", "val"):
        assert back.open(split).class_names == source.open(split).class_names
        assert sorted(truth(back, split)) == sorted(truth(source, split))
        same(truth(source, split), truth(back, split))


def test_voc_to_yolo_to_voc(tmp_path):
    source = PascalVOCDetection(str(voc(tmp_path / "voc")))
    convert("voc", "yolo", tmp_path / "voc", tmp_path / "yolo", "images=link")
    assert (tmp_path / "yolo/images/train/a.jpg").is_symlink()
    back = convert("yolo", "voc", tmp_path / "yolo", tmp_path / "back")
    for split in ("train", "val"):
        same(truth(source, split), truth(back, split), crowds=False)
    assert "<xmin>11</xmin>" in (tmp_path / "back/Annotations/a.xml").read_text()


def test_yolo_to_voc_keeps_every_class_and_its_place(tmp_path):
    root = yolo(tmp_path / "yolo", "names: [zebra, apple, unused]")
    back = convert("yolo", "voc", root, tmp_path / "voc")
    assert back.open("train").class_names == ["zebra", "apple", "unused"]
    for split in ("train", "val"):  # the splits have images of the same names
        expected = {f"{split}_{name}": found for name, found in truth(Yolo(str(root)), split).items()}
        same(expected, truth(back, split))


def test_names_need_no_ascii_and_no_escaping_by_hand(tmp_path):
    names = "names: ['a & b <c>', \"it's: größe\", 'true']"
    root = yolo(tmp_path / "yolo", names)
    middle = convert("yolo", "voc", root, tmp_path / "voc").open("train")
    back = convert("voc", "yolo", tmp_path / "voc", tmp_path / "back").open("train")
    assert middle.class_names == back.class_names == ["a & b <c>", "it's: größe", "true"]


def test_run_lengths_become_polygons_of_the_same_pixels(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[5:20, 10:30], mask[8:12, 14:20], mask[30:34, 40:50] = 1, 0, 1  # with a hole, and in two parts
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 40, 29], "area": int(mask.sum()), "iscrowd": 0}
    content = {"images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}]}
    content |= {
        "annotations": [entry | {"segmentation": encode(mask[None])[0]}],
        "categories": [{"id": 1, "name": "x"}],
    }
    picture(tmp_path / "coco/train2017/a.jpg")
    write(tmp_path / "coco/annotations/instances_train2017.json", json.dumps(content))
    back = convert("coco", "yolo", tmp_path / "coco", tmp_path / "yolo").open("train")
    drawn = back.objects(0)["masks"].numpy()[0]
    assert (drawn != mask).sum() <= 12
    assert back.objects(0)["boxes"].tolist() == [pytest.approx([10, 5, 50, 34])]


def test_a_bridge_encloses_nothing():
    parts = [[0.0, 0, 10, 0, 10, 10, 0, 10], [20.0, 0, 30, 0, 30, 10, 20, 10], [0.0, 20, 5, 20, 5, 25, 0, 25]]
    whole = joined(parts)
    x, y = np.array(whole[0::2]), np.array(whole[1::2])
    area = abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
    assert area == pytest.approx(225)
    assert len(whole) == 2 * (4 + 6 + 6)


def fails(capsys, *words):
    code = main(["data", "convert", *words])
    assert code in (1, 2)
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(tmp_path, capsys):
    root = yolo(tmp_path / "yolo")
    write(tmp_path / "full/notes.txt", "mine")
    words = ["from=yolo", "to=coco", f"root={root}"]
    assert "holds something already, and nothing is overwritten" in fails(capsys, *words, f"dir={tmp_path}/full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    (root / "images/val/2.jpg").write_bytes(b"no image")
    assert "2.jpg is missing or cannot be read" in fails(capsys, *words, f"dir={tmp_path}/new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "yolo"]
    picture(root / "images/val/0.png")
    (root / "images/val/2.jpg").unlink()
    text = fails(capsys, "from=yolo", "to=voc", f"root={root}", f"dir={tmp_path}/new")
    assert "two images named val_0 would share Annotations/val_0.xml" in text
    assert not (tmp_path / "new").exists()


def test_a_dry_run_says_what_would_be_lost_and_writes_nothing(shapes, tmp_path, capsys):
    words = ["from=coco", "to=yolo", f"root={shapes}", f"dir={tmp_path}/new", "--dry-run"]
    assert main(["data", "convert", *words]) == 0
    shown = capsys.readouterr()
    assert "would not be kept in yolo's format" in shown.err
    assert "dry run: nothing was written" in shown.out
    assert list(tmp_path.iterdir()) == []


def test_splits_are_chosen_and_named(tmp_path, capsys):
    root = yolo(tmp_path / "yolo")
    convert("yolo", "coco", root, tmp_path / "coco", "splits=[val]")
    assert [path.name for path in (tmp_path / "coco/annotations").iterdir()] == ["instances_val2017.json"]
    words = ["from=yolo", "to=coco", f"root={root}", f"dir={tmp_path}/new"]
    assert "has no test, only train, val" in fails(capsys, *words, "splits=[test]")
    assert "from=xyz is unknown; use from=coco|yolo|voc" in fails(capsys, "from=xyz", *words[1:])
    assert "nothing is to be converted" in fails(capsys, "from=coco", *words[1:])
    assert "images=x is unknown; use images=copy|link" in fails(capsys, *words, "images=x")
    assert "options of from=yolo" in fails(capsys, *words, "+options.nothing=1")


def test_turned_images_are_told(tmp_path, capsys):
    picture(tmp_path / "coco/train2017/a.jpg", SIZES[0], orientation=6)
    content = {"images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}]}
    content |= {"annotations": [], "categories": [{"id": 1, "name": "x"}]}
    write(tmp_path / "coco/annotations/instances_train2017.json", json.dumps(content))
    convert("coco", "yolo", tmp_path / "coco", tmp_path / "yolo")
    assert "1 images annotated as they are stored, not as their EXIF orientation shows them" in capsys.readouterr().err
    with Image.open(tmp_path / "yolo/images/train/a.jpg") as copied:
        assert copied.getexif()[0x0112] == 6


def test_cocos_other_layouts_are_found(shapes, tmp_path):
    for split, name in (("train", "train"), ("val", "valid")):
        folder = tmp_path / "roboflow" / name
        folder.mkdir(parents=True)
        for file in (shapes / f"{split}2017").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        content = (shapes / f"annotations/instances_{split}2017.json").read_text()
        write(folder / "_annotations.coco.json", content)
    found = convert("coco", "yolo", tmp_path / "roboflow", tmp_path / "yolo")
    for split in ("train", "val"):
        same(truth(Coco(str(shapes)), split), truth(found, split), crowds=False, pixels=12)
