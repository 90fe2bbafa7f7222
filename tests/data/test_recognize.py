"""A folder is known by its layout; what is ambiguous, half a data set or none is refused in one sentence."""

import json

import pytest
from PIL import Image

from tests.corpus import trees
from tests.data.helpers import jpeg
from visionattn.config.catalog import choices, with_parts
from visionattn.config.columns import column_of
from visionattn.data import mask_marks
from visionattn.data.names import masks_among
from visionattn.data.recognize import LOOKED_FOR, recognize, some_images
from visionattn.errors import DataError

LAYOUTS = [
    *((trees.coco, "coco"), (trees.yolo, "yolo"), (trees.panoptic, "coco_panoptic"), (trees.image_mask, "image_mask")),
    *((trees.image_folder, "image_folder"), (trees.voc, "pascal_voc_detection"), (trees.csv, "csv")),
    (trees.labelme, "labelme"),
]


def picture(path, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


@pytest.mark.parametrize(("make", "name"), LAYOUTS, ids=lambda value: getattr(value, "__name__", value))
def test_each_layout_is_recognized(tmp_path, make, name):
    make(tmp_path)
    mark = recognize(tmp_path, "panoptic" if name == "coco_panoptic" else None)
    assert (mark.data, mark.root) == (name, tmp_path)
    assert mark.why
    assert some_images(tmp_path)
    target = with_parts("data", name).get("_target_") or "visionattn.data.ClassificationData"
    assert mark.task == column_of("data", target if name != "image_mask" else "visionattn.data.SegmentationData")


def test_the_layouts_that_are_named_are_choices_of_the_group():
    for name in LOOKED_FOR.replace("(", " ").replace(")", " ").replace(",", " ").split():
        if "_" in name and not name.startswith("_"):
            assert name in choices("data")


def test_a_folder_of_classes_and_a_lone_train_are_divided(tmp_path):
    for name in ("cat", "dog"):
        picture(tmp_path / "flat" / name / "0.jpg")
        picture(tmp_path / "lone" / "train" / name / "0.jpg")
    assert recognize(tmp_path / "flat").root == tmp_path / "flat"
    assert recognize(tmp_path / "lone").root == tmp_path / "lone" / "train"


@pytest.mark.parametrize("mask", ["{}_mask.png", "{}.png", "{}_SEG.gif"])
@pytest.mark.parametrize("place", ["", "train", "patient"])
def test_masks_beside_their_images(tmp_path, mask, place):
    for index in range(3):
        picture(tmp_path / place / f"{index}.jpg")
        Image.new("L", (20, 16)).save(tmp_path / place / mask.format(index))
    mark = recognize(tmp_path)
    assert (mark.data, mark.root, dict(mark.keys)) == ("image_mask", tmp_path, {})
    assert mark.why.startswith("masks beside their images")


def test_two_files_of_one_photograph_are_no_mask(tmp_path):
    for name in ("cat", "dog"):
        picture(tmp_path / name / "0.jpg")
        picture(tmp_path / name / "0.png")
    assert recognize(tmp_path).data == "image_folder"


@pytest.mark.parametrize(
    ("mask", "place"),
    [
        ("train/masks/{i}/0.png", "{split}/masks/{image}"),
        ("train/masks/cat/{i}_0.png", "{split}/masks/{class}/{image}"),
        ("train/masks/cat/{i}/0.png", "{split}/masks/{class}/{image}"),
        ("train/instances/{i}.png", "{split}/instances"),
    ],
)
def test_masks_of_objects(tmp_path, mask, place):
    for index in range(3):
        picture(tmp_path / "train" / "images" / f"{index}.jpg")
        picture(tmp_path / mask.format(i=index))
    mark = recognize(tmp_path)
    assert (mark.data, mark.keys["source.masks"]) == ("instance_masks", place)
    assert mark.keys["source.images"] == "{split}/images"
    (tmp_path / "train").rename(tmp_path / "all")
    assert recognize(tmp_path / "all").keys["source.masks"] == place.removeprefix("{split}/")


def test_masks_of_objects_are_looked_for_once(tmp_path, monkeypatch):
    trees.image_mask(tmp_path)
    asked, own = [], mask_marks._object_masks
    monkeypatch.setattr(mask_marks, "_object_masks", lambda root: asked.append(root) or own(root))
    assert recognize(tmp_path).data == "image_mask"
    assert asked == [tmp_path]


def test_masks_of_classes_in_folders_are_not_of_objects(tmp_path):
    for place in ("images/cat", "masks/cat"):
        picture(tmp_path / place / "0.png")
    assert recognize(tmp_path).data == "image_mask"


def test_tables_say_where_their_images_lie(tmp_path):
    for index in range(3):
        picture(tmp_path / "train" / f"{index}.png")
    (tmp_path / "train.csv").write_text("id,label\n0,cat\n1,dog\n2,cat\n")
    (tmp_path / "sample_submission.csv").write_text("id,label\n7,cat\n8,cat\n")
    mark = recognize(tmp_path)
    assert mark.data == "csv"
    assert mark.keys == {"source.tables": "train.csv", "source.images": "train", "source.suffix": ".png"}
    assert recognize(tmp_path / "train.csv").keys == mark.keys


def test_files_that_describe_a_data_set_name_it(tmp_path):
    trees.yolo(tmp_path / "yolo")
    trees.coco(tmp_path / "coco")
    assert recognize(tmp_path / "yolo" / "data.yaml").root == tmp_path / "yolo" / "data.yaml"
    (file,) = (tmp_path / "coco").glob("**/*train*.json")
    mark = recognize(file)
    assert tmp_path / "coco" / mark.keys["source.annotations"] == file


def test_ade20k_has_the_classes_of_its_list(tmp_path):
    picture(tmp_path / "images" / "training" / "0.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "objectInfo150.txt").touch()
    assert recognize(tmp_path).keys == {"num_classes": "auto"}


@pytest.mark.parametrize(
    ("file", "label"),
    [("train-00000-of-00001.parquet", 0), ("photos.parquet", "cat"), ("default/train/0000.parquet", "7")],
)
def test_parquet_of_labels(tmp_path, file, label):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": jpeg(1), "path": None}, {"bytes": b"x", "path": None}]
    parquet.write_table(pyarrow.table({"image": cells, "label": [label, label]}), tmp_path / file)
    mark = recognize(tmp_path)
    assert mark.image_size == (32, 40)
    assert (mark.data, mark.keys["source.name"]) == ("hugging_face", str(tmp_path))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "it is empty"),
        (["a.jpg", "b.jpg"], "holds 2 images and nothing that says what they show"),
        (["cats/a.jpg"], "images lie in one folder alone \\(cats\\), and classes are at least two"),
        (["train/cat/a.jpg", "val/cat/a.jpg"], r"in one folder alone \(train/cat\)"),
        (["inner/cat/a.jpg", "inner/dog/b.jpg"], r"but inner in it has one: data=.*inner"),
        (
            ["a.jpg", "_annotations.csv"],
            r"but files of boxes in TensorFlow's csv, which are not read: export or convert",
        ),
        (["ds0/img/a.jpg", "ds0/ann/a.jpg.json", "meta.json"], "files of Supervisely"),
        (["training/image_2/0.jpg", "training/label_2/0.txt"], "files of KITTI"),
        (["photos.zip"], "an archive: unpack photos.zip first"),
        (["readme.md", "main.py"], r"\(it holds main.py, readme.md\)"),
        (["labels.csv"], "labels.csv has 0 lines and names no image"),
    ],
)
def test_what_has_no_layout_is_told_with_what_was_looked_for(tmp_path, files, sentence):
    for name in files:
        if name.endswith(".jpg"):
            picture(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    with pytest.raises(DataError, match=sentence) as caught:
        recognize(tmp_path)
    assert str(caught.value).endswith(f"looked for {LOOKED_FOR}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,label\n", "labels.csv has 1 line and names no image"),
        ("file,cat,dog\n0.jpg,1,0\n", r"labels.csv has columns of 0 and 1 for classes \(cat, dog ...\)"),
        ("a,b\nx,y\n", "has the columns a, b, of which none has a usual name for images: data=csv data.root=.*_column"),
        ("file,b\n0.jpg,y\n", "of which none has a usual name for classes"),
    ],
)
def test_a_table_that_is_none_of_labels_says_why(tmp_path, text, sentence):
    picture(tmp_path / "img" / "0.jpg")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=sentence):
        recognize(tmp_path)


def test_two_layouts_are_told_apart_by_the_task_or_by_name(tmp_path):
    trees.coco(tmp_path)
    trees.yolo(tmp_path)
    with pytest.raises(DataError, match=r"data=coco \(.*\) or data=yolo \(.*\): choose one of them as data=NAME"):
        recognize(tmp_path)
    trees.panoptic(tmp_path / "panoptic")
    with pytest.raises(DataError, match=r"choose with task=detection or task=panoptic"):
        recognize(tmp_path / "panoptic")
    with pytest.raises(DataError, match=r"which does not train task=segmentation"):
        recognize(tmp_path, "segmentation")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pets/train", r"one split of a data set, val lie beside it: data=.*pets reads all of them"),
        ("pest", r"no such folder; did you mean .*pets\?"),
        ("pets/train/cat/0.jpg", "is one image: name the folder"),
        ("pets.tar.gz", "is an archive: unpack it"),
        ("pets/notes.json", "a file of no known layout"),
        ("x/y/z", "no such folder, and no "),
    ],
)
def test_what_is_named_by_mistake(tmp_path, name, sentence):
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            picture(tmp_path / "pets" / split / label / "0.jpg")
    (tmp_path / "pets" / "notes.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "pets.tar.gz").touch()
    with pytest.raises(DataError, match=sentence):
        recognize(tmp_path / name)


def test_masks_with_a_label_map_beside_them(tmp_path):
    text = "background:0,0,0::\nleft_hand:1,2,3::\nright_hand:3,2,1::\n"
    for index in range(3):
        picture(tmp_path / "cvat" / "JPEGImages" / f"{index}.jpg")
        picture(tmp_path / "cvat" / "SegmentationClass" / f"{index}.png")
        picture(tmp_path / "camvid" / "train" / f"{index}.png")
        picture(tmp_path / "camvid" / "train_labels" / f"{index}_L.png")
    (tmp_path / "cvat" / "ImageSets" / "Segmentation").mkdir(parents=True)
    assert recognize(tmp_path / "cvat").data == "pascal_voc"
    (tmp_path / "cvat" / "labelmap.txt").write_text(text)
    mark = recognize(tmp_path / "cvat")
    assert (mark.data, mark.keys["source.masks"]) == ("image_mask", "SegmentationClass")
    assert recognize(tmp_path / "camvid").data == "image_mask"


@pytest.mark.parametrize("places", [("train/imgs", "train/labels"), ("Image", "GT")])
def test_folders_of_images_and_masks_are_no_classes(tmp_path, places):
    for place in places:
        for index in range(3):
            picture(tmp_path / place / f"{index}.png")
    assert (recognize(tmp_path).data, recognize(tmp_path).task) == ("image_mask", "segmentation")
    (tmp_path / places[1]).rename(tmp_path / places[1].replace(places[1].split("/")[-1], "images"))
    with pytest.raises(DataError, match="has no layout that is known"):
        recognize(tmp_path)


def test_a_left_view_is_no_mask():
    views = [f"{index}{view}{kind}" for index in range(3) for view in ("", "_l") for kind in (".jpg", ".png")]
    assert sorted(masks_among(views)) == sorted(name for name in views if name.endswith(".png"))
    photos = ["a.png", "a_l.png", "b.png", "c.png", "d.png"]
    assert masks_among(photos) == []
    assert masks_among(["a.png", "a_l.png", "b.png", "b_L.png"]) == ["a_l.png", "b_L.png"]
