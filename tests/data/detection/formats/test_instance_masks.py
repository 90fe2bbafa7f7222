"""Instance masks as PNG: numbers in one file per image, or a file per object, and where classes come from."""

import numpy as np
import pytest
from PIL import Image

from tests.data.detection.formats.trees import SIZES, objects, picture
from visionattn.data.detection import InstanceMasks
from visionattn.errors import ConfigError, DataError

NUMBERS = np.zeros(SIZES[0], np.uint16)
NUMBERS[5:15, 10:30], NUMBERS[20:30, 40:50], NUMBERS[0:4, 0:4] = 1, 2, 300
BOXES = [[10.0, 5.0, 30.0, 15.0], [40.0, 20.0, 50.0, 30.0], [0.0, 0.0, 4.0, 4.0]]


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def pictures(root, val="val"):
    for split in ("train", val):
        picture(root / split / "images/a.jpg")
        picture(root / split / "images/b.jpg")
    return root


def numbered(root, numbers=NUMBERS):
    pictures(root)
    for split in ("train", "val"):
        save(root / split / "masks/a.png", numbers)
        save(root / split / "masks/b.png", np.zeros_like(numbers))
    return root


def test_numbers_of_8_and_16_bits_and_palettes(tmp_path):
    small = np.where(NUMBERS == 300, 3, NUMBERS).astype(np.uint8)
    for name, numbers in (("16", NUMBERS), ("8", small)):
        records = InstanceMasks(str(numbered(tmp_path / name, numbers)), class_names=["cell"]).open("train")
        assert objects(records, 0) == [("cell", box) for box in BOXES]
        assert objects(records, 1) == []
        assert records.objects(0)["masks"].sum((1, 2)).tolist() == [200, 100, 16]
    palette = Image.fromarray(small)
    palette.putpalette([255, 0, 0] * 256)
    palette.save(tmp_path / "8/train/masks/a.png")
    assert objects(InstanceMasks(str(tmp_path / "8")).open("train"), 0) == [("object", box) for box in BOXES]


def test_classes_in_the_numbers_and_groups(tmp_path):
    numbers = np.zeros(SIZES[0], np.uint16)
    numbers[5:15, 10:30], numbers[20:30, 40:50], numbers[0:4, 0:4], numbers[35:, 50:] = 26001, 24000, 26, 7
    source = InstanceMasks(str(numbered(tmp_path, numbers)), classes="value", class_names={26: "car", 24: "person"})
    records = source.open("train")
    assert records.class_names == ["person", "car"]
    assert sorted(objects(records, 0)) == [("car", BOXES[0]), ("person", BOXES[1])]
    assert records.annotations.crowds == 1


def test_classes_in_a_second_map(tmp_path):
    root = numbered(tmp_path)
    classes = np.where(NUMBERS == 1, 2, 1).astype(np.uint8)
    for split in ("train", "val"):
        for name in "ab":
            save(root / split / f"classes/{name}.png", classes)
    records = InstanceMasks(str(root), classes="map", class_names=["ant", "bee"]).open("val")
    assert [name for name, _ in objects(records, 0)] == ["bee", "ant", "ant"]


def test_a_file_per_object(tmp_path):
    root = pictures(tmp_path, "valid")
    for split in ("train", "valid"):
        for number, value in enumerate((1, 2, 300)):
            save(root / split / f"masks/a/{number}.png", ((value == NUMBERS) * 255).astype(np.uint8))
        (root / split / "masks/b").mkdir(parents=True)
    records = InstanceMasks(str(root), masks="{split}/masks/{image}").open("val")
    assert objects(records, 0) == [("object", box) for box in BOXES]
    assert records.ids[:] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("name", ["a/1.png", "a.png", "a_7.png"])
def test_a_folder_per_class(tmp_path, name):
    root = pictures(tmp_path)
    for split in ("train", "val"):
        save(root / split / "masks/cat" / name, (NUMBERS == 1) * np.uint8(255))
        save(root / split / "masks/ant" / name, (NUMBERS == 2) * np.uint8(1))
    records = InstanceMasks(str(root), masks="{split}/masks/{class}/{image}").open("train")
    assert records.class_names == ["ant", "cat"]
    assert objects(records, 0) == [("ant", BOXES[1]), ("cat", BOXES[0])]
    assert objects(records, 1) == []


def test_missing_wrong_and_colored_masks_are_counted(tmp_path):
    root = numbered(tmp_path)
    (root / "train/masks/b.png").unlink()
    dropped = InstanceMasks(str(root)).open("train").annotations.dropped
    assert dropped.counts == {"images whose mask is missing or cannot be read": 1}
    save(root / "train/masks/b.png", np.random.RandomState(0).randint(0, 255, (*SIZES[0], 3), np.uint8))
    assert InstanceMasks(str(root)).open("train").annotations.dropped.counts == dropped.counts
    save(root / "train/masks/b.png", np.ones((9, 9), np.uint8))
    dropped = InstanceMasks(str(root)).open("train").annotations.dropped
    assert dropped.counts == {"masks of another size than their image": 1}
    for name in "ab":
        (root / f"train/masks/{name}.png").unlink()
    with pytest.raises(DataError, match=r"no train image has a mask at \{split\}/masks"):
        InstanceMasks(str(root)).open("train")
    with pytest.raises(DataError, match="has no image for test"):
        InstanceMasks(str(root)).open("test")


def test_masks_of_an_image_that_is_stored_turned(tmp_path):
    root = numbered(tmp_path)
    picture(root / "train/images/a.jpg", SIZES[0], orientation=6)
    records = InstanceMasks(str(root)).open("train")
    assert records.size(0) == SIZES[0]
    assert records.image(0).shape == (3, *SIZES[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "x"}, "must be one of one, value, map, got x"),
        ({"classes": "map"}, "needs class_names by number"),
        ({"classes": "value", "class_names": ["a"], "masks": "m/{image}"}, "needs one mask per image"),
        ({"class_names": ["a", "b"]}, "has one name, got a, b"),
    ],
)
def test_options_that_contradict(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        InstanceMasks(str(tmp_path), **options)


def test_what_the_data_tell(tmp_path):
    facts = InstanceMasks.inspect(numbered(tmp_path), {"class_names": None})
    assert (facts.class_names, facts.images) == (("object",), {"train": 2, "val": 2})


@pytest.mark.parametrize("place", ["{split}/", ""])
def test_without_images_for_validation_a_fixed_fifth_is_held_out(tmp_path, place):
    folder = tmp_path / place.format(split="train")
    for index in range(10):
        picture(folder / "images" / f"{index}.jpg")
        save(folder / "masks" / f"{index}_mask.png", NUMBERS)
    source = InstanceMasks(str(tmp_path), images=f"{place}images", masks=f"{place}masks")
    found = {split: list(source.open(split).ids) for split in ("train", "val")}
    assert sorted(found["train"] + found["val"]) == [f"{index}.jpg" for index in range(10)]
    assert len(found["val"]) >= 1
    assert objects(source.open("val"), 0) == [("object", box) for box in BOXES]
    assert "20% of the images, by name, are val" in source.notes()[0]
