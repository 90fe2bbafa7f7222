"""Mazes: to which of four exits do the marked cells lead? Only a model that sees both can tell.

Path finding in the spirit of Pathfinder: are two marked points connected? (Linsley et al. 2018, *Learning long-range
spatial dependencies with horizontal gated recurrent units*, arXiv 1805.08315; for attention Tay et al. 2020, *Long
Range Arena*, arXiv 2011.04006.) The drawing is our own.

A maze is a square of cells with an exit in each corner. Its passages form four trees, one for each exit, so exactly one
way leads from a cell to an exit. The exits have four colors. Up to four cells of one tree are marked, and the class is
the color of the exit that they are connected to. No local shortcut is left:

- Each maze gives four images that differ in the marked cells alone, one of each class, and the colors are assigned at
  random. So exits and walls tell nothing of the class, wherever they are.
- Marked cells lie at least two cells from every exit, along a row or a column, and their surroundings know no color.

A sum of what windows of 2 x 2 cells tell, each by itself, has the same mean in all classes: the least cross entropy
that it can reach is that of guessing, and it is right once in four. For a marked cell the nearest exit is the right one
in three mazes of four: that much needs sight without tracing the way.

Shapes: n cells along a side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from visionattn.data.probes.canvas import add_noise, ground
from visionattn.data.seeding import stable_seed
from visionattn.data.shapes.textures import Random
from visionattn.errors import ConfigError

COLORS = {"blue": (30, 60, 235), "green": (20, 215, 60), "red": (235, 30, 40), "yellow": (250, 235, 40)}
CLASSES = tuple(COLORS)
CELLS = 6
Cell = tuple[int, int]
_MARK = (255, 255, 255)
_MARKED = 4  # cells at most
_APART = 2  # cells between marks and exits
_NARROWEST = 6  # pixels of a cell
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True)
class Maze:
    """Walls between cells, and the tree that each cell belongs to.

    Attributes:
        right: bool ``(n, n - 1)``; a wall to the right of a cell.
        below: bool ``(n - 1, n)``; a wall below a cell.
        tree: int ``(n, n)``, the number of a cell's exit.
        exits: four cells.
    """

    right: np.ndarray
    below: np.ndarray
    tree: np.ndarray
    exits: tuple[Cell, ...]


def draw_mazes(count: int, image_size: int, split: str, seed: int) -> Iterator[tuple[int, Image.Image]]:
    """Labels and images of one split; four images a maze, one of each class.

    Args:
        count: images.
        image_size: side in pixels, a multiple of :data:`CELLS`.
        split: ``train`` or ``val``.
        seed: of everything that is drawn.

    Raises:
        ConfigError: an impossible size.
    """
    if image_size % CELLS or image_size < _NARROWEST * CELLS:
        raise ConfigError(
            f"mazes have {CELLS} x {CELLS} cells of at least {_NARROWEST} pixels: image_size is a multiple of {CELLS} "
            f"from {_NARROWEST * CELLS} on, not {image_size}"
        )
    return _draw(count, image_size, split, seed)


def _draw(count: int, image_size: int, split: str, seed: int) -> Iterator[tuple[int, Image.Image]]:
    for first in range(0, count, len(CLASSES)):
        random = Random(stable_seed("mazes", seed, split, first, bits=32))
        maze, marks = maze_with_marks(CELLS, random)
        labels = random.permutation(len(CLASSES))
        for label, marked in zip(labels[: count - first], marks, strict=False):
            yield int(label), render(maze, marked, labels, image_size, random)


def maze_with_marks(cells: int, random: Random) -> tuple[Maze, list[list[Cell]]]:
    """A maze, and for each of its trees the cells that are marked in the image of that tree."""
    y, x = np.mgrid[:cells, :cells]
    while True:
        maze = carve(cells, random)
        far = np.min([np.maximum(abs(y - row), abs(x - column)) for row, column in maze.exits], axis=0) >= _APART
        places = [np.argwhere(far & (maze.tree == tree)) for tree in range(len(maze.exits))]
        if all(map(len, places)):
            chosen = [place[random.permutation(len(place))[:_MARKED]] for place in places]
            return maze, [[(int(row), int(column)) for row, column in cells_of] for cells_of in chosen]


def carve(cells: int, random: Random) -> Maze:
    """A maze of four trees that grow from their exits, a random one at a time, into a random cell beside it."""
    exits = ((0, 0), (0, cells - 1), (cells - 1, 0), (cells - 1, cells - 1))
    right, below = np.ones((cells, cells - 1), bool), np.ones((cells - 1, cells), bool)
    tree = np.full((cells, cells), -1)
    beside: list[list[tuple[Cell, Cell]]] = [[] for _ in exits]

    def take(cell: Cell, number: int) -> None:
        tree[cell] = number
        for dy, dx in _STEPS:
            y, x = cell[0] + dy, cell[1] + dx
            if 0 <= y < cells and 0 <= x < cells and tree[y, x] < 0:
                beside[number].append((cell, (y, x)))

    for number, cell in enumerate(exits):
        take(cell, number)
    while any(beside):
        growing = [number for number, edges in enumerate(beside) if edges]
        number = growing[random.randint(len(growing))]
        cell, other = beside[number].pop(random.randint(len(beside[number])))
        if tree[other] < 0:
            walls = right if cell[0] == other[0] else below
            walls[min(cell, other)] = False
            take(other, number)
    return Maze(right, below, tree, exits)


def render(maze: Maze, marked: Sequence[Cell], labels: np.ndarray, image_size: int, random: Random) -> Image.Image:
    """The image: ground, darker walls, four colored exits, white marks, noise.

    Args:
        maze: what is drawn.
        marked: the marked cells.
        labels: int ``(4,)``, the color of each exit.
        image_size: side in pixels.
        random: of the noise.
    """
    side = image_size // len(maze.tree)
    thick = max(1, side // 8)
    pixels = ground(image_size)
    pixels[_walls(maze, image_size, side, thick)] *= 0.5
    colors = [COLORS[CLASSES[label]] for label in labels] + [_MARK] * len(marked)
    for (y, x), color in zip([*maze.exits, *marked], colors, strict=True):
        pixels[y * side + thick : (y + 1) * side - thick, x * side + thick : (x + 1) * side - thick] = color
    return add_noise(pixels, random)


def _walls(maze: Maze, image_size: int, side: int, thick: int) -> np.ndarray:
    """The pixels of walls, bool ``(image_size, image_size)``."""
    wall = np.zeros((image_size, image_size), bool)
    wall[:thick] = wall[-thick:] = wall[:, :thick] = wall[:, -thick:] = True
    for y, x in np.argwhere(maze.right):
        edge = (x + 1) * side
        wall[max(0, y * side - thick) : (y + 1) * side + thick, edge - thick : edge + thick] = True
    for y, x in np.argwhere(maze.below):
        edge = (y + 1) * side
        wall[edge - thick : edge + thick, max(0, x * side - thick) : (x + 1) * side + thick] = True
    return wall
