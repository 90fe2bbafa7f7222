"""Objects drawn on images."""

import numpy as np
from PIL import Image

from visionattn.drawing.detection import draw_objects
from visionattn.drawing.palette import class_color


def drawn(**options):
    mask = np.zeros((24, 32), np.uint8)
    mask[10:20, 8:24] = 1
    image = Image.new("RGB", (32, 24), (100, 100, 100))
    return draw_objects(image, np.array([[8.0, 10, 24, 20]]), [1], ["a", "b"], masks=[mask], **options)


def test_an_image_keeps_its_size_unless_it_is_to_be_enlarged():
    assert drawn().size == (32, 24)
    assert drawn(least_edge=32).size == (32, 24)
    assert drawn(least_edge=100, scores=[0.5]).size == (128, 96)


def test_box_and_mask_are_enlarged_together():
    pixels = np.asarray(drawn(least_edge=128)).astype(int)
    assert tuple(pixels[60, 32]) == class_color(1)
    inside = np.abs(pixels - (0.55 * 100 + 0.45 * np.array(class_color(1)))).max(2) < 1.5
    rows, columns = np.where(inside)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (41, 79, 33, 95)


def test_a_box_at_the_upper_edge_has_its_name_below():
    image = Image.new("RGB", (64, 48), (100, 100, 100))
    pixels = np.asarray(draw_objects(image, np.array([[10.0, 0, 50, 30]]), [0], ["cat"]))
    filled = (pixels == class_color(0)).all(-1)
    assert filled[33, 12:20].any()
    assert not filled[3, 12:40].any()
    assert (pixels[31:44, 11:26].min(-1) > 180).sum() > 15  # with its letters, white on blue


def test_an_inverted_box_is_drawn_as_a_line():
    image = Image.new("RGB", (64, 48), (100, 100, 100))
    pixels = np.asarray(draw_objects(image, np.array([[40.0, 30, 20, 10]]), [0], [""]))
    assert tuple(pixels[30, 40]) == class_color(0)
