"""Generated truths and detections in COCO's format: crowds, ties, empty images, missing classes, sparse ids."""

import numpy as np
from faster_coco_eval import mask as coco_mask

SIZE = (60, 80)
CATEGORIES = [{"id": i, "name": f"class {i}"} for i in (1, 5, 8, 90)]


def _ellipse(box, random):
    """uint8 (H, W), inside a box x y w h."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    left, top, width, height = box
    inside = ((x - left - width / 2) / width) ** 2 + ((y - top - height / 2) / height) ** 2 <= 0.25
    return (inside & (random.uniform(size=SIZE) < 0.97)).astype(np.uint8)


def _runs(mask):
    runs = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode()}


def _box(random):
    width, height = random.uniform(3, 45), random.uniform(3, 40)
    return [random.uniform(0, SIZE[1] - width), random.uniform(0, SIZE[0] - height), width, height]


def generated(seed, num_images=25, per_image=6):
    """(truth, results). Scores are rounded to one digit, so that many tie."""
    random = np.random.RandomState(seed)
    truth = {"images": [], "annotations": [], "categories": CATEGORIES}
    results = []
    for index in range(num_images):
        image_id = 7 * index + 3
        truth["images"].append({"id": image_id, "height": SIZE[0], "width": SIZE[1], "file_name": f"{image_id}.jpg"})
        for _ in range(0 if index % 5 == 0 else random.randint(1, per_image)):
            box, category = _box(random), int(random.choice([1, 5, 90]))
            mask = _ellipse(box, random)
            entry = {"id": len(truth["annotations"]) + 1, "image_id": image_id, "category_id": category}
            entry |= {"bbox": box, "area": float(mask.sum()), "iscrowd": int(random.uniform() < 0.12)}
            truth["annotations"].append(entry | {"segmentation": _runs(mask)})
            for _ in range(random.randint(0, 3)):
                moved = [v + random.normal(0, 2.5) for v in box[:2]] + [
                    max(v * random.uniform(0.8, 1.25), 1) for v in box[2:]
                ]
                results.append(_result(image_id, category, moved, random))
        for _ in range(random.randint(0, 3)):
            results.append(_result(image_id, int(random.choice([1, 5, 8, 90])), _box(random), random))
    return truth, results


def _result(image_id, category, box, random):
    score = round(float(random.uniform(0.05, 1)), 1)
    mask = _runs(_ellipse(box, random))
    return {"image_id": image_id, "category_id": category, "bbox": box, "score": score, "segmentation": mask}


def perfect(truth):
    """Detections that are the truth itself, crowds left out."""
    kept = ("image_id", "category_id", "bbox", "segmentation")
    return [{k: a[k] for k in kept} | {"score": 0.9} for a in truth["annotations"] if not a["iscrowd"]]
