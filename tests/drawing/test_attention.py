"""Weights over an image: zeros keep the image, padding is shown beyond it, the brightest is the largest."""

import numpy as np
from PIL import Image

from visionattn.drawing.attention import Weights, draw_outline, draw_points, draw_table, draw_weights, plot_heads

GRAY = Image.new("RGB", (40, 40), (100, 100, 100))


def test_a_cell_of_weight_zero_keeps_the_image():
    values = np.zeros((4, 4))
    values[1, 2], values[1, 3] = 1.0, 0.25
    drawn = np.asarray(draw_weights(GRAY, Weights(values, 10.0), edge=80)).astype(int)
    assert drawn.shape == (80, 80, 3)
    assert (drawn[:20] == 100).all()
    assert (drawn[20:40, :40] == 100).all()
    assert drawn[30, 50].sum() > drawn[30, 70].sum()
    assert (drawn[40:] == 100).all()


def test_padding_is_shown_beyond_the_image():
    values, real = np.full((5, 6), 0.1), np.zeros((5, 6), bool)
    real[1:, :4] = True
    drawn = draw_weights(GRAY, Weights(values, 10.0, (-10.0, 0.0), real), edge=120)
    assert drawn.size == (120, 100)
    plain = draw_weights(GRAY, Weights(values, 10.0, (0.0, 0.0)), edge=120)
    assert plain.size == (120, 120)


def test_a_mask_has_one_color_and_a_token_a_frame():
    values = np.zeros((4, 4))
    values[0, :2] = [3.0, 1.0]
    drawn = np.asarray(draw_weights(GRAY, Weights(values, 10.0, flat=True), (20, 20, 30, 30), edge=40))
    assert (drawn[5, 5] == drawn[5, 15]).all()
    assert (drawn[5, 5] != 100).any()
    assert drawn[20, 25].tolist() == [64, 224, 255]


def test_points_tables_boxes_and_plots(tmp_path):
    assert draw_points(GRAY, [(0.0, 0.0), (1.0, 1.0)]).size == (480, 480)
    table = np.asarray(draw_table(np.array([[-2.0, 0.0, 2.0]]), 2.0)).astype(int)
    left, middle, right = table[0, 0], table[0, table.shape[1] // 2], table[0, -1]
    assert left[2] > left[0]
    assert right[0] > right[2]
    assert abs(middle - middle[0]).max() < 4
    assert np.asarray(draw_outline(GRAY, (5, 10, 20, 30)))[10, 12].tolist() == [64, 224, 255]
    plot_heads({"distance": [[1.0, 2.0], [3.0]], "entropy": [[1.0], []]}, ["s1.0", "s1.1"], tmp_path / "heads.png")
    assert (tmp_path / "heads.png").stat().st_size > 1000
