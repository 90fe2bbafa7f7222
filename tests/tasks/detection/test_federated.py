"""LVIS's rules, against a plain implementation of the official evaluation in this file."""

import copy

import numpy as np
import pytest

from visionattn.data.detection.masks import to_runs
from visionattn.tasks.detection.federated import best_per_image, is_federated, lvis_figures
from visionattn.tasks.detection.metric import CocoMetric

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
RANGES = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
FREQUENCY = {3: "r", 5: "c", 8: "f", 11: "f"}


def generated(seed: int, images: int = 12):
    """Objects and detections of four classes; not every image was looked at for every class."""
    random = np.random.RandomState(seed)
    truth = {"images": [], "annotations": [], "categories": []}
    truth["categories"] = [{"id": i, "name": str(i), "frequency": f} for i, f in FREQUENCY.items()]
    results = []
    for image_id in range(10, 10 + images):
        present = [i for i in FREQUENCY if random.rand() < 0.6]
        absent = [i for i in FREQUENCY if i not in present]
        entry = {"id": image_id, "height": 300, "width": 300, "file_name": f"{image_id}.jpg"}
        entry["neg_category_ids"] = [i for i in absent if random.rand() < 0.5]
        entry["not_exhaustive_category_ids"] = [i for i in present if random.rand() < 0.3]
        truth["images"].append(entry)
        for category in present:
            for _ in range(random.randint(1, 4)):
                box = [*random.randint(0, 150, 2).tolist(), *random.randint(8, 140, 2).tolist()]
                truth["annotations"].append(annotation(truth, image_id, category, box))
        for category in FREQUENCY:
            near = [
                a["bbox"] for a in truth["annotations"] if (a["image_id"], a["category_id"]) == (image_id, category)
            ]
            boxes = [np.add(box, random.randint(-6, 7, 4)).clip(1).tolist() for box in near * 2]
            boxes += [[*random.randint(0, 150, 2).tolist(), *random.randint(8, 140, 2).tolist()] for _ in range(3)]
            results += [detection(image_id, category, box, round(random.rand(), 1)) for box in boxes]
    return truth, results


def annotation(truth, image_id, category, box):
    number = len(truth["annotations"]) + 1
    x, y, w, h = box
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {"id": number, "image_id": image_id, "category_id": category, "bbox": box, "area": float(w * h)} | {
        "segmentation": [polygon]
    }


def detection(image_id, category, box, score):
    x, y, w, h = box
    polygon = [float(v) for v in (x, y, x + w, y, x + w, y + h, x, y + h)]
    return {
        "image_id": image_id,
        "category_id": category,
        "bbox": box,
        "score": score,
        "segmentation": to_runs([polygon], 300, 300),
    }


def overlap(one, other):
    (a, b, w, h), (c, d, u, v) = one, other
    across, down = min(a + w, c + u) - max(a, c), min(b + h, d + v) - max(b, d)
    inside = max(across, 0) * max(down, 0)
    return inside / (w * h + u * v - inside)


def mean(values):
    values = np.asarray(values)
    known = values[values > -1]
    return known.mean() if len(known) else -1.0


def plain(truth, results, most=300):
    """The official figures, one image, class, area and threshold at a time."""
    counted = []
    for image in truth["images"]:
        mine = [r for r in results if r["image_id"] == image["id"]]
        counted += sorted(mine, key=lambda r: r["score"], reverse=True)[:most]
    precision = -np.ones((10, 101, len(FREQUENCY), len(RANGES)))
    recall = -np.ones((10, len(FREQUENCY), len(RANGES)))
    for k, category in enumerate(sorted(FREQUENCY)):
        for a, area_range in enumerate(RANGES.values()):
            for t, threshold in enumerate(THRESHOLDS):
                found = of_class(truth, counted, category, area_range, threshold)
                if found is not None:
                    precision[t, :, k, a], recall[t, k, a] = found
    of = np.array([FREQUENCY[i] for i in sorted(FREQUENCY)])
    figures = {"ap": mean(precision[..., 0]), "ap50": mean(precision[0, ..., 0]), "ap75": mean(precision[5, ..., 0])}
    for a, size in enumerate(("small", "medium", "large"), 1):
        figures |= {f"ap_{size}": mean(precision[..., a]), f"ar_{size}": mean(recall[..., a])}
    figures |= {f"ap{letter}": mean(precision[:, :, of == letter, 0]) for letter in "rcf"}
    return figures | {"ar300": mean(recall[..., 0])}


def of_class(truth, counted, category, area_range, threshold):
    """Precision at the 101 recalls, and the recall; None where the class has no object of these areas."""
    scored, objects = [], 0
    for image in sorted(truth["images"], key=lambda image: image["id"]):
        own = [a for a in truth["annotations"] if (a["image_id"], a["category_id"]) == (image["id"], category)]
        if not own and category not in image["neg_category_ids"]:
            continue  # nobody looked for it here
        detected = [r for r in counted if (r["image_id"], r["category_id"]) == (image["id"], category)]
        detected.sort(key=lambda r: -r["score"])
        outside = [not area_range[0] <= a["area"] <= area_range[1] for a in own]
        order = sorted(range(len(own)), key=lambda i: outside[i])
        objects += len(own) - sum(outside)
        taken = set()
        for one in detected:
            best, at = min(threshold, 1 - 1e-10), None
            for i in order:
                if i in taken:
                    continue
                if at is not None and not outside[at] and outside[i]:
                    break
                if overlap(one["bbox"], own[i]["bbox"]) >= best:
                    best, at = overlap(one["bbox"], own[i]["bbox"]), i
            if at is not None:
                taken.add(at)
                ignored = outside[at]
            else:
                area = one["bbox"][2] * one["bbox"][3]
                ignored = not area_range[0] <= area <= area_range[1]
                ignored |= category in image["not_exhaustive_category_ids"]
            if not ignored:
                scored.append((one["score"], at is not None))
    if not objects:
        return None
    right = np.array([hit for _, hit in sorted(scored, key=lambda pair: -pair[0])], float)
    hits, misses = np.cumsum(right), np.cumsum(1 - right)
    reached, exact = hits / objects, hits / (hits + misses + np.spacing(1))
    envelope = np.maximum.accumulate(exact[::-1])[::-1]
    at_recall = [envelope[reached >= r][0] if (reached >= r).any() else 0.0 for r in RECALLS]
    return at_recall, reached[-1] if len(reached) else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_the_official_figures(seed):
    truth, results = generated(seed)
    assert any(image["not_exhaustive_category_ids"] for image in truth["images"])
    expected = plain(truth, results)
    boxes, classes = lvis_figures(truth, results, "bbox")
    assert boxes.keys() == expected.keys()
    for name, value in expected.items():
        assert boxes[name] == pytest.approx(value, abs=1e-12), name
    assert len(classes) == 4
    masks, _ = lvis_figures(truth, results, "segm")  # masks that fill their boxes score as these do
    for name, value in expected.items():
        assert masks[name] == pytest.approx(value, abs=1e-12), name


def test_recorded_figures():
    """A small case whose figures, by the official lvis 0.5.3 too, stand here as numbers."""
    truth, results = generated(0)
    figures, _ = lvis_figures(truth, results, "bbox")
    assert {name: round(100 * value, 4) for name, value in figures.items()} == {
        "ap": 28.3235,
        "ap50": 48.4786,
        "ap75": 28.7427,
        "ap_small": 15.1994,
        "ap_medium": 25.8123,
        "ap_large": 60.3564,
        "apr": 23.2308,
        "apc": 25.5559,
        "apf": 32.2536,
        "ar300": 67.4206,
        "ar_small": 18.125,
        "ar_medium": 67.6506,
        "ar_large": 85.7917,
    }


def one_image(**more):
    truth, _ = generated(0, images=0)
    truth["images"] = [
        {"id": 1, "height": 300, "width": 300, "neg_category_ids": [], "not_exhaustive_category_ids": []}
    ]
    truth["images"][0] |= more
    truth["annotations"] = [annotation(truth, 1, 3, [10, 10, 50, 50])]
    return truth


HIT, MISS = detection(1, 3, [10, 10, 50, 50], 0.5), detection(1, 3, [150, 150, 50, 50], 0.9)


def test_a_class_that_nobody_looked_for_is_not_wrong():
    other = detection(1, 5, [10, 10, 50, 50], 0.9)
    assert lvis_figures(one_image(), [HIT, other], "bbox")[0]["ap"] == pytest.approx(1)
    assert lvis_figures(one_image(neg_category_ids=[5]), [HIT, other], "bbox")[0]["apc"] == -1
    assert lvis_figures(one_image(), [HIT, MISS], "bbox")[0]["ap"] == pytest.approx(0.5)


def test_a_class_that_is_not_annotated_exhaustively_has_no_false_positives():
    truth = one_image(not_exhaustive_category_ids=[3])
    assert lvis_figures(truth, [HIT, MISS], "bbox")[0]["ap"] == pytest.approx(1)


def test_300_detections_of_an_image_count_whatever_their_classes():
    crowd = [detection(1, 8, [i % 100, i // 100, 20, 20], 0.9) for i in range(300)]
    assert lvis_figures(one_image(), [HIT, *crowd[:299]], "bbox")[0]["apr"] == pytest.approx(1)
    assert lvis_figures(one_image(), [HIT, *crowd], "bbox")[0]["apr"] == 0
    assert len(best_per_image([HIT, *crowd])) == 300


def test_the_annotations_themselves_choose_the_rules():
    truth, results = generated(1)
    assert is_federated(truth)

    class Records:
        def ground_truth(self, image_ids, masks):
            return truth

    metric = CocoMetric(masks=False)
    metric.update(
        results, [image["id"] for image in truth["images"]], [image["file_name"] for image in truth["images"]]
    )
    figures = metric.compute(Records())
    expected = plain(truth, results)
    assert figures == {f"box_{name}": pytest.approx(100 * v if v >= 0 else -1) for name, v in expected.items()}
    plain_coco = copy.deepcopy(truth)
    for image in plain_coco["images"]:
        del image["neg_category_ids"]
    assert not is_federated(plain_coco)
