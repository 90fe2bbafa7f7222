"""Objects drawn on pictures."""

import numpy as np
from PIL import Image

from visionattn.drawing.detection import class_colour, draw_objects


def drawn(**options):
    mask = np.zeros((24, 32), np.uint8)
    mask[10:20, 8:24] = 1
    picture = Image.new("RGB", (32, 24), (100, 100, 100))
    return draw_objects(picture, np.array([[8.0, 10, 24, 20]]), [1], ["a", "b"], masks=[mask], **options)


def test_a_picture_keeps_its_size_unless_it_is_to_be_enlarged():
    assert drawn().size == (32, 24)
    assert drawn(least_edge=32).size == (32, 24)
    assert drawn(least_edge=100, scores=[0.5]).size == (128, 96)


def test_box_and_mask_are_enlarged_together():
    pixels = np.asarray(drawn(least_edge=128)).astype(int)
    assert tuple(pixels[60, 32]) == class_colour(1)
    inside = np.abs(pixels - (0.55 * 100 + 0.45 * np.array(class_colour(1)))).max(2) < 1.5
    rows, columns = np.where(inside)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (41, 79, 33, 95)
