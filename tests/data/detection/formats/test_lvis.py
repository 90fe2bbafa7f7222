"""LVIS's files: images by their addresses, federated annotations up to the score."""

import json

import pytest

from tests.data.detection.formats.trees import SIZES, module, objects, picture
from visionattn.data.detection import Lvis
from visionattn.errors import DataError
from visionattn.tasks.detection.metric import CocoMetric


def lvis(root, folder="annotations", change=lambda content: None):
    for split in ("train", "val"):
        images, annotations = [], []
        for number, size in enumerate(SIZES, 1):
            place = "train2017" if number == 1 else f"{split}2017"  # LVIS validates on images of both
            picture(root / place / f"{number:012d}.jpg", size)
            address = f"http://images.cocodataset.org/{place}/{number:012d}.jpg"
            image = {"id": number, "height": size[0], "width": size[1], "coco_url": address}
            images.append(image | {"neg_category_ids": [9], "not_exhaustive_category_ids": []})
            box = [2.0, 3.0, 20.0, 10.0]
            polygon = [[2, 3, 22, 3, 22, 13, 2, 13]]
            annotations.append({"id": number, "image_id": number, "category_id": 4, "bbox": box, "area": 200.0})
            annotations[-1] |= {"segmentation": polygon}
        categories = [{"id": i, "name": n, "frequency": f} for i, n, f in ((9, "zebra", "r"), (4, "apple", "f"))]
        content = {"images": images, "annotations": annotations, "categories": categories}
        change(content)
        file = root / folder / f"lvis_v1_{split}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("folder", [".", "annotations", "lvis"])
def test_images_are_found_by_their_addresses(tmp_path, folder):
    source = Lvis(str(lvis(tmp_path, folder)))
    records = source.open("val")
    assert records.class_names == ["apple", "zebra"]
    assert records.ids[:2] == ["train2017/000000000001.jpg", "val2017/000000000002.jpg"]
    assert objects(records, 0) == [("apple", [2.0, 3.0, 22.0, 13.0])]
    assert records.image(1).shape == (3, *SIZES[1])
    facts = Lvis.inspect(tmp_path, {})
    assert (facts.num_classes, facts.class_names, facts.images) == (2, ("apple", "zebra"), {"train": 3, "val": 3})


def test_a_validation_is_scored_by_lvis_rules(tmp_path):
    data = module(Lvis(str(lvis(tmp_path))), 2)
    data.setup("fit")
    records = data.records("val")
    metric = CocoMetric(masks=False)
    results = [{"image_id": i, "category_id": 4, "bbox": [2, 3, 20, 10], "score": 0.5} for i in (1, 2, 3)]
    metric.update(results, [1, 2, 3], records.ids[:])
    figures = metric.compute(records)
    assert figures["box_ap"] == pytest.approx(100)
    assert figures["box_apf"] == pytest.approx(100)
    assert figures["box_apr"] == figures["box_apc"] == -1
    assert figures["box_ar300"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][0].pop("neg_category_ids"), "is no LVIS annotation file: .* take data=coco"),
        (lambda c: c["images"][0].pop("coco_url"), "image 1 has neither coco_url nor file_name"),
        (lambda c: c["categories"][0].pop("frequency"), "a category has no frequency r, c or f"),
    ],
)
def test_other_files_are_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        Lvis(str(lvis(tmp_path, change=change))).open("train")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"lvis_v1_train\.json is neither in .*holds nothing"):
        Lvis(str(tmp_path)).open("train")
