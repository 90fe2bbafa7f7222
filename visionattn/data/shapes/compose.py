"""Composition of drawn images, for each of the layouts."""

from __future__ import annotations

import numpy as np

from visionattn.data.seeding import stable_seed
from visionattn.data.shapes.outlines import SHAPE_NAMES
from visionattn.data.shapes.scene import Scene, add_crowd, add_lighting, add_shape, draw_ground
from visionattn.data.shapes.textures import Random


def image_random(seed: int, layout: str, split: str, index: int) -> Random:
    """Random state of one image; the stream of RandomState is the same in all versions of numpy."""
    return Random(stable_seed("shapes", seed, layout, split, index, bits=32))


def compose_objects(edge: int, random: Random, crowds: bool = False, empty_share: float = 0.0) -> Scene:
    """An image with several overlapping shapes, from small to large.

    Args:
        edge: longer side in pixels; the other one is 3/4 of it or equal.
        random: random state.
        crowds: put a crowd into some of the images.
        empty_share: share of images without any shape.
    """
    short = round(0.75 * edge)
    size = ((edge, edge), (short, edge), (edge, short))[random.randint(3)]
    scene = draw_ground(size, random)
    if random.uniform() >= empty_share:
        count = random.randint(2, 9)
        radii = np.sort(np.exp(random.uniform(np.log(0.05), np.log(0.27), count)))[::-1] * min(size)
        order = np.argsort(np.arange(count) + random.uniform(0, 4, count))  # large ones tend to lie at the back
        for radius in radii[order]:
            _add_somewhere(scene, float(radius), random)
        if crowds and random.uniform() < 0.12:
            add_crowd(scene, random.randint(len(SHAPE_NAMES)), random)
    add_lighting(scene, random)
    return scene


def _add_somewhere(scene: Scene, radius: float, random: Random, attempts: int = 8) -> None:
    height, width = scene.size
    label = random.randint(len(SHAPE_NAMES))
    for _ in range(attempts):
        x, y = random.uniform(0.4 * radius, width - 0.4 * radius), random.uniform(0.4 * radius, height - 0.4 * radius)
        if add_shape(scene, label, (x, y), radius, random):
            return


def compose_single(edge: int, label: int, random: Random) -> Scene:
    """A square image with one dominant shape of class ``label``, in front of a few small ones of other classes."""
    scene = draw_ground((edge, edge), random, max_regions=2)
    for _ in range(random.randint(0, 5)):
        other = (label + random.randint(1, len(SHAPE_NAMES))) % len(SHAPE_NAMES)
        x, y = random.uniform(0, edge, 2)
        add_shape(scene, other, (x, y), random.uniform(0.04, 0.11) * edge, random)
    small = list(scene.instances)
    radius = random.uniform(0.2, 0.46) * edge
    scene.instances.clear()  # the dominant shape may hide any of them
    x, y = edge / 2 + random.uniform(-1, 1, 2) * 0.8 * (0.52 * edge - 0.8 * radius)
    add_shape(scene, label, (x, y), radius, random)
    front = scene.instances[-1]
    for other_shape in small:
        other_shape.mask &= ~front.mask
    scene.instances = [shape for shape in small if shape.mask.any()] + [front]
    add_lighting(scene, random)
    return scene
