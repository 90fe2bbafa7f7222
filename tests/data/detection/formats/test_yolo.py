"""YOLO's text labels: every way to write the splits, what is read, what is counted, what is refused."""

import pytest

from tests.data.detection.formats.trees import SIZES, module, objects, picture, write, yolo
from visionattn.data.checks import Report
from visionattn.data.detection import Yolo
from visionattn.data.detection.formats.yolo import label_path
from visionattn.data.recognize import recognize
from visionattn.errors import ConfigError, DataError

EXPECTED = [("dog", [15.0, 15.0, 45.0, 25.0]), ("car", [12.0, 8.0, 18.0, 12.0])]


def test_boxes_are_fractions_of_center_and_size(tmp_path):
    records = Yolo(str(yolo(tmp_path))).open("train")
    assert records.class_names == ["car", "dog"]
    assert records.ids[:] == ["0.jpg", "1.jpg", "2.jpg"]
    assert records.annotations.sizes.tolist() == [list(size) for size in SIZES]
    for (name, box), (expected, corners) in zip(objects(records, 0), EXPECTED, strict=True):
        assert name == expected
        assert box == pytest.approx(corners)
    assert objects(records, 1) == objects(records, 2) == []
    assert not records.masks
    assert records.told == ["1 of 3 images have no label file and count as empty"]
    truth = records.ground_truth([1], masks=False)
    assert [a["bbox"] for a in truth["annotations"]] == [pytest.approx([15, 15, 30, 10]), pytest.approx([12, 8, 6, 4])]


@pytest.mark.parametrize(
    ("train", "extra"),
    [
        ("images/train", ""),
        ("[images/train]", ""),
        ("../images/train", ""),
        ("train.txt", ""),
        ("images/train", "path: ."),
        ("images/train", "path: /somewhere/on/another/machine"),
    ],
)
@pytest.mark.parametrize("names", ["names: [car, dog]", "names: {1: dog, 0: car}", "nc: 2\nnames:\n- car\n- dog"])
def test_splits_and_names_as_people_write_them(tmp_path, train, extra, names):
    root = yolo(tmp_path / "d", f"{names}\n{extra}", train)
    write(root / "train.txt", "./images/train/0.jpg\nimages/train/1.jpg\n\n" + str(root / "images/train/2.jpg"))
    for place in (root, root / "data.yaml"):
        records = Yolo(str(place)).open("train")
        assert records.class_names == ["car", "dog"]
        assert records.ids[:] == ["0.jpg", "1.jpg", "2.jpg"]
        assert len(objects(records, 0)) == 2
        assert records.image(0).shape == (3, *SIZES[0])


@pytest.mark.parametrize("written", ["data.yaml", "classes.txt"])
def test_without_val_a_fixed_share_by_name_is_held_out(tmp_path, written):
    text = {"data.yaml": "names: [car, dog]\ntrain: images\n", "classes.txt": "car\ndog\n"}[written]
    write(tmp_path / written, text)
    for i in range(20):
        picture(tmp_path / "images" / f"{i}.jpg", SIZES[0])
        write(tmp_path / "labels" / f"{i}.txt", "1 0.5 0.5 0.2 0.2\n")
    source = Yolo(str(tmp_path))
    parts = {split: set(source.open(split).ids[:]) for split in ("train", "val")}
    assert parts["train"] | parts["val"] == {f"{i}.jpg" for i in range(20)}
    assert not parts["train"] & parts["val"]
    assert 1 <= len(parts["val"]) <= 8
    assert "20% of the images, by name, are val" in source.notes()[0]
    assert source.own_splits() == ["train", "val"]
    for name in sorted(parts["train"])[:5]:
        (tmp_path / "images" / name).unlink()
    assert set(Yolo(str(tmp_path)).open("val").ids[:]) == parts["val"]  # other files move none
    with pytest.raises(DataError, match="names no images for test"):
        Yolo(str(tmp_path)).open("test")
    with pytest.raises(ConfigError, match="must lie between 0 and 1, got 1"):
        Yolo(str(tmp_path), val_fraction=1).open("val")


def test_test_is_never_val_and_valid_is(tmp_path):
    root = yolo(tmp_path)
    with pytest.raises(DataError, match=r"data\.yaml names no images for test, only for train, val"):
        Yolo(str(root)).open("test")
    (root / "images" / "val").rename(root / "images" / "other")
    (root / "labels" / "val").rename(root / "labels" / "other")
    write(root / "data.yaml", "names: [car, dog]\ntrain: images/train\nvalid: images/other\n")
    assert len(Yolo(str(root)).open("val").ids) == 3


def test_several_folders_are_one_split(tmp_path):
    root = yolo(tmp_path, train="[images/train, images/val]")
    records = Yolo(str(root)).open("train")
    assert records.ids[:4] == ["train/0.jpg", "train/1.jpg", "train/2.jpg", "val/0.jpg"]
    with pytest.raises(DataError, match=r"names the image .*0\.jpg twice"):
        Yolo(str(yolo(tmp_path / "b", train="[images/train, images/train]"))).open("train")


def test_without_data_yaml_a_class_list_does(tmp_path):
    root = yolo(tmp_path / "a")
    (root / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"no class names: neither data\.yaml nor classes\.txt"):
        Yolo(str(root)).open("train")
    assert Yolo(str(root), class_names=["x", "y"]).open("train").class_names == ["x", "y"]
    write(root / "classes.txt", "car\ndog\n")
    assert objects(Yolo(str(root)).open("val"), 0)[0][0] == "dog"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no data set in YOLO's layout, it has no data\.yaml; .*holds nothing"):
        Yolo(str(tmp_path / "empty")).open("train")


def test_polygons_are_masks_and_boxes_around_them(tmp_path):
    root = yolo(tmp_path)
    write(root / "labels/train/1.txt", "0 0.1 0.1 0.5 0.1 0.5 0.3 0.1 0.3\n")
    records = Yolo(str(root), empty_images=False).open("train")
    assert records.masks
    target = Yolo(str(root)).open("train").objects(1)
    assert target["boxes"].tolist() == [pytest.approx([5, 5, 25, 15])]
    assert int(target["masks"].sum()) == 200
    assert not Yolo(str(root), masks=False).open("train").masks


BAD = {
    "label lines that are not numbers": "0 a 0.5 0.1 0.1",
    "label lines of less than five numbers": "0 0.5 0.5 0.1",
    "label lines that are neither a box (5 numbers) nor a polygon (7, 9, 11, ... numbers)": "0 0.5 0.5 0.1 0.1 0.9",
    "label lines whose coordinates are not fractions of the image (0 to 1)": "0 30 20 10 10",
    "label lines with a box without width or height": "0 0.5 0.5 0 0.1",
    "lines that occur twice in a label file": "1 0.5 0.5 0.5 0.25",
}


def test_wrong_lines_are_counted_with_file_and_line(tmp_path):
    root = yolo(tmp_path)
    file = root / "labels/train/0.txt"
    write(file, file.read_text() + "\n".join([*BAD.values(), "0 nan 0.5 0.1 0.1"]))
    dropped = Yolo(str(root)).open("train").annotations.dropped
    assert dropped.counts == dict.fromkeys(BAD, 1) | {"label lines that are not numbers": 2}
    assert dropped.examples["label lines of less than five numbers"] == [f"{file} line 4: 0 0.5 0.5 0.1"]
    report = Report(tmp_path)
    module(Yolo(str(root)), 2).validate("train", report)
    found = {kind: finding for (_, kind), finding in report.findings.items()}
    assert found["label lines that are not numbers"].count == 2
    assert set(BAD) <= set(found)
    assert report.errors == len(BAD) + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("labels/train/0.txt", "7 0.5 0.5 0.1 0.1"), r"0\.txt line 1: class 7 has no name; .* 2 classes, 0 to 1"),
        (("labels/train/0.txt", "-1 0.5 0.5 0.1 0.1"), "class -1 has no name"),
        (("labels/train/0.txt", "0.5 0.5 0.5 0.1 0.1"), "class 0.5 has no name"),
        (("data.yaml", "train: images/train"), "names no classes"),
        (("data.yaml", "names: [a, b]\nnc: 3\ntrain: images/train"), "nc is 3, but names has 2 entries"),
        (("data.yaml", "names: {0: a, 2: b}\ntrain: images/train"), "must be 0, 1, 2, ... without gaps"),
        (("data.yaml", "names: [a, a]\ntrain: images/train"), "has a more than once"),
        (("data.yaml", "names: [a, b]"), "names no images"),
        (("data.yaml", "names: [a, b]\ntrain: {a: b}"), "train must be a folder"),
        (("data.yaml", "names: [a, b]\ntrain: images/none"), r"names images/none, but .* does not exist"),
        (("data.yaml", "names: [a, b"), "is not valid YAML"),
        (("data.yaml", "- a"), "has no keys `names` and `train`"),
        (("other.yaml", "names: [a]"), None),
    ],
)
def test_mistakes_have_their_sentence(tmp_path, change, message):
    root = yolo(tmp_path)
    write(root / change[0], change[1])
    if message is None:
        Yolo(str(root)).open("train")
        return
    with pytest.raises(DataError, match=message) as caught:
        Yolo(str(root)).open("train")
    assert "\n" not in str(caught.value)


def test_labels_in_the_wrong_place_are_no_empty_data_set(tmp_path):
    root = yolo(tmp_path)
    (root / "labels").rename(root / "annotations")
    with pytest.raises(DataError, match=r"none of the 3 train images has a label file, e\.g\. .*labels/train/0\.txt"):
        Yolo(str(root)).open("train")
    with pytest.raises(ConfigError, match=r"data\.source\.masks must be true, false or auto, got some"):
        Yolo(str(root), masks="some")
    with pytest.raises(DataError, match="there is no folder"):
        Yolo(str(root / "none")).open("train")


def test_two_yaml_files_ask_which(tmp_path):
    root = yolo(tmp_path)
    (root / "data.yaml").rename(root / "coco.yaml")
    assert len(Yolo(str(root)).open("train").ids) == 3
    write(root / "more.yaml", "names: [a, b]\n")
    with pytest.raises(DataError, match=r"several YAML files \(coco\.yaml, more\.yaml\); set data\.root to one"):
        Yolo(str(root)).open("train")


def test_the_last_folder_images_becomes_labels(tmp_path):
    assert label_path(tmp_path / "images" / "images" / "a.b.jpg") == tmp_path / "images" / "labels" / "a.b.txt"
    assert label_path(tmp_path / "photos" / "a.png") == tmp_path / "photos" / "a.txt"


def test_pose_labels_give_their_boxes(tmp_path):
    root = yolo(tmp_path, "names: [car, dog]\nkpt_shape: [2, 3]")
    for split in ("train", "val"):
        write(root / f"labels/{split}/0.txt", "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 1\n")
    records = Yolo(str(root)).open("train")
    assert objects(records, 0) == [("car", pytest.approx([15, 10, 45, 30]))]
    assert not records.masks


def test_an_image_that_cannot_be_read_is_unreadable_and_no_error_of_the_labels(tmp_path):
    root = yolo(tmp_path)
    (root / "images/val/0.jpg").write_bytes(b"no image")
    data = module(Yolo(str(root)), 2)
    data.setup("fit")
    batches = list(data.val_dataloader())
    assert [who for batch in batches for who, _ in batch["unreadable"]] == ["0.jpg"]
    assert [i for batch in batches for i in batch["id"]] == ["1.jpg", "2.jpg"]


def test_hidden_files_and_caches_are_no_images(tmp_path):
    root = yolo(tmp_path)
    picture(root / "images/train/.cache/9.jpg")
    picture(root / "images/train/@eaDir/9.jpg")
    picture(root / "images/train/._0.jpg")
    write(root / "labels/train.cache", "x")
    assert Yolo(str(root)).open("train").ids[:] == ["0.jpg", "1.jpg", "2.jpg"]


def test_what_the_data_tell(tmp_path):
    facts = Yolo.inspect(yolo(tmp_path), {"_target_": "x", "masks": "auto", "class_names": None})
    assert (facts.num_classes, facts.class_names) == (2, ("car", "dog"))
    assert facts.images == {"train": 3, "val": 3}
    assert facts.image_size == (50, 50)
    assert "YOLO" in facts.notes[0]
    assert facts.options == {"masks": False}
    write(tmp_path / "labels/train/1.txt", "0 0.1 0.1 0.5 0.1 0.5 0.3 0.1 0.3\n")
    mixed = Yolo.inspect(tmp_path, {"masks": "auto"})
    assert (mixed.options, "2 of the 3 training objects looked at have no mask" in mixed.notes[-1]) == (
        {"masks": False},
        True,
    )
    write(tmp_path / "labels/train/0.txt", "")
    assert Yolo.inspect(tmp_path, {"masks": "auto"}).options == {"masks": True}
    assert Yolo.inspect(tmp_path, {"masks": False}).options == {"masks": False}


def test_a_test_split_of_which_nothing_is_there_is_told_and_not_read(tmp_path):
    root = yolo(tmp_path, names="test: ../test/images\nnames: [car, dog]")
    facts = Yolo.inspect(root, {})
    assert (facts.images, "names ../test/images for test, which is not there" in facts.notes[1]) == (
        {"train": 3, "val": 3},
        True,
    )
    with pytest.raises(DataError, match="names no images for test, only for train, val"):
        Yolo(str(root)).open("test")


def test_a_list_of_another_machine_is_read_by_the_ends_of_its_paths(tmp_path):
    root = yolo(tmp_path, train="train.txt")
    write(root / "train.txt", "/home/a/set/images/train/0.jpg\nC:\\set\\images\\train\\1.jpg\n")
    assert [path.relative_to(root).as_posix() for path in Yolo(str(root)).files("train")] == [
        "images/train/0.jpg",
        "images/train/1.jpg",
    ]
    write(root / "train.txt", "/home/a/0.jpg\n")
    with pytest.raises(
        DataError, match=r"none of the 1 images that .*data\.yaml names for train is there, e\.g\. /home/a/0"
    ):
        Yolo(str(root)).open("train")


@pytest.mark.parametrize(("classes", "folder"), [("classes.txt", "."), ("obj.names", "obj_train_data")])
def test_labels_beside_their_images(tmp_path, classes, folder):
    write(tmp_path / classes, "car\ndog\n")
    for number in range(6):
        picture(tmp_path / folder / f"{number}.jpg", (20, 30))
        write(tmp_path / folder / f"{number}.txt", "1 0.5 0.5 0.5 0.5\n")
    mark = recognize(tmp_path)
    assert (mark.data, mark.root) == ("yolo", tmp_path)
    sizes = [len(Yolo(str(tmp_path)).open(split).labels) for split in ("train", "val")]
    assert (sum(sizes), min(sizes) > 0) == (6, True)
    assert Yolo(str(tmp_path)).open("val").labels.tolist() == [1] * sizes[1]


def test_a_number_of_classes_names_none(tmp_path):
    assert not Yolo.inspect(yolo(tmp_path, names="nc: 2"), {}).named
    assert Yolo.inspect(yolo(tmp_path, names="names: ['0', '1']"), {}).named
