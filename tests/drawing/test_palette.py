"""The colors of classes."""

import numpy as np
import pytest

from visionattn.drawing.palette import as_seen, class_color, is_background, palette, palette_of, text_color


def test_the_first_colors_are_those_of_okabe_and_ito():
    assert palette(2).tolist() == [[0, 114, 178], [230, 159, 0]]
    assert class_color(6) == (240, 228, 66)


@pytest.mark.parametrize("count", [1, 8, 65, 300])
def test_the_color_of_a_class_does_not_depend_on_their_number(count):
    assert palette(count).shape == (count, 3)
    assert np.array_equal(palette(count), palette(1203)[:count])


@pytest.mark.parametrize(("count", "everybody", "no_red", "no_green"), [(8, 0.15, 0.09, 0.07), (20, 0.12, 0.06, 0.06)])
def test_colors_are_told_apart_by_readers_who_see_few(count, everybody, no_red, no_green):
    seen = as_seen(palette(count))
    distances = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1) + 9 * np.eye(count)
    assert (distances.min((1, 2)) > (everybody, no_red, no_green)).all()


def test_a_thousand_classes_have_a_thousand_colors():
    assert len({tuple(color) for color in palette(1203).tolist()}) == 1203


def test_a_background_is_black_and_the_others_keep_their_colors():
    colors = palette_of(["Background", "cat", "dog"])
    assert colors.tolist() == [[0, 0, 0], list(class_color(1)), list(class_color(2))]
    assert palette_of(["cat", "background"])[1].tolist() == list(class_color(1))
    assert palette_of([]).shape == (0, 3)
    assert not is_background("backgrounds")


def test_text_is_black_on_light_colors_and_white_on_dark_ones():
    assert text_color((240, 228, 66)) == (0, 0, 0)
    assert text_color((0, 40, 120)) == (255, 255, 255)
