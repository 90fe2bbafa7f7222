"""What a report tells of a segmentation."""

import math

import numpy as np
import pytest
from PIL import Image

from visionattn.data.classes import ClassInfo
from visionattn.tasks.segmentation.report import image_iou, map_sample

TARGET = np.array([[0, 0, 1], [1, 2, 255]])
PREDICTED = np.array([[0, 1, 1], [1, 1, 2]])


def test_the_iou_of_an_image_is_the_mean_over_its_classes():
    assert image_iou(PREDICTED, TARGET) == pytest.approx(100 * (1 / 2 + 2 / 4 + 0) / 3)
    assert image_iou(TARGET, TARGET) == 100
    assert math.isnan(image_iou(PREDICTED, np.full((2, 3), 255)))


def test_mistakes_leave_out_pixels_without_a_class():
    info = ClassInfo(["background", "cat", "dog"], palette=[[0, 0, 0], [230, 159, 0], [0, 158, 115]])
    sample = map_sample(Image.new("RGB", (3, 2)), PREDICTED, TARGET, 33.3, "a.jpg", info)
    target, prediction, mistakes = sample.layers
    assert target.regions.tolist() == [[0, 0, 2], [2, 3, 0]]  # the background and what has no class are clear
    assert prediction.regions.tolist() == [[0, 2, 2], [2, 2, 3]]
    assert mistakes.regions.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert [layer.shown for layer in sample.layers] == [False, True, False]
