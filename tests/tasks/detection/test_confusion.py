"""Which class a detector says where."""

from visionattn.tasks.detection.confusion import confusion_matrix


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
