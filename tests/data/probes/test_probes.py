"""Mazes and scrambled images: what they promise of ways, of balance, of windows, and of the files."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from visionattn.cli import main
from visionattn.data import ClassificationData
from visionattn.data.classification.sources import ImageFolder
from visionattn.data.probes import PROBES, make_probe
from visionattn.data.probes.mazes import CELLS, maze_with_marks
from visionattn.data.probes.scrambled import CLASSES, ORDERS
from visionattn.errors import ConfigError, DataError

MAZES = [maze_with_marks(CELLS, np.random.RandomState(seed)) for seed in range(20)]


def reached(maze, start):
    """Cells that a way leads to, found by walking."""
    found, waiting = {start}, [start]
    while waiting:
        y, x = waiting.pop()
        beside = [
            ((y, x + 1), x + 1 < CELLS and not maze.right[y, x]),
            ((y, x - 1), x > 0 and not maze.right[y, x - 1]),
            ((y + 1, x), y + 1 < CELLS and not maze.below[y, x]),
            ((y - 1, x), y > 0 and not maze.below[y - 1, x]),
        ]
        for cell, is_open in beside:
            if is_open and cell not in found:
                found.add(cell)
                waiting.append(cell)
    return found


@pytest.mark.parametrize(("maze", "marks"), MAZES)
def test_exactly_one_way_leads_from_a_mark_to_the_exit_of_its_tree(maze, marks):
    assert (~maze.right).sum() + (~maze.below).sum() == CELLS**2 - len(maze.exits)  # four trees that reach all cells
    for number, marked in enumerate(marks):
        assert 1 <= len(marked) <= 4
        for cell in marked:
            assert [place for place in maze.exits if place in reached(maze, cell)] == [maze.exits[number]]


@pytest.mark.parametrize(("maze", "marks"), MAZES)
def test_no_window_of_two_cells_has_a_mark_and_an_exit(maze, marks):
    for y, x in (cell for marked in marks for cell in marked):
        assert min(max(abs(y - row), abs(x - column)) for row, column in maze.exits) >= 2


def test_the_four_images_of_a_maze_differ_in_their_marks_alone():
    images = [np.asarray(image, int) for _, image in PROBES["mazes"].draw(4, 48, "train", 0)]
    plain = np.median(images, axis=0)
    marked = np.stack([image.min(axis=-1) > 200 for image in images])
    assert marked.any(axis=(1, 2)).all()
    assert not (marked.sum(axis=0) > 1).any()  # no cell is marked twice
    for image, where in zip(images, marked, strict=True):
        near = np.pad(where, 1)
        near = near[1:-1, 1:-1] | near[2:, 1:-1] | near[:-2, 1:-1] | near[1:-1, 2:] | near[1:-1, :-2]
        assert np.abs(image - plain)[~near].max() < 45  # noise


@pytest.mark.parametrize("name", PROBES)
def test_every_class_is_drawn_equally_often(name):
    probe = PROBES[name]
    labels = [label for label, _ in probe.draw(4 * len(probe.classes), probe.image_size, "val", 3)]
    assert Counter(labels) == dict.fromkeys(range(len(probe.classes)), 4)


def test_each_texture_is_in_each_corner_equally_often_in_every_class():
    """By its color: the corners of 24 images, four rotations of six orders."""
    size, seen = PROBES["scrambled"].image_size, Counter()
    for label, image in PROBES["scrambled"].draw(24, size, "train", 0):
        pixels = np.asarray(image, float)
        side = 3 * size // 8
        corners = [pixels[:side, :side], pixels[:side, -side:], pixels[-side:, -side:], pixels[-side:, :side]]
        around = [kind(corner.mean(axis=(0, 1))) for corner in corners]
        first = around.index("checks")
        assert tuple(around[first:] + around[:first]) == ORDERS[label]
        seen.update((label, texture, place) for place, texture in enumerate(around))
    assert len(seen) == len(CLASSES) * 4 * 4
    assert set(seen.values()) == {1}


def kind(mean):
    """The texture of a piece by its color."""
    red, green, blue = mean
    if blue > max(red, green):
        return "stripes"
    if green > red:
        return "dots" if green > 1.2 * red else "clouds"
    return "clouds" if green > 1.25 * blue else "checks"


@pytest.mark.parametrize("name", PROBES)
def test_files_are_the_same_twice_and_train_with_image_folder(name, tmp_path):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_probe(name, tmp_path / folder, 8, 6, seed=seed)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.png"))
    assert len(files) == 14
    read = {folder: [(tmp_path / folder / file).read_bytes() for file in files] for folder in "ab"}
    assert read["a"] == read["b"]
    assert len(set(read["a"]) | {path.read_bytes() for path in (tmp_path / "c").rglob("*.png")}) == 28
    data = ClassificationData(ImageFolder(str(tmp_path / "a")), len(PROBES[name].classes), 48, batch_size=4)
    data.setup()
    assert data.sizes["train"] == 8
    assert data.class_names == sorted(PROBES[name].classes)
    with Image.open(tmp_path / "a" / files[0]) as image:
        assert image.size == (PROBES[name].image_size,) * 2


def test_the_command_writes_them_and_refuses_what_cannot_be(tmp_path, capsys):
    words = ["data", "make=mazes", f"dir={tmp_path}/m", "num_train=8", "num_val=4"]
    assert main(words) == 0
    assert len(list((tmp_path / "m" / "train").rglob("*.png"))) == 8
    for changed, sentence in (
        (["num_val=5"], "holds mazes made with other settings (num_val=4)"),
        (["layout=coco"], "mazes are written in ImageNet's layout alone"),
        (["make=labyrinths"], "make is digits, shapes, mazes or scrambled"),
        (["make=shapes", f"dir={tmp_path}/t"], "shapes need a layout"),
    ):
        assert main([*words, *changed]) != 0
        assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("spirals", {}, "unknown probe 'spirals'; known are mazes, scrambled"),
        ("mazes", {"num_val": 3}, "mazes have 4 classes"),
        ("mazes", {"image_size": 50}, "image_size is a multiple of 6 from 36 on, not 50"),
        ("scrambled", {"image_size": 40}, "from 48 pixels on, not image_size=40"),
    ],
)
def test_impossible_requests_write_nothing(name, numbers, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        make_probe(name, tmp_path / "x", **numbers)
    assert not list(tmp_path.iterdir())


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty"):
        make_probe("mazes", tmp_path, 4, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
