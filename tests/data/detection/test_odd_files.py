"""COCO files as other tools write them: what can be mended is, and told, and a perfect prediction scores 100."""

import json

import numpy as np
import pytest
import torch

from tests.data.detection.test_module import module, note, tree
from visionattn.data.detection import Coco
from visionattn.data.detection.masks import draw, encode
from visionattn.errors import DataError
from visionattn.tasks.detection.average_precision import coco_figures

BOXES = {"0.jpg": [([2, 2, 10, 7], "dog"), ([1, 1, 5, 5], "cup")], "1.jpg": [([3, 4, 8, 9], "car")]}
MASK = {"size": [20, 24], "counts": [0, 480]}


def polygon(box):
    x, y, width, height = (float(value) for value in box)
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def standard(folder):
    """A healthy set: three images, three objects; category ids 3, 7 and 90."""
    number = {"car": 3, "dog": 7, "cup": 90}
    notes = [
        note(100 + int(name[0]), number[kind], box, polygon(box), area=float(box[2] * box[3]))
        for name, objects in BOXES.items()
        for box, kind in objects
    ]
    return tree(folder, notes)


def change(root, edit, encoding="utf-8"):
    """Change the files of both splits."""
    for split in ("train", "val"):
        file = root / "annotations" / f"instances_{split}2017.json"
        content = json.loads(file.read_text())
        edit(content)
        file.write_bytes(json.dumps(content).encode(encoding))
    return root


def perfect(records, masks=True):
    """Detections of every object that was drawn, in the numbers of the records."""
    number = dict(zip(records.ids[:], records.annotations.image_ids.tolist(), strict=True))
    category = dict(zip(records.class_names, records.category_ids, strict=True))
    results = []
    for name, objects in BOXES.items():
        size = records.size(records.ids[:].index(name))
        for box, kind in objects:
            found = {"image_id": number[name], "category_id": category[kind], "bbox": list(map(float, box))}
            found |= {"score": 0.9, "segmentation": encode(draw([polygon(box)], *size))[0]} if masks else {"score": 0.9}
            results.append(found)
    return results


def scores(records, masks=True):
    truth = records.ground_truth(records.annotations.image_ids.tolist(), masks)
    kinds = ("bbox", "segm") if masks else ("bbox",)
    return [round(100 * coco_figures(truth, perfect(records, masks), kind)[0][0], 9) for kind in kinds]


def every(kind, **values):
    """Set keys of all entries of a list; a value may be a function of the entry."""

    def edit(content):
        for entry in content[kind]:
            for key, value in values.items():
                entry[key] = value(entry) if callable(value) else value

    return edit


def without(kind, *keys):
    def edit(content):
        for entry in content[kind]:
            for key in keys:
                entry.pop(key)

    return edit


def ids_as(kind, key, convert):
    def edit(content):
        for entry in content[kind]:
            entry["id"] = convert(entry["id"])
        for entry in content["annotations"]:
            entry[key] = convert(entry[key])

    return edit


def uuid(number):
    return f"6f9619ff-8b86-d011-b42d-{number:012d}"


def both(*edits):
    def edit(content):
        for one in edits:
            one(content)

    return edit


def null_entries(content):
    for kind in ("images", "categories", "annotations"):
        content[kind].append(None)


def stray_parts(content):
    content["annotations"][0]["segmentation"] += [[1.0, 1.0], [1.0, 1.0, 2.0, 2.0], []]


def listed_twice(content):
    content["images"].append(dict(content["images"][0]))
    content["categories"].append(dict(content["categories"][0]))


def flat(content):
    for entry in content["annotations"]:
        entry["segmentation"] = entry["segmentation"][0]


def pairs(content):
    for entry in content["annotations"]:
        (part,) = entry["segmentation"]
        entry["segmentation"] = [[part[i : i + 2] for i in range(0, len(part), 2)]]


def float_runs(content):
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for entry in content["annotations"]:
        height, width = sizes[entry["image_id"]]
        mask = draw([entry["segmentation"]], height, width)[0].T.reshape(-1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask, [1 - mask[-1]]])))
        counts = np.diff(np.concatenate([[0], edges])).astype(float).tolist()
        entry["segmentation"] = {"size": [float(height), float(width)], "counts": counts}


def grouped(content):
    """Roboflow's first category, which stands above the others and which no object has."""
    for entry in content["categories"]:
        entry["supercategory"] = "things"
    content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})


MENDED = {
    "names of another machine": (every("images", file_name=lambda i: "/a/b/" + i["file_name"]), "of another machine"),
    "names of Windows": (every("images", file_name=lambda i: "C:\\a\\" + i["file_name"]), "of another machine"),
    "Roboflow's group": (grouped, "categories that only group the others"),
    "annotation ids from 0": (every("annotations", id=lambda a: a["id"] - 1), ""),
    "annotation ids all 0": (every("annotations", id=0), "id is missing or occurs twice"),
    "annotation ids absent": (without("annotations", "id"), "id is missing or occurs twice"),
    "image ids from 0": (ids_as("images", "image_id", lambda n: n - 100), ""),
    "image ids negative": (ids_as("images", "image_id", lambda n: -n), ""),
    "image ids text": (ids_as("images", "image_id", str), ""),
    "image ids uuid": (ids_as("images", "image_id", uuid), ""),
    "image ids floats": (ids_as("images", "image_id", float), ""),
    "image ids beyond 63 bits": (ids_as("images", "image_id", lambda n: 2**70 + n), ""),
    "image_id text, ids numbers": (every("annotations", image_id=lambda a: str(a["image_id"])), "of another type"),
    "category ids from 0": (ids_as("categories", "category_id", lambda n: n // 4), ""),
    "category ids text": (ids_as("categories", "category_id", str), ""),
    "category ids uuid": (ids_as("categories", "category_id", uuid), ""),
    "category ids floats": (ids_as("categories", "category_id", float), ""),
    "category ids beyond 63 bits": (ids_as("categories", "category_id", lambda n: 2**64 + n), ""),
    "sizes absent": (without("images", "height", "width"), "read from the image files"),
    "sizes null": (every("images", height=None, width=0), "read from the image files"),
    "sizes text": (
        every("images", height=lambda i: str(i["height"]), width=lambda i: float(i["width"])),
        "sizes that are no whole numbers",
    ),
    "iscrowd null": (every("annotations", iscrowd=None), "iscrowd values"),
    "iscrowd text": (every("annotations", iscrowd="0"), "iscrowd values"),
    "iscrowd false": (every("annotations", iscrowd=False), ""),
    "iscrowd absent": (without("annotations", "iscrowd"), ""),
    "area null": (every("annotations", area=None), "areas that are missing"),
    "area absent": (without("annotations", "area"), "areas that are missing"),
    "area text": (every("annotations", area=lambda a: str(a["area"])), "areas that are written as text"),
    "boxes text": (every("annotations", bbox=lambda a: ", ".join(map(str, a["bbox"]))), "written as text"),
    "boxes of text": (every("annotations", bbox=lambda a: list(map(str, a["bbox"]))), "written as text"),
    "boxes absent": (without("annotations", "bbox"), "boxes that are missing"),
    "null entries": (null_entries, "categories without an id"),
    "stray parts": (stray_parts, "parts of polygons with less than three points"),
    "float run lengths": (float_runs, "run lengths that are no integers"),
    "flat polygons": (flat, "not in a list of parts"),
    "polygons of pairs": (pairs, "points are pairs"),
    "segmentation text": (every("annotations", segmentation=lambda a: json.dumps(a["segmentation"])), ""),
    "listed twice": (listed_twice, "listed twice"),
}


@pytest.mark.parametrize("name", MENDED)
def test_a_perfect_prediction_scores_100_on_every_odd_file(tmp_path, name):
    edit, told = MENDED[name]
    records = Coco(str(change(standard(tmp_path / "t"), edit))).open("val")
    assert told in str(records.annotations.repaired)
    if not told:
        assert not records.annotations.repaired.counts
    assert len(records.labels) == 3
    assert records.annotations.has_mask.all()
    assert scores(records) == [100.0, 100.0]
    areas = [
        entry["area"] for entry in records.ground_truth(records.annotations.image_ids.tolist(), True)["annotations"]
    ]
    assert areas == [70.0, 25.0, 72.0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_files_in_other_encodings(tmp_path, encoding):
    records = Coco(str(change(standard(tmp_path / "t"), lambda content: None, encoding))).open("val")
    assert scores(records) == [100.0, 100.0]


def test_names_that_are_no_text_become_text(tmp_path):
    def edit(content):
        content["categories"][0]["name"] = 7
        del content["categories"][1]["name"]
        for image in content["images"]:
            image["file_name"] = int(image["file_name"][0])

    root = change(standard(tmp_path / "t"), edit)
    records = Coco(str(root)).open("train")
    assert records.class_names == ["category 3", "dog", "7"]
    assert records.ids[:] == ["0", "1", "2"]
    assert len(records.annotations.repaired.counts) == 3


LEFT_OUT = {
    "no file_name": (without("images", "file_name"), "images without a file_name"),
    "no image id": (without("images", "id"), "images without an id"),
    "ids that are lists": (every("images", id=[1]), "images without an id"),
    "one id for all": (every("images", id=100), "images that share their id with another image"),
    "boxes of words": (every("annotations", bbox="here"), "3 boxes that are not four numbers"),
    "a category of no kind": (every("annotations", category_id={}), "3 unknown categories"),
    "null annotations": (lambda c: c.update(annotations=[None] * 4), "4 entries of annotations that are no objects"),
    "one point for each": (every("annotations", bbox=[0, 0, 0, 0]), "3 boxes without width or height"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_one_field_wrong_everywhere_stops_with_the_counted_reason(tmp_path, name):
    edit, reason = LEFT_OUT[name]
    root = change(standard(tmp_path / "t"), edit)
    with pytest.raises(DataError) as raised:
        module(root, source={"empty_images": False}).setup("fit")
    assert reason in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_more_than_the_budget_left_out_stops_and_less_is_told(tmp_path, capsys):
    def edit(content):
        content["annotations"][0]["category_id"] = 4711

    root = change(standard(tmp_path / "t"), edit)
    with pytest.raises(DataError, match=r"1 of the 3 train annotations .*left_out_budget=0.3 .*1 unknown categories"):
        module(root).setup("fit")
    data = module(root, left_out_budget=0.5)
    data.setup("fit")
    assert "train: excluded annotations: 1 unknown categories" in capsys.readouterr().err


def test_a_size_that_no_file_tells_leaves_the_image_out(tmp_path):
    root = change(standard(tmp_path / "t"), without("images", "height"))
    (root / "val2017" / "0.jpg").unlink()
    notes = Coco(str(root)).open("val").annotations
    assert len(notes.names) == 2
    assert notes.dropped.counts == {
        "images without height and width, whose file cannot be read": 1,
        "annotations of images that are left out": 2,
    }


def test_a_mask_that_is_wrong_leaves_its_box_and_is_neither_found_nor_missed(tmp_path):
    def edit(content):
        content["annotations"][0]["segmentation"] = {"size": [5, 5], "counts": [25]}

    records = Coco(str(change(standard(tmp_path / "t"), edit))).open("val")
    target = records.objects(0)
    assert target["has_mask"].tolist() == [False, True]
    assert "has_mask" not in records.objects(1)
    assert scores(records) == [100.0, 100.0]


def test_boxes_without_masks_train_a_head_for_boxes_and_no_other(tmp_path):
    root = change(standard(tmp_path / "t"), without("annotations", "segmentation"))
    data = module(root)
    data.setup("fit")
    data.require_masks(False)
    assert "masks" not in data.dataset(data.records("train"), data.train_transform, True)[0, 0].target
    assert scores(data.records("val"), masks=False) == [100.0]
    with pytest.raises(DataError, match=r"none of the 3 objects has a mask, .* head=faster_rcnn"):
        data.require_masks(True)


def test_objects_without_a_mask_pass_through_the_transforms(tmp_path):
    def edit(content):
        del content["annotations"][0]["segmentation"]

    data = module(change(standard(tmp_path / "t"), edit), left_out_budget=0.5, copy_paste=1.0)
    data.setup("fit")
    data.require_masks(True)
    dataset = data.dataset(data.records("train"), data.train_transform, True)
    torch.manual_seed(0)
    targets = [dataset[epoch, 0].target for epoch in range(4)]
    for target in targets:
        assert len(target["has_mask"]) == len(target["masks"]) == len(target["boxes"]) == len(target["labels"])
        row = int((~target["has_mask"]).nonzero()[0])
        assert not target["masks"][row].any()
        assert (target["boxes"][row, 2:] - target["boxes"][row, :2] > 5).all()


def test_predictions_keep_the_ids_of_the_file(tmp_path):
    from visionattn.tasks.detection.observer import write_submission

    edit = both(ids_as("images", "image_id", uuid), ids_as("categories", "category_id", str))
    records = Coco(str(change(standard(tmp_path / "t"), edit))).open("val")
    file = tmp_path / "detections.json"
    write_submission(file, perfect(records), records)
    written = json.loads(file.read_text())
    assert [(one["image_id"], one["category_id"]) for one in written] == [
        (uuid(100), "7"),
        (uuid(100), "90"),
        (uuid(101), "3"),
    ]


def test_categories_that_differ_are_named(tmp_path):
    root = standard(tmp_path / "t")
    file = root / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "mug"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"cup \(id 90\) only in train, mug \(id 90\) only in val"):
        module(root).setup("fit")
    with pytest.raises(DataError, match=r"there is no split 'foo'; .* has train, val"):
        Coco(str(root)).open("foo")


def test_a_category_above_the_others_that_objects_have_is_a_class(tmp_path):
    def edit(content):
        grouped(content)
        content["annotations"][0]["category_id"] = 0

    assert Coco(str(change(standard(tmp_path / "t"), edit))).open("train").class_names == [
        "things",
        "car",
        "dog",
        "cup",
    ]


def test_categories_of_one_name_and_other_ids_of_the_same_names_are_told(tmp_path, capsys):
    root = change(standard(tmp_path / "t"), every("categories", name="cup"))
    module(root).setup("fit")
    assert "one name are learned as different classes: 'cup' (ids 3 and 7 and 90)" in capsys.readouterr().err
    root = standard(tmp_path / "u")
    file = root / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    ids_as("categories", "category_id", lambda n: n + 1)(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="their names are the same: give each the same id in both files"):
        module(root).setup("fit")


@pytest.mark.parametrize(("bare", "masks"), [(0, True), (2, False)])
def test_masks_are_inferred_where_most_objects_have_one(tmp_path, bare, masks):
    def edit(content):
        for annotation in content["annotations"][:bare]:
            del annotation["segmentation"]

    facts = Coco.inspect(change(standard(tmp_path / "t"), edit), {})
    assert (facts.options["masks"], any("boxes alone are learned" in note for note in facts.notes)) == (
        masks,
        not masks,
    )


def test_a_test_split_that_is_named_is_the_one_that_is_read(tmp_path):
    root = standard(tmp_path / "t")
    names = {"train": "annotations/instances_train2017.json", "val": "annotations/instances_val2017.json"}
    (root / "annotations" / "held_out.json").write_text("{}")
    source = Coco(
        str(root),
        annotations=names | {"test": "annotations/held_out.json"},
        images=dict.fromkeys(("train", "val", "test"), "val2017"),
    )
    with pytest.raises(DataError, match=r"held_out.json is not a COCO annotation file"):
        source.open("test")
