"""Which class a detector says where."""

import math

import numpy as np

from visionattn.tasks.detection.confusion import confusion_matrix, f1_of, matched


def entry(image, box, category, **more):
    return {"image_id": image, "bbox": box, "category_id": category, **more}


def test_detections_take_the_object_that_they_share_most_with():
    objects = [
        entry(1, [0, 0, 10, 10], 5),
        entry(1, [20, 20, 10, 10], 7),
        entry(1, [50, 50, 20, 20], 7, iscrowd=1),
        entry(3, [0, 0, 5, 5], 7),
    ]
    results = [
        entry(1, [0, 0, 10, 10], 5, score=0.8),  # the object is taken by a surer one
        entry(1, [0, 0, 10, 9], 5, score=0.9),
        entry(1, [20, 20, 10, 10], 5, score=0.6),  # another class
        entry(1, [52, 52, 5, 5], 5, score=0.6),  # in a crowd
        entry(2, [52, 52, 5, 5], 7, score=0.6),
        entry(2, [52, 52, 5, 5], 7, score=0.4),  # not sure enough
    ]
    matrix = confusion_matrix({"annotations": objects}, results, [5, 7], score=0.5)
    assert matrix.tolist() == [[1, 0, 0], [1, 0, 1], [1, 1, 0]]


def test_without_detections_every_object_is_missed():
    assert confusion_matrix({"annotations": [entry(1, [0, 0, 1, 1], 5)]}, [], [5], 0.5).tolist() == [[0, 1], [0, 0]]
    assert confusion_matrix({"annotations": []}, [], [5], 0.5).sum() == 0


def test_an_image_is_as_good_as_its_detections():
    objects = [entry(1, [0, 0, 10, 10], 5), entry(1, [20, 20, 10, 10], 7), entry(2, [0, 0, 10, 10], 5)]
    results = [entry(1, [0, 0, 10, 10], 5, score=0.8), entry(1, [20, 20, 10, 10], 5, score=0.6)]
    pairs = matched({"annotations": objects}, results, 0.5)
    assert f1_of(pairs[1]) == 0.5  # of two objects and two detections, one pair has the right class
    assert f1_of(pairs[2]) == 0
    assert math.isnan(f1_of([]))


def test_many_images_at_once_are_as_one_at_a_time():
    random = np.random.default_rng(0)
    images = range(300)
    objects, results = [], []
    for image in images:
        for kind, count in ((objects, random.integers(0, 5)), (results, random.integers(0, 7))):
            for box in random.integers(1, 12, (count, 4)).tolist():
                more = {"score": round(float(random.random()), 1)} if kind is results else {"iscrowd": box[0] == 1}
                kind.append(entry(image, box, int(random.integers(5, 8)), **more))
    whole = matched({"annotations": objects}, results, 0.3, 0.3)
    for image in images:
        of_image = [[one for one in kind if one["image_id"] == image] for kind in (objects, results)]
        alone = matched({"annotations": of_image[0]}, of_image[1], 0.3, 0.3)
        assert alone.get(image, []) == whole.get(image, [])
