"""COCO files in other layouts than COCO's own: found, told, and asked about where several could be meant."""

import json
import shutil

import pytest

from tests.data.detection.test_odd_files import scores, standard
from visionattn.data.detection import Coco
from visionattn.errors import DataError

AUTO = {"images": "auto", "annotations": "auto", "val_fraction": "auto"}
COCO_FILES = {split: f"annotations/instances_{split}2017.json" for split in ("train", "val")}


def moved(root, **names):
    """Move folders and files of the healthy set; the values are new places."""
    places = {"train_images": "train2017", "val_images": "val2017"}
    places |= {f"{split}_json": COCO_FILES[split] for split in COCO_FILES}
    for key, target in names.items():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / places[key], root / target)
    for folder in ("annotations", "train2017", "val2017"):
        if (root / folder).is_dir() and not any((root / folder).iterdir()):
            (root / folder).rmdir()
    return root


def roboflow(root):
    return moved(
        root,
        train_images="train",
        val_images="valid",
        train_json="train/_annotations.coco.json",
        val_json="valid/_annotations.coco.json",
    )


LAYOUTS = {
    "coco": (lambda root: root, "layout: COCO's own"),
    "roboflow": (roboflow, "layout: Roboflow's COCO export"),
    "train.json and val.json": (
        lambda root: moved(root, train_json="train.json", val_json="val.json"),
        "by their names",
    ),
    "images in images": (
        lambda root: moved(root, train_images="images/train", val_images="images/valid"),
        "layout: COCO's own",
    ),
    "other words": (
        lambda root: moved(
            root,
            train_json="labels/my_training_set.json",
            val_json="labels/validation.json",
            train_images="imgs/a",
            val_images="imgs/b",
        ),
        "by their names",
    ),
    "CVAT's folders": (
        lambda root: moved(
            root,
            train_images="images/Train",
            val_images="images/Validation",
            train_json="annotations/instances_Train.json",
            val_json="annotations/instances_Validation.json",
        ),
        "by their names",
    ),
    "beside": (
        lambda root: moved(
            root, train_images="train", val_images="val", train_json="train/labels.json", val_json="val/labels.json"
        ),
        "by their names",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_found_and_told(tmp_path, name):
    move, told = LAYOUTS[name]
    root = move(standard(tmp_path / "t"))
    if name == "other words":  # one folder for both
        for path in sorted((root / "imgs").glob("*/*")):
            shutil.copy(path, root / "imgs" / path.name)
    facts = Coco.inspect(root, dict(AUTO))
    assert told in facts.notes[0]
    assert (facts.num_classes, facts.class_names) == (3, ("car", "dog", "cup"))
    assert facts.images == {"train": 3, "val": 3}
    assert facts.image_size == (24, 24)
    assert facts.options["masks"] is True
    for source in (Coco(str(root), **AUTO), Coco(str(root), **facts.options)):
        records = source.open("val")
        assert scores(records) == [100.0, 100.0]
        assert records.image(0).shape == (3, 20, 24)
        assert source.own_splits() == ["train", "val"]


def test_one_file_is_divided_by_the_names_of_its_images(tmp_path):
    root = standard(tmp_path / "t")
    shutil.rmtree(root / "val2017")
    (root / COCO_FILES["val"]).unlink()
    shutil.move(root / COCO_FILES["train"], root / "everything.json")
    facts = Coco.inspect(root, dict(AUTO))
    assert facts.notes == (
        "layout: one annotation file, everything.json, with a fixed split: 20% of its images are held out",
    )
    assert sum(facts.images.values()) == 3
    parts = {split: Coco(str(root), **facts.options).open(split) for split in ("train", "val")}
    names = {split: set(records.ids[:]) for split, records in parts.items()}
    assert names["train"] | names["val"] == {"0.jpg", "1.jpg", "2.jpg"}
    assert not names["train"] & names["val"]
    assert facts.images == {split: len(found) for split, found in names.items()}
    assert not parts["train"].annotations.dropped.counts
    one = Coco(str(root), images="train2017", annotations="everything.json", val_fraction="auto")
    assert set(one.open("val").ids[:]) == names["val"]


def test_images_lie_in_the_folder_that_the_only_file_is_named_for_or_are_looked_for(tmp_path):
    root = standard(tmp_path / "t")
    moved(root, train_images="images/default", train_json="annotations/instances_default.json")
    shutil.rmtree(root / "val2017")
    (root / COCO_FILES["val"]).unlink()
    assert Coco.inspect(root, dict(AUTO)).options["images"]["train"] == "images/default"
    shutil.move(root / "images" / "default", tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"none of the images .*looked for file_name 0\.jpg in .*images"):
        Coco.inspect(root, dict(AUTO))


def test_one_image_cannot_be_divided(tmp_path):
    root = standard(tmp_path / "t")
    (root / COCO_FILES["val"]).unlink()
    shutil.rmtree(root / "val2017")
    path = root / COCO_FILES["train"]
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"images": content["images"][:1]}))
    with pytest.raises(
        DataError, match=r"lists one image, 0\.jpg, and some are held out .* data\.source\.annotations\.val"
    ):
        Coco.inspect(root, dict(AUTO))


def test_a_split_whose_file_or_images_are_missing_is_not_made_up(tmp_path):
    root = standard(tmp_path / "t")
    (root / COCO_FILES["val"]).rename(tmp_path / "kept.json")
    with pytest.raises(DataError, match=r"val2017 has no annotation file for val, .*set data.source.annotations.val"):
        Coco.inspect(root, dict(AUTO))
    (tmp_path / "kept.json").rename(root / COCO_FILES["val"])
    shutil.rmtree(root / "val2017")
    with pytest.raises(DataError, match=r"none of the images that .*val2017.json lists is in"):
        Coco.inspect(root, dict(AUTO))


def test_what_the_user_names_wins(tmp_path):
    root = standard(tmp_path / "t")
    facts = Coco.inspect(root, AUTO | {"annotations": {"train": COCO_FILES["val"], "val": COCO_FILES["val"]}})
    assert facts.options["annotations"] == {"train": COCO_FILES["val"], "val": COCO_FILES["val"]}
    assert facts.options["val_fraction"] is None
    assert facts.images == {"train": 3, "val": 3}


def test_several_files_that_could_be_meant_are_named(tmp_path):
    root = moved(standard(tmp_path / "t"), train_json="train.json", val_json="val.json")
    shutil.copy(root / "train.json", root / "train_more.json")
    with pytest.raises(
        DataError, match=r"could be the train annotations: train.json, train_more.json; set data.source"
    ):
        Coco.inspect(root, dict(AUTO))
    (root / "train_more.json").write_text(json.dumps({"results": []}))
    assert Coco.inspect(root, dict(AUTO)).options["annotations"]["train"] == "train.json"


def test_what_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"is not a folder"):
        Coco.inspect(tmp_path / "none", dict(AUTO))
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(DataError, match=r"no annotation file in COCO's format for training \(found: notes.json\)"):
        Coco.inspect(tmp_path, dict(AUTO))
    root = standard(tmp_path / "t")
    for split in ("train", "val"):
        shutil.rmtree(root / f"{split}2017")
    with pytest.raises(DataError, match=r"none of the images that .* lists is in .* set data.source.images.train"):
        Coco.inspect(root, dict(AUTO))
    with pytest.raises(DataError, match=r"the folder of the test images is not known: set data.source.images.test"):
        Coco(str(root), annotations=COCO_FILES | {"test": "x.json"}).open("test")
