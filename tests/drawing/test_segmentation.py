"""Class maps drawn on images."""

import numpy as np
from PIL import Image

from visionattn.drawing.canvas import with_legend
from visionattn.drawing.segmentation import draw_classes, legend_of, overlay, palette_image

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


def test_a_background_stays_as_it_is_and_has_no_entry_in_the_legend():
    image = Image.fromarray(np.full((10, 20, 3), (90, 60, 30), np.uint8))
    classes = np.zeros((10, 20), np.uint8)
    classes[:, 10:] = 1
    drawn = np.asarray(draw_classes(image, classes, PALETTE, ["background", "cat"]))
    assert drawn[5, 5].tolist() == [90, 60, 30]
    assert drawn[5, 15].tolist() == [36, 84, 12]
    assert legend_of([classes], PALETTE, ["background", "cat"]) == [("cat", [0, 100, 0])]
    assert [name for name, _ in legend_of([classes, classes[:, 9:]], PALETTE, ["wall", "cat"])] == ["cat", "wall"]


def test_a_small_image_is_enlarged_with_its_classes():
    image = Image.new("RGB", (14, 10))
    classes = np.eye(10, 14, dtype=np.uint8)
    drawn = draw_classes(image, classes, PALETTE, ["background", "cat"], least_edge=640)
    assert drawn.height == 46 * 10
    pixels = np.asarray(drawn)[:, : 46 * 14]
    assert (pixels[23::46, 23::46].any(-1) == classes).all()


def test_the_legend_has_a_patch_for_each_entry_and_leaves_the_image_as_it_is():
    image = Image.new("RGB", (20, 10), (1, 2, 3))
    sheet = with_legend(image, [("sky", PALETTE[0]), ("tree", PALETTE[1])])
    assert sheet.size[1] == 2 * 18 + 12
    assert sheet.crop((0, 0, 20, 10)).tobytes() == image.tobytes()
    assert sheet.getpixel((32, 12)) == (200, 0, 0)
    assert sheet.getpixel((32, 30)) == (0, 100, 0)
