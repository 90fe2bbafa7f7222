"""Names on pictures: where they stand, and in which characters; legends and sheets."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from visionattn.drawing.canvas import Labels, enlarged_map, enlargement, sheet_of, text_size, with_legend
from visionattn.drawing.text import drawable, for_plot, readable, shortened

RED = (200, 0, 0)


def labels(width=200, height=100):
    return Image.new("RGB", (width, height), (90, 90, 90)), Labels((width, height))


@pytest.mark.parametrize(("size", "times"), [((140, 100), 5), ((640, 10), 1), ((639, 1), 2), ((3, 2), 214)])
def test_small_images_are_enlarged_a_whole_number_of_times(size, times):
    assert enlargement(size, 640) == times


def test_every_pixel_of_a_map_is_repeated():
    assert enlarged_map(np.array([[1, 2]]), 2).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


@pytest.mark.parametrize(
    ("box", "side"),
    [
        ((50, 40, 120, 80), "above"),
        ((50, 0, 120, 60), "below"),
        ((0, 0, 200, 100), "inside"),
        ((190, 40, 199, 60), "above"),
    ],
)
def test_a_name_stands_outside_its_box_where_there_is_room_and_is_never_cut(box, side):
    image, writer = labels()
    writer.beside(box, "a cat 97", RED)
    (left, top, right, bottom) = writer.taken[0]
    assert 0 <= left < right <= 200
    assert 0 <= top < bottom <= 100
    assert {"above": bottom <= box[1], "below": top >= box[3], "inside": top == 0}[side]
    writer.draw(ImageDraw.Draw(image))
    filled = np.argwhere((np.asarray(image) == RED).all(-1))
    assert filled.min(0).tolist() == [top, left]
    assert filled.max(0).tolist() == [bottom - 1, right - 1]


def test_names_of_boxes_at_one_place_do_not_cover_each_other():
    _, writer = labels()
    for _ in range(4):
        writer.beside((60, 30, 130, 70), "a cat", RED)
    plates = writer.taken
    for i, one in enumerate(plates):
        for other in plates[:i]:
            assert min(one[2], other[2]) <= max(one[0], other[0]) or min(one[3], other[3]) <= max(one[1], other[1])


def test_a_name_wider_than_the_image_is_written_smaller_and_then_shortened():
    _, writer = labels(60, 60)
    writer.at((30, 30), "a class with a name as long as a sentence", RED)
    left, _, right, _ = writer.taken[0]
    assert 40 < right - left <= 60


def test_names_grow_with_the_image():
    assert [text_size(size) for size in ((100, 80), (960, 700), (6000, 10))] == [9, 20, 40]


def test_names_without_a_font_become_the_number_of_their_class():
    assert drawable(["Äpfel", "жук", "\U0010fffd", "two\nlines\t"]) == ["Äpfel", "жук", "class 2", "two lines"]
    assert readable("a\U0010fffdb") == "a?b"


def test_long_names_keep_their_ends():
    assert shortened("abcdefgh", 5) == "ab…gh"
    assert shortened("abc", 3) == "abc"
    assert for_plot(["5 $ and 6 $"]) == [r"5 \$ and 6 \$"]


def test_a_legend_stands_in_columns_and_says_what_it_leaves_out():
    image = Image.new("RGB", (300, 120))
    low = with_legend(image, [("a", RED)] * 25)
    assert 120 < low.height < 25 * 18
    assert (np.asarray(low) == RED).all(-1).sum() == 25 * 13 * 13
    full, more = (with_legend(image, [("a", RED)] * count) for count in (40, 99))
    assert more.size[0] >= full.size[0]
    assert with_legend(image, []) is image


@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_sheet_has_a_place_for_every_image_and_keeps_its_ratio(count):
    tiles = [
        (Image.new("RGB", (40, 20), RED), "a caption that is much too long for its image\nÄpfel") for _ in range(count)
    ]
    sheet = np.asarray(sheet_of(tiles, columns=3, edge=60, title="title"))
    assert (sheet == RED).all(-1).sum() == count * 60 * 30
