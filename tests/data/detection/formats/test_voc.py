"""Pascal VOC's XML files: three layouts, coordinates from 1, difficult objects, what is refused."""

import pytest

from tests.data.detection.formats.trees import SIZES, VOC_OBJECTS, module, objects, picture, voc, voc_xml, write
from visionattn.data.checks import Report
from visionattn.data.detection import PascalVOCDetection
from visionattn.errors import ConfigError, DataError


def test_the_first_pixel_is_1_and_the_last_one_belongs_to_the_box(tmp_path):
    source = PascalVOCDetection(str(voc(tmp_path)))
    records = source.open("train")
    assert records.class_names == ["car", "dog"]
    assert records.ids[:] == ["a.jpg", "b.jpg"]
    assert objects(records, 0) == [("dog", [10.0, 5.0, 30.0, 15.0])]
    assert source.open("val").ids[:] == ["c.jpg"]
    with pytest.raises(DataError, match="has no split test, only train, val"):
        source.open("test")
    assert objects(source.open("val"), 0) == [("dog", [0.0, 0.0, 48.0, 64.0])]
    shifted = PascalVOCDetection(str(tmp_path), first_pixel=0).open("train")
    assert objects(shifted, 0) == [("dog", [11.0, 6.0, 31.0, 16.0])]


def test_difficult_objects_count_neither_way_and_are_told(tmp_path):
    records = PascalVOCDetection(str(voc(tmp_path))).open("train")
    assert records.annotations.crowds == 1
    assert [a["iscrowd"] for a in records.ground_truth([1], masks=False)["annotations"]] == [0, 1]
    assert "1 difficult objects are not trained on" in records.told[0]


def roboflow(root, place="."):
    for split, found in (("train", VOC_OBJECTS), ("valid", [("dog", 0, 3, 9, 9, "")])):
        for stem in ("a", "b"):
            picture(root / split / f"{stem}_jpg.rf.1.jpg", SIZES[0])
            xml = voc_xml(SIZES[0], found if stem == "a" else [], f"{stem}_jpg.rf.1.jpg")
            write(root / split / place / f"{stem}_jpg.rf.1.xml", xml)
    return root


@pytest.mark.parametrize("place", [".", "Annotations"])
def test_folders_of_splits_as_roboflow_exports_them(tmp_path, place):
    source = PascalVOCDetection(str(roboflow(tmp_path, place)), class_names=["car", "dog"])
    assert objects(source.open("train"), 0)[0][0] == "dog"
    assert source.open("val").ids[:] == ["a_jpg.rf.1.jpg", "b_jpg.rf.1.jpg"]
    assert "data.source.first_pixel=0" in source.open("val").told[0]


def test_of_train_without_a_folder_for_validation_a_share_is_held_out(tmp_path):
    for split, count in (("train", 10), ("test", 2)):
        for index in range(count):
            picture(tmp_path / split / f"{split}{index}.jpg", SIZES[0])
            write(tmp_path / split / f"{split}{index}.xml", voc_xml(SIZES[0], VOC_OBJECTS))
    source = PascalVOCDetection(str(tmp_path))
    sizes = {split: len(source.open(split).ids) for split in ("train", "val", "test")}
    assert (sizes["train"] + sizes["val"], sizes["test"], sizes["val"] > 0) == (10, 2, True)
    assert source.notes()[0] == "layout: Pascal VOC's XML files, train, 20% of whose images are held out by their names"


def test_one_folder_is_split_by_the_names_of_its_images(tmp_path):
    for number in range(20):
        picture(tmp_path / f"{number}.jpg", SIZES[0])
        write(tmp_path / f"{number}.xml", voc_xml(SIZES[0], VOC_OBJECTS))
    source = PascalVOCDetection(str(tmp_path), val_fraction=0.3)
    train, val = (set(source.open(split).ids) for split in ("train", "val"))
    assert len(train | val) == 20
    assert not train & val
    assert 2 <= len(val) <= 10
    (tmp_path / "19.jpg").unlink()
    (tmp_path / "19.xml").unlink()
    assert set(PascalVOCDetection(str(tmp_path), val_fraction=0.3).open("val").ids) == val - {"19.jpg"}
    assert "held out" in PascalVOCDetection.inspect(tmp_path, {}).notes[0]


def test_the_devkit_is_found_below_the_root(tmp_path):
    voc(tmp_path / "VOCdevkit" / "VOC2012")
    assert len(PascalVOCDetection(str(tmp_path)).open("train").ids) == 2
    voc(tmp_path / "VOCdevkit" / "VOC2007")
    with pytest.raises(DataError, match=r"several sets: .*; set data\.root to one"):
        PascalVOCDetection(str(tmp_path)).open("train")


def test_polygons_beside_the_box_are_masks(tmp_path):
    root = voc(tmp_path)
    points = ((11, 6), (31, 6), (31, 16), (11, 16))
    inner = "".join(f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>" for i, (x, y) in enumerate(points, 1))
    write(root / "Annotations/a.xml", voc_xml(SIZES[0], [("dog", 11, 6, 30, 15, f"<polygon>{inner}</polygon>")]))
    records = PascalVOCDetection(str(root)).open("train")
    assert records.masks
    assert int(records.objects(0)["masks"].sum()) == 200


def test_sizes_that_the_file_lacks_come_from_the_image(tmp_path):
    root = voc(tmp_path)
    text = (root / "Annotations/a.xml").read_text()
    write(root / "Annotations/a.xml", text.replace("<width>60</width>", "<width>0</width>"))
    assert PascalVOCDetection(str(root)).open("train").size(0) == SIZES[0]


BILLION = '<!DOCTYPE annotation [<!ENTITY a "aaaa">]><annotation>&a;</annotation>'


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Annotations/a.xml", "<annotation>", "a.xml is not valid XML"),
        ("Annotations/a.xml", "<html/>", "its root is <html>, expected <annotation>"),
        ("Annotations/a.xml", BILLION, "declares a document type"),
        ("ImageSets/Main/train.txt", "a\nz\n", r"train\.txt lists z, but .*z\.xml is missing"),
    ],
)
def test_mistakes_have_their_sentence(tmp_path, file, text, message):
    write(voc(tmp_path) / file, text)
    with pytest.raises(DataError, match=message):
        PascalVOCDetection(str(tmp_path)).open("train")


def test_other_mistakes(tmp_path):
    root = voc(tmp_path)
    write(root / "Annotations/c.xml", voc_xml(SIZES[2], [("cat", 1, 1, 4, 4, "")]))
    with pytest.raises(DataError, match=r"c\.xml: the class 'cat' is not among car, dog; .* data\.source\.class_names"):
        PascalVOCDetection(str(root)).open("val")
    with pytest.raises(ConfigError, match="first_pixel must be 1"):
        PascalVOCDetection(str(root), first_pixel=2)
    with pytest.raises(DataError, match=r"trainval\.txt is missing; name the list of train in data\.source\.lists"):
        PascalVOCDetection(str(root), lists={"train": "trainval"}).open("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is not in Pascal VOC's layout"):
        PascalVOCDetection(str(tmp_path / "empty")).open("train")
    with pytest.raises(DataError, match="there is no folder"):
        PascalVOCDetection(str(root / "none")).open("train")


def test_a_broken_file_of_the_validation_is_counted_and_its_image_left_out(tmp_path):
    root = voc(tmp_path)
    write(root / "ImageSets/Main/val.txt", "b\nc\n")
    write(root / "Annotations/c.xml", "<annotation>")
    records = PascalVOCDetection(str(root)).open("val")
    assert records.ids[:] == ["b.jpg"]
    assert records.annotations.dropped.counts == {"images whose XML file cannot be read": 1}


def test_boxes_that_are_no_numbers_are_counted(tmp_path):
    root = voc(tmp_path)
    bad = [("dog", "x", 1, 2, 3, ""), ("dog", 30, 15, 11, 6, ""), ("dog", 11, 6, 30, 15, "")]
    write(root / "Annotations/a.xml", voc_xml(SIZES[0], bad))
    records = PascalVOCDetection(str(root)).open("train")
    assert records.annotations.dropped.counts == {
        "boxes that are not four numbers": 1,
        "boxes without width or height": 1,
    }
    assert len(objects(records, 0)) == 1


def test_the_doctor_passes_a_healthy_tree_and_finds_a_missing_image(tmp_path):
    root = voc(tmp_path / "d")
    data = module(PascalVOCDetection(str(root)), 2)
    report = Report(tmp_path)
    data.validate("train", report)
    assert report.errors == 0
    (root / "JPEGImages/b.jpg").unlink()
    data.validate("train", report)
    assert report.findings["train", "images that cannot be read"].count == 1


def test_what_the_data_tell(tmp_path):
    facts = PascalVOCDetection.inspect(voc(tmp_path), {"class_names": None, "masks": "auto"})
    assert facts.class_names == ("car", "dog")
    assert facts.images == {"train": 2, "val": 1}
