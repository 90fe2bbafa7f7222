"""Class maps drawn on images."""

import numpy as np
from PIL import Image

from visionattn.drawing.segmentation import overlay, palette_image, with_legend

PALETTE = np.array([[200, 0, 0], [0, 100, 0]], np.uint8)


def test_classes_are_in_color_and_other_pixels_gray():
    image = np.full((1, 3, 3), (90, 60, 30), np.uint8)
    mixed = overlay(image, np.array([[0, 1, 255]]), PALETTE, alpha=0.5)
    assert mixed.tolist() == [[[145, 30, 15], [45, 80, 15], [30, 30, 30]]]


def test_the_stored_values_of_a_palette_image_are_the_classes(tmp_path):
    palette_image(np.array([[0, 1], [1, 255]]), PALETTE).save(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as stored:
        assert np.asarray(stored).tolist() == [[0, 1], [1, 255]]
        assert stored.convert("RGB").getpixel((1, 0)) == (0, 100, 0)


def test_the_legend_has_a_patch_for_each_entry_and_leaves_the_image_as_it_is():
    image = Image.new("RGB", (20, 10), (1, 2, 3))
    sheet = with_legend(image, [("sky", PALETTE[0]), ("tree", PALETTE[1])])
    assert sheet.size[1] == 2 * 18 + 12
    assert sheet.crop((0, 0, 20, 10)).tobytes() == image.tobytes()
    assert sheet.getpixel((32, 12)) == (200, 0, 0)
    assert sheet.getpixel((32, 30)) == (0, 100, 0)
    assert with_legend(image, []) is image
