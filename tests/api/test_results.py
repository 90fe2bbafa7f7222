"""Results read what the tasks predict: every field, for a prediction that is known."""

import json

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as run_lengths
from PIL import Image

from visionattn.api.results import (
    ClassificationResult,
    DetectionResult,
    PanopticResult,
    SegmentationResult,
    result_of,
)
from visionattn.api.several import Results
from visionattn.data.classes import ClassInfo
from visionattn.data.user_images import UserImage
from visionattn.heads.panoptic.postprocess import Segments
from visionattn.tasks.classification.predict import top_classes
from visionattn.tasks.detection.predict import predicted_detections
from visionattn.tasks.panoptic.predict import predicted_segments
from visionattn.tasks.segmentation.predict import predicted_classes

WIDTH, HEIGHT = 40, 30
IMAGE = Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 30))
INFO = ClassInfo(names=["cat", "dog", "sky"], ids=[7, 9, 11], things=[True, True, False])


def result(predicted):
    return result_of(UserImage("a.png", "a.png", bytes), (WIDTH, HEIGHT), predicted, INFO)


def detections(masks=True):
    found = {
        "boxes": torch.tensor([[4.0, 5.0, 14.0, 25.0], [20.0, 0.0, 40.0, 10.0]]),
        "scores": torch.tensor([0.9, 0.6]),
        "labels": torch.tensor([1, 0]),
    }
    return result(predicted_detections(IMAGE, found | ({"masks": torch.ones(2, 1, 28, 28)} if masks else {}), INFO))


def classes():
    array = np.full((HEIGHT, WIDTH), 2)
    array[:10] = 0
    return array


def segments():
    ids = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    ids[:10], ids[15:, 8:12] = 1, 2
    found = Segments(ids, torch.tensor([2, 1]), torch.tensor([0.8, 0.7]))
    return result(predicted_segments(IMAGE, found, INFO))


def test_classification():
    one = result(top_classes(IMAGE, torch.tensor([0.2, 0.7, 0.1]), INFO.names, 2))
    assert isinstance(one, ClassificationResult)
    assert (one.label, one.labels, one.class_ids.tolist()) == ("dog", ["dog", "cat"], [1, 0])
    assert one.score == pytest.approx(0.7)
    assert one.scores.dtype == np.float32
    assert set(one.arrays()) == {"class_id", "confidence"}
    with pytest.raises(TypeError, match="COCO has no format"):
        one.to_coco()


def test_detection():
    one = detections()
    assert isinstance(one, DetectionResult)
    assert one.labels == ["dog", "cat"]
    assert one.class_ids.tolist() == [1, 0]
    assert one.boxes.tolist() == [[4, 5, 14, 25], [20, 0, 40, 10]]
    assert one.masks.shape == (2, HEIGHT, WIDTH)
    assert one.masks[0, 10, 10]
    assert not one.masks[0, 0, 0]
    assert [(line["image_id"], line["category_id"], line["bbox"]) for line in one.to_coco(3)] == [
        (3, 9, [4, 5, 10, 20]),
        (3, 7, [20, 0, 20, 10]),
    ]
    assert set(one.arrays()) == {"xyxy", "mask", "confidence", "class_id", "data"}


def test_detection_without_masks_and_without_objects():
    assert detections(masks=False).masks is None
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
    empty = result(predicted_detections(IMAGE, nothing, INFO))
    assert empty.boxes.shape == (0, 4)
    assert empty.labels == []
    assert empty.to_coco() == []
    assert empty.draw().width >= WIDTH


def test_segmentation():
    palette = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8)
    one = result(predicted_classes(IMAGE, classes(), INFO.names, palette))
    assert isinstance(one, SegmentationResult)
    assert np.array_equal(one.classes, classes())
    assert one.labels == ["sky", "cat"]
    assert one.shares["cat"] == pytest.approx(1 / 3)
    assert np.array_equal(one.masks[1], classes() == 0)
    coded = one.to_coco(2)
    assert [line["category_id"] for line in coded] == [11, 7]
    assert np.array_equal(run_lengths.decode(coded[1]["segmentation"]), classes() == 0)
    assert one.arrays()["xyxy"].tolist() == [[0, 10, WIDTH, HEIGHT], [0, 0, WIDTH, 10]]


def test_panoptic():
    one = segments()
    assert isinstance(one, PanopticResult)
    assert one.labels == ["sky", "dog"]
    assert one.class_ids.tolist() == [2, 1]
    assert one.masks[0, :10].all()
    assert one.masks.sum() == 10 * WIDTH + 15 * 4
    assert one.arrays()["xyxy"].tolist() == [[0, 0, WIDTH, 10], [8, 15, 12, HEIGHT]]
    (entry,) = one.to_coco(4)
    assert entry["image_id"] == 4
    assert [part["category_id"] for part in entry["segments_info"]] == [11, 9]


def test_supervision_takes_the_arrays():
    supervision = pytest.importorskip("supervision")
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
    empty = result(predicted_detections(IMAGE, nothing, INFO))
    semantic = result(predicted_classes(IMAGE, classes(), INFO.names, np.zeros((3, 3), np.uint8)))
    for one in (detections(), detections(masks=False), semantic, segments(), empty):
        taken = supervision.Detections(**one.arrays())
        assert len(taken) == len(one.labels)
        assert list(taken["class_name"]) == one.labels
        assert len(supervision.Detections.merge([taken, taken])) == 2 * len(one.labels)
        drawn = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        supervision.BoxAnnotator().annotate(drawn, taken)
        assert drawn.any() == bool(one.labels)
    top = result(top_classes(IMAGE, torch.tensor([0.2, 0.7, 0.1]), INFO.names, 2))
    assert supervision.Classifications(**top.arrays()).get_top_k(1)[0].tolist() == [1]


@pytest.mark.parametrize("one", [detections(), segments()], ids=["detection", "panoptic"])
def test_every_result_is_drawn_and_written(one):
    assert one.draw().mode == "RGB"
    said = json.loads(one.to_json())
    assert said["image"] == "a.png"
    assert said["size"] == [WIDTH, HEIGHT]
    assert said == one.to_dict()


def test_several_results_are_one_file_of_coco():
    both = Results([detections(), detections()], None, "nowhere", {})
    assert [line["image_id"] for line in both.to_coco()] == [1, 1, 2, 2]
    assert len(json.loads(both.to_json())) == 2
