"""Segments drawn on images."""

import numpy as np
from PIL import Image

from visionattn.drawing.palette import class_color
from visionattn.drawing.panoptic import draw_segments, segment_colors


def test_segments_of_one_class_differ_in_shade():
    colors = segment_colors([2, 2, 5])
    assert colors[0].tolist() == [0, 0, 0]
    assert tuple(colors[1]) == class_color(2)
    assert colors[2].tolist() == [round(0.72 * value) for value in class_color(2)]
    assert tuple(colors[3]) == class_color(5)


def test_segments_have_color_borders_and_names_and_the_rest_is_gray():
    ids = np.zeros((60, 80), np.int64)
    ids[10:50, 10:70] = 1
    image = Image.new("RGB", (80, 60), (120, 60, 30))
    pixels = np.asarray(draw_segments(image, ids, [0], ["a"])).astype(int)
    assert pixels[2, 2].tolist() == [35, 35, 35]
    expected = 0.4 * np.array([120, 60, 30]) + 0.6 * np.array(class_color(0))
    assert np.abs(pixels[15, 15] - expected).max() <= 0.5
    assert (pixels[9, 10:70] == 255).all()
    assert (pixels[25:35, 35:45] < 60).all(-1).any()  # a letter
    assert draw_segments(image, ids, [0], ["a"], least_edge=100).size == (160, 120)


def test_small_segments_get_no_name():
    ids = np.zeros((200, 200), np.int64)
    ids[100:104, 100:104] = 1
    image = Image.new("RGB", (200, 200))
    with_name, without = (np.asarray(draw_segments(image, ids, [0], [name])) for name in ("a", ""))
    assert np.array_equal(with_name, without)


def test_stuff_is_painted_more_lightly_and_without_its_score():
    ids = np.ones((60, 80), np.int64)
    image = Image.new("RGB", (80, 60), (120, 60, 30))
    stuff = {"things": [False], "least_edge": 0}
    plain, scored = (np.asarray(draw_segments(image, ids, [0], ["a"], scores=s, **stuff)) for s in (None, [0.9]))
    assert np.array_equal(plain, scored)
    expected = 0.6 * np.array([120, 60, 30]) + 0.4 * np.array(class_color(0))
    assert np.abs(plain[5, 5] - expected).max() <= 0.5
