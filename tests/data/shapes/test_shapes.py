"""The drawn set: real layouts, exact labels, the same bytes twice, folders of others left alone."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import mask as coco_mask
from PIL import Image, ImageDraw

from visionattn.data import ClassificationData
from visionattn.data.classification.sources import ImageFolder
from visionattn.data.shapes import SHAPE_NAMES, TEXTURE_NAMES, make_shapes
from visionattn.data.shapes.compose import compose_objects, compose_single, image_random
from visionattn.data.shapes.layouts import COCO_IDS, class_map
from visionattn.data.shapes.polygons import mask_to_box, mask_to_polygons, mask_to_rle
from visionattn.errors import ConfigError, DataError


def polygon_mask(polygons: list[list[int]], size: tuple[int, int]) -> np.ndarray:
    """Pixels whose center lies inside, by drawing at four times the size."""
    big = Image.new("1", (4 * size[1], 4 * size[0]))
    draw = ImageDraw.Draw(big)
    for polygon in polygons:
        draw.polygon([(4 * x - 0.5, 4 * y - 0.5) for x, y in zip(polygon[::2], polygon[1::2], strict=True)], fill=1)
    return np.asarray(big)[2::4, 2::4]


def rle_to_mask(rle: dict[str, list[int]]) -> np.ndarray:
    """As COCO's own tools read run lengths."""
    return coco_mask.decode(coco_mask.frPyObjects(rle, *rle["size"])).astype(bool)


def polygon_area(polygon: list[int]) -> float:
    x, y = np.array(polygon[::2]), np.array(polygon[1::2])
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def ring() -> np.ndarray:
    y, x = np.mgrid[:20, :26]
    distance = np.hypot(y - 9, x - 12)
    return (distance < 8) & (distance > 4)


def corners() -> np.ndarray:
    """Pixels that touch at corners only, inside and outside."""
    mask = np.zeros((6, 7), dtype=bool)
    mask[1:5, 1:6] = True
    mask[2, 2] = mask[3, 3] = mask[0, 0] = False
    mask[0, 6] = mask[5, 0] = True
    return mask


@pytest.mark.parametrize("mask", [ring(), corners(), np.ones((3, 4), bool), np.eye(5, dtype=bool)])
def test_polygons_and_run_lengths_cover_exactly_the_mask(mask):
    polygons = mask_to_polygons(mask)
    assert all(len(polygon) >= 8 for polygon in polygons)
    assert sum(polygon_area(polygon) for polygon in polygons) == mask.sum()
    assert np.array_equal(polygon_mask(polygons, mask.shape), mask)
    assert np.array_equal(rle_to_mask(mask_to_rle(mask)), mask)


def test_random_masks_survive_both_forms():
    random = np.random.RandomState(0)
    for _ in range(30):
        mask = random.uniform(size=(9, 11)) < random.uniform(0.2, 0.8)
        mask[4, 4] = True
        polygons = mask_to_polygons(mask)
        assert sum(polygon_area(polygon) for polygon in polygons) == mask.sum()
        assert np.array_equal(polygon_mask(polygons, mask.shape), mask)
        assert np.array_equal(rle_to_mask(mask_to_rle(mask)), mask)


def test_run_lengths_are_columns_first_and_start_with_zeros():
    mask = np.array([[True, False], [True, True]])
    assert mask_to_rle(mask) == {"counts": [0, 2, 1, 1], "size": [2, 2]}
    assert mask_to_box(mask) == [0, 0, 2, 2]


def test_scenes_hold_several_overlapping_shapes_of_all_sizes():
    scenes = [compose_objects(128, image_random(0, "t", "train", index), crowds=True) for index in range(40)]
    instances = [instance for scene in scenes for instance in scene.instances]
    assert {instance.label for instance in instances} == set(range(len(SHAPE_NAMES)))
    areas = np.array([instance.mask.sum() for instance in instances])
    assert areas.min() >= 12
    assert areas.max() > 40 * areas.min()
    occluded = [i for i in instances if not i.crowd and i.mask.sum() < 0.95 * i.drawn_area]
    assert len(occluded) > 0.1 * len(instances)
    assert all(i.mask.sum() >= 0.35 * i.drawn_area - 1 for i in instances if not i.crowd)
    assert any(instance.crowd for instance in instances)
    for scene in scenes:
        assert sum(instance.mask.astype(int) for instance in scene.instances).max() <= 1
    assert {scene.size for scene in scenes} == {(128, 128), (96, 128), (128, 96)}


def test_one_shape_dominates_in_the_classification_pictures():
    for index in range(20):
        scene = compose_single(96, index % 10, image_random(1, "t", "val", index))
        largest = max(scene.instances, key=lambda instance: instance.mask.sum())
        assert largest.label == index % 10


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("layout", ["imagenet", "coco", "ade20k"])
def test_a_second_run_gives_the_same_bytes(tmp_path, layout):
    options = {"num_train": 10, "num_val": 10, "image_size": 48}
    summary = make_shapes(layout, tmp_path / "a", **options)
    first = digests(tmp_path / "a")
    make_shapes(layout, tmp_path / "a", **options)
    make_shapes(layout, tmp_path / "b", **options)
    make_shapes(layout, tmp_path / "c", seed=1, **options)
    assert digests(tmp_path / "a") == first == digests(tmp_path / "b")
    pictures = {path: digest for path, digest in first.items() if path.endswith(("jpg", "JPEG"))}
    assert len(pictures) == 20
    assert len(set(pictures.values()) | set(digests(tmp_path / "c").values())) >= 40
    assert summary["splits"]["train"]["images"] == 10
    assert json.loads((tmp_path / "a" / "shapes.json").read_text())["complete"] is True


def test_imagenet_layout_trains_with_image_folder(tmp_path):
    make_shapes("imagenet", tmp_path, num_train=20, num_val=10, image_size=48)
    module = ClassificationData(ImageFolder(str(tmp_path)), 10, 32, batch_size=5)
    module.setup()
    assert module.sizes == {"train": 20, "val": 10, "test": 10}
    assert module.class_names == list(SHAPE_NAMES)
    assert next(iter(module.train_dataloader()))["image"].shape == (5, 3, 32, 32)


def test_coco_layout(tmp_path):
    summary = make_shapes("coco", tmp_path, num_train=60, num_val=12, image_size=64)
    content = json.loads((tmp_path / "annotations" / "instances_train2017.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    assert len(sizes) == 60
    assert sorted(sizes) != list(range(1, 61))
    for image in content["images"]:
        with Image.open(tmp_path / "train2017" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
        assert image["file_name"] == f"{image['id']:012d}.jpg"
    assert [category["id"] for category in content["categories"]] == list(COCO_IDS)
    assert [category["name"] for category in content["categories"]] == list(SHAPE_NAMES)
    annotations = content["annotations"]
    assert [annotation["id"] for annotation in annotations] == list(range(1, len(annotations) + 1))
    crowds = 0
    for annotation in annotations:
        size = sizes[annotation["image_id"]]
        if annotation["iscrowd"]:
            crowds += 1
            mask = rle_to_mask(annotation["segmentation"])
            assert mask.shape == size
        else:
            mask = polygon_mask(annotation["segmentation"], size)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == mask_to_box(mask)
        assert annotation["category_id"] in COCO_IDS
    assert crowds == summary["splits"]["train"]["crowds"] > 0
    empty = set(sizes) - {annotation["image_id"] for annotation in annotations}
    assert len(empty) == summary["splits"]["train"]["empty_images"] > 0
    other = json.loads((tmp_path / "annotations" / "instances_val2017.json").read_text())
    assert not {image["id"] for image in other["images"]} & set(sizes)


def test_ade20k_layout(tmp_path):
    make_shapes("ade20k", tmp_path, num_train=30, num_val=5, image_size=64)
    base = tmp_path / "ADEChallengeData2016"
    seen = np.zeros(16, dtype=int)
    for folder, count in (("training", 30), ("validation", 5)):
        pictures = sorted((base / "images" / folder).glob("*.jpg"))
        maps = sorted((base / "annotations" / folder).glob("*.png"))
        assert [path.stem for path in pictures] == [path.stem for path in maps]
        assert len(maps) == count
        for picture, path in zip(pictures, maps, strict=True):
            with Image.open(path) as classes, Image.open(picture) as image:
                assert classes.mode == "L"
                assert classes.size == image.size
                seen += np.bincount(np.asarray(classes).reshape(-1), minlength=16) > 0
    assert (seen > 0).all()
    rows = [line.split("\t") for line in (base / "objectInfo150.txt").read_text().splitlines()]
    assert rows[0] == ["Idx", "Ratio", "Train", "Val", "Name"]
    assert [row[4] for row in rows[1:]] == [*SHAPE_NAMES, *TEXTURE_NAMES]
    assert [int(row[2]) + int(row[3]) for row in rows[1:]] == seen[1:].tolist()
    assert len((base / "sceneCategories.txt").read_text().splitlines()) == 35


def test_the_class_map_shows_what_lies_in_front():
    scene = compose_objects(96, image_random(0, "t", "train", 3))
    classes = class_map(scene)
    for instance in scene.instances:
        assert (classes[instance.mask] == instance.label + 1).all()
    covered = np.any([instance.mask for instance in scene.instances], axis=0)
    assert (classes[~covered] > len(SHAPE_NAMES)).all()


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty and was not made by this command"):
        make_shapes("coco", tmp_path, 2, 2, 48)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt"]
    with pytest.raises(DataError, match="is a file"):
        make_shapes("coco", tmp_path / "mine.txt", 2, 2, 48)
    make_shapes("coco", tmp_path / "own", 2, 2, 48)
    with pytest.raises(DataError, match=r"other settings \(num_train=2\)"):
        make_shapes("coco", tmp_path / "own", 3, 2, 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("voc",), "unknown layout 'voc'; known are imagenet, coco, ade20k"),
        (("coco", 0), "at least 1, got 16, 0 and 5"),
        (("imagenet", 5, 5, 32), "each of the 10 classes"),
    ],
)
def test_impossible_requests(tmp_path, arguments, message):
    layout, *numbers = arguments
    numbers = [*numbers, *(100, 5, 16)[len(numbers) :]]
    with pytest.raises(ConfigError, match=message):
        make_shapes(layout, tmp_path, *numbers)
    assert not any(tmp_path.iterdir())
