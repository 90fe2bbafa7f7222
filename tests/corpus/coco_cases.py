"""Damaged trees in COCO's layout."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tests.corpus.cases import ORACLE, Case, adding, in_json
from tests.corpus.trees import CATS, SPLITS, draw, write_json

CASES: list[Case] = []
tree = adding(CASES, "coco")
Content = dict[str, Any]


def entries(code: int = 0, says: str = "", **options: Any) -> Callable[[Callable[[Content], None]], Any]:
    """Add a case that changes the contents of the annotation files."""

    def add(change: Callable[[Content], None]) -> Callable[[Content], None]:
        CASES.append(Case(change.__name__, "coco", lambda root: in_json(root, change), code=code, says=says, **options))
        return change

    return add


def each(content: Content, group: str, **values: Any) -> None:
    """Set fields of all entries; a function is called with the entry."""
    for entry in content[group]:
        for name, value in values.items():
            entry[name] = value(entry) if callable(value) else value


def drop(content: Content, group: str, *names: str) -> None:
    """Remove fields of all entries."""
    for entry in content[group]:
        for name in names:
            del entry[name]


@entries()
def healthy(content: Content) -> None:
    """Nothing is changed."""


@entries()
def annotation_ids_from_zero(content: Content) -> None:
    for index, one in enumerate(content["annotations"]):
        one["id"] = index


@entries()
def annotation_ids_all_equal(content: Content) -> None:
    each(content, "annotations", id=1)


@entries()
def annotation_ids_absent(content: Content) -> None:
    drop(content, "annotations", "id")


@entries()
def annotation_ids_negative(content: Content) -> None:
    each(content, "annotations", id=lambda one: -one["id"])


@entries()
def annotation_ids_text(content: Content) -> None:
    each(content, "annotations", id=lambda one: f"a{one['id']}")


def rename_images(content: Content, name: Callable[[int], Any]) -> None:
    """Give the images other ids."""
    each(content, "annotations", image_id=lambda one: name(one["image_id"]))
    each(content, "images", id=lambda one: name(one["id"]))


@entries()
def image_ids_text(content: Content) -> None:
    rename_images(content, str)


@entries()
def image_ids_uuid(content: Content) -> None:
    rename_images(content, lambda number: str(uuid.UUID(int=number)))


@entries()
def image_ids_floats(content: Content) -> None:
    rename_images(content, float)


@entries()
def image_ids_beyond_63_bits(content: Content) -> None:
    rename_images(content, lambda number: number + 2**70)


@entries()
def image_ids_from_zero(content: Content) -> None:
    rename_images(content, lambda number: number // 10)


@entries()
def image_ids_text_in_the_annotations_alone(content: Content) -> None:
    each(content, "annotations", image_id=lambda one: str(one["image_id"]))


@entries()
def category_ids_text(content: Content) -> None:
    each(content, "annotations", category_id=lambda one: str(one["category_id"]))
    each(content, "categories", id=lambda one: str(one["id"]))


@entries()
def category_ids_from_zero(content: Content) -> None:
    each(content, "annotations", category_id=lambda one: {3: 0, 7: 1}[one["category_id"]])
    each(content, "categories", id=lambda one: {3: 0, 7: 1}[one["id"]])


@entries()
def sizes_absent(content: Content) -> None:
    drop(content, "images", "height", "width")


@entries()
def sizes_text(content: Content) -> None:
    each(content, "images", height=lambda one: str(one["height"]), width=lambda one: str(one["width"]))


@entries()
def sizes_null(content: Content) -> None:
    each(content, "images", height=None, width=None)


@entries()
def sizes_floats(content: Content) -> None:
    each(content, "images", height=lambda one: float(one["height"]), width=lambda one: float(one["width"]))


@entries(1, "(size|48x64|64x48)")
def sizes_of_the_other_orientation(content: Content) -> None:
    each(content, "images", height=64, width=48)


@entries(1, "file_name")
def file_names_absent(content: Content) -> None:
    drop(content, "images", "file_name")


@entries(1, "file_name")
def file_names_numbers(content: Content) -> None:
    each(content, "images", file_name=17)


@entries(1, "(file_name|outside)")
def file_names_climb_out_of_the_folder(content: Content) -> None:
    each(content, "images", file_name="../../../../etc/hostname")


@entries()
def file_names_with_a_dot_and_slash(content: Content) -> None:
    each(content, "images", file_name=lambda one: f"./{one['file_name']}")


@entries()
def null_annotation(content: Content) -> None:
    content["annotations"].append(None)


@entries()
def null_image(content: Content) -> None:
    content["images"].append(None)


@entries()
def iscrowd_null(content: Content) -> None:
    each(content, "annotations", iscrowd=None)


@entries()
def iscrowd_text(content: Content) -> None:
    each(content, "annotations", iscrowd="0")


@entries()
def iscrowd_false(content: Content) -> None:
    each(content, "annotations", iscrowd=False)


@entries()
def iscrowd_absent(content: Content) -> None:
    drop(content, "annotations", "iscrowd")


@entries()
def area_null(content: Content) -> None:
    each(content, "annotations", area=None)


@entries()
def area_absent(content: Content) -> None:
    drop(content, "annotations", "area")


@entries()
def area_text(content: Content) -> None:
    each(content, "annotations", area="a lot")


@entries()
def boxes_as_text(content: Content) -> None:
    each(content, "annotations", bbox=lambda one: [str(value) for value in one["bbox"]])


@entries()
def boxes_absent_with_masks(content: Content) -> None:
    drop(content, "annotations", "bbox")


@entries(1, "bbox")
def boxes_and_masks_absent(content: Content) -> None:
    drop(content, "annotations", "bbox", "segmentation")


@entries(1, "(bbox|box)")
def boxes_not_numbers(content: Content) -> None:
    each(content, "annotations", bbox=[float("nan")] * 4, segmentation=[])


@entries(1, "(bbox|box)")
def boxes_of_no_area(content: Content) -> None:
    each(content, "annotations", bbox=[5, 5, 0, 0], segmentation=[])


@entries()
def masks_absent_with_a_box_head(content: Content) -> None:
    drop(content, "annotations", "segmentation")


@entries(oracle=f"{ORACLE}.Instances", words=("head=mask_rcnn",), scores={"box_ap": 100.0, "mask_ap": 100.0})
def masks_with_a_mask_head(content: Content) -> None:
    """Nothing is changed."""


@entries(1, "mask", words=("head=mask_rcnn",), oracle=f"{ORACLE}.Instances")
def masks_absent_with_a_mask_head(content: Content) -> None:
    drop(content, "annotations", "segmentation")


@entries()
def stray_polygon_of_one_point(content: Content) -> None:
    each(content, "annotations", segmentation=lambda one: [*one["segmentation"], [3, 3]])


@entries()
def stray_polygon_of_two_points(content: Content) -> None:
    each(content, "annotations", segmentation=lambda one: [[3, 3, 9, 9], *one["segmentation"]])


@entries()
def polygons_empty_with_a_box_head(content: Content) -> None:
    each(content, "annotations", segmentation=[])


def runs(one: Content) -> Content:
    """Uncompressed run lengths of a rectangle, by columns."""
    left, top, wide, high = one["bbox"]
    counts, at = [], 0
    for column in range(left, left + wide):
        start = column * 48 + top
        counts += [start - at, high]
        at = start + high
    return {"size": [48, 64], "counts": [*counts, 64 * 48 - at]}


@entries(oracle=f"{ORACLE}.Instances", words=("head=mask_rcnn",), scores={"box_ap": 100.0, "mask_ap": 100.0})
def run_lengths(content: Content) -> None:
    each(content, "annotations", segmentation=runs)


@entries(oracle=f"{ORACLE}.Instances", words=("head=mask_rcnn",), scores={"box_ap": 100.0, "mask_ap": 100.0})
def run_lengths_floats(content: Content) -> None:
    def floats(one: Content) -> Content:
        return {"size": [48.0, 64.0], "counts": [float(value) for value in runs(one)["counts"]]}

    each(content, "annotations", segmentation=floats)


@entries(1, "(run length|mask)", oracle=f"{ORACLE}.Instances", words=("head=mask_rcnn",))
def run_lengths_of_another_size(content: Content) -> None:
    each(content, "annotations", segmentation=lambda one: {**runs(one), "size": [480, 640]})


@entries(1, "categor")
def categories_absent(content: Content) -> None:
    del content["categories"]


@entries(1, "categor")
def categories_empty(content: Content) -> None:
    content["categories"] = []


@entries(says="categories without a name")
def category_names_absent(content: Content) -> None:
    drop(content, "categories", "name")


@entries(1, "(name|categor)")
def category_names_equal(content: Content) -> None:
    each(content, "categories", name="cat")
    content["categories"].append({"id": 3, "name": "again"})


@entries(1, "image")
def images_absent(content: Content) -> None:
    del content["images"]


@entries(1, "annotations")
def annotations_absent(content: Content) -> None:
    del content["annotations"]


@entries()
def annotation_of_an_image_that_is_not_there(content: Content) -> None:
    content["annotations"].append({**content["annotations"][0], "id": 99, "image_id": 999})


@entries()
def annotation_of_an_unknown_category(content: Content) -> None:
    content["annotations"].append({**content["annotations"][0], "id": 99, "category_id": 999})


@entries(1, "categor")
def all_annotations_of_unknown_categories(content: Content) -> None:
    each(content, "annotations", category_id=999)


@entries()
def image_listed_twice(content: Content) -> None:
    content["images"].append(dict(content["images"][0]))


@entries()
def unused_category(content: Content) -> None:
    content["categories"].append({"id": 90, "name": "toothbrush"})


@entries()
def categories_in_another_order(content: Content) -> None:
    content["categories"].reverse()


@tree(1, "categories")
def categories_of_val_differ(root: Path) -> None:
    path = root / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "cow"
    write_json(path, content)


@tree()
def byte_order_mark(root: Path) -> None:
    for path in root.glob("annotations/*.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@tree()
def utf16(root: Path) -> None:
    for path in root.glob("annotations/*.json"):
        path.write_text(path.read_text(), encoding="utf-16")


@tree(1, "instances_train2017.json")
def file_cut_off(root: Path) -> None:
    for path in root.glob("annotations/*.json"):
        path.write_bytes(path.read_bytes()[:-40])


@tree(1, "instances_train2017.json")
def file_empty(root: Path) -> None:
    for path in root.glob("annotations/*.json"):
        path.write_bytes(b"")


@tree(1, "instances_train2017.json")
def file_is_a_list(root: Path) -> None:
    for path in root.glob("annotations/*.json"):
        path.write_text("[1, 2]")


@tree(1, "(annotations|instances_val2017)")
def file_of_val_missing(root: Path) -> None:
    (root / "annotations/instances_val2017.json").unlink()


@tree(1, "(val2017|001.jpg|000.jpg)")
def images_of_val_missing(root: Path) -> None:
    shutil.rmtree(root / "val2017")


@tree(1, "000.jpg")
def one_image_missing(root: Path) -> None:
    (root / "train2017/000.jpg").unlink()


@tree(1, "000.jpg", begun=True)
def one_image_cut_off(root: Path) -> None:
    path = root / "val2017/000.jpg"
    path.write_bytes(path.read_bytes()[:200])


def oriented(image: Image.Image, orientation: int) -> Image.Exif:
    exif = image.getexif()
    exif[0x0112] = orientation
    return exif


@tree(says="(?i)exif")
def stored_turned_by_90_with_a_tag(root: Path) -> None:
    """The annotations speak of the upright image."""
    for split, count in SPLITS.items():
        for index in range(count):
            image = draw(index).transpose(Image.Transpose.ROTATE_90)
            image.save(root / f"{split}2017/{index:03d}.jpg", quality=95, exif=oriented(image, 6))
            with Image.open(root / f"{split}2017/{index:03d}.jpg") as stored:
                assert ImageOps.exif_transpose(stored).size == (64, 48)


@tree(words=("data.exif=apply",))
def stored_turned_by_180_with_a_tag(root: Path) -> None:
    for split, count in SPLITS.items():
        for index in range(count):
            image = draw(index).transpose(Image.Transpose.ROTATE_180)
            image.save(root / f"{split}2017/{index:03d}.jpg", quality=95, exif=oriented(image, 3))


@tree()
def png_images_named_jpg(root: Path) -> None:
    for path in root.glob("*2017/*.jpg"):
        with Image.open(path) as image:
            image.load()
        image.save(path, format="PNG")


@tree()
def images_with_alpha_and_palette(root: Path) -> None:
    for index, path in enumerate(sorted(root.glob("*2017/*.jpg"))):
        with Image.open(path) as image:
            image.convert("RGBA" if index % 2 else "P").save(path, format="PNG")


def moved(root: Path, images: str, file: str) -> None:
    """Bring every split to other places; ``{}`` is the split."""
    for split in SPLITS:
        folder = root / images.format(split)
        folder.mkdir(parents=True, exist_ok=True)
        for path in (root / f"{split}2017").iterdir():
            path.rename(folder / path.name)
        (root / f"{split}2017").rmdir()
        target = root / file.format(split)
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / f"annotations/instances_{split}2017.json").rename(target)
    if not any((root / "annotations").iterdir()):
        (root / "annotations").rmdir()


@tree(says="_annotations.coco.json")
def layout_of_roboflow(root: Path) -> None:
    moved(root, "{}", "{}/_annotations.coco.json")
    (root / "val").rename(root / "valid")


@tree(says="_annotations.coco.json")
def layout_of_roboflow_with_its_parent_category(root: Path) -> None:
    """Category 0 names the project; no object has it."""
    in_json(root, lambda content: content["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"}))
    layout_of_roboflow(root)


@tree(says="train.json")
def layout_train_json(root: Path) -> None:
    moved(root, "{}", "{}.json")


@tree(says="train.json")
def layout_images_and_annotations(root: Path) -> None:
    moved(root, "images/{}", "annotations/{}.json")


@tree(says="instances_train.json")
def layout_instances_without_a_year(root: Path) -> None:
    moved(root, "{}", "annotations/instances_{}.json")


@tree(says="split")
def one_file_for_all(root: Path) -> None:
    images, annotations = [], []
    (root / "images").mkdir()
    for index in range(20):
        draw(index % 3).save(root / f"images/{index % 3:03d}_{index}.jpg".replace("_", f"-{index}-"), quality=95)
    content = json.loads((root / "annotations/instances_train2017.json").read_text())
    for index, path in enumerate(sorted((root / "images").iterdir())):
        scene = int(path.name[:3])
        images.append({"id": index, "file_name": path.name, "height": 48, "width": 64})
        for one in content["annotations"]:
            if one["image_id"] == 10 * scene + 5:
                annotations.append({**one, "id": len(annotations), "image_id": index})
    shutil.rmtree(root / "annotations")
    for split in SPLITS:
        shutil.rmtree(root / f"{split}2017")
    write_json(root / "annotations.json", {"images": images, "annotations": annotations, "categories": CATS})


@tree(1, "(annotation|json)")
def no_annotation_file_anywhere(root: Path) -> None:
    shutil.rmtree(root / "annotations")


@tree(1, "(not found|no folder|is no|not a folder|missing)")
def root_does_not_exist(root: Path) -> None:
    shutil.rmtree(root)


@entries(2, "num_classes", words=("data.num_classes=5",))
def wrong_number_of_classes(content: Content) -> None:
    """Nothing is changed: the command is wrong."""
