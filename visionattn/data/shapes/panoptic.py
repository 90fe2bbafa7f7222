"""Writer of drawn images in COCO's panoptic layout, with COCO's file of instances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.panoptic.maps import LARGEST, describe, encode_map
from visionattn.data.panoptic.write import PanopticFile, map_name, write_panoptic
from visionattn.data.seeding import stable_seed
from visionattn.data.shapes.layouts import COCO_IDS, Drawn, Instances, draw_coco
from visionattn.data.shapes.outlines import SHAPE_NAMES
from visionattn.data.shapes.scene import Scene
from visionattn.data.shapes.textures import TEXTURE_NAMES

STUFF_IDS = (92, 95, 118, 149, 200)
PANOPTIC_CATEGORIES: tuple[dict[str, Any], ...] = tuple(
    {"supercategory": kind, "id": number, "name": name, "isthing": int(kind == "shape")}
    for kind, numbers, names in (("shape", COCO_IDS, SHAPE_NAMES), ("texture", STUFF_IDS, TEXTURE_NAMES))
    for number, name in zip(numbers, names, strict=True)
)
_REMNANT = 16  # pixels: a smaller remnant of a texture belongs to no segment


def write_coco_panoptic(root: Path, split: str, count: int, edge: int, seed: int) -> dict[str, int]:
    """Write the layout "coco", and panoptic_train2017|panoptic_val2017/*.png and annotations/panoptic_*.json."""
    instances, name, segments = Instances(), f"panoptic_{split}2017", 0

    def files() -> Iterator[PanopticFile]:
        nonlocal segments
        for drawn in draw_coco(root, split, count, edge, seed, layout="coco_panoptic"):
            instances.add(drawn)
            one = _panoptic_file(drawn, seed)
            segments += len(one.segments)
            yield one

    info = {"description": "visionattn shapes", "version": "1", "year": 2026}
    file = root / "annotations" / f"{name}.json"
    write_panoptic(root / name, file, files(), PANOPTIC_CATEGORIES, info=info, images=instances.images)
    return instances.write(root, split) | {"segments": segments}


def _panoptic_file(drawn: Drawn, seed: int) -> PanopticFile:
    ids, category_ids, crowds = segments_of(drawn.scene)
    image_id = drawn.image["id"]
    numbers: list[int] = []
    for i in range(len(category_ids)):  # any numbers, as in COCO, where they are colors
        attempt = 0
        while (number := stable_seed("segment", seed, image_id, i, attempt) % LARGEST + 1) in numbers:
            attempt += 1
        numbers.append(number)
    table = np.array([0, *numbers], np.int64)
    content = encode_map(table[ids])
    segments = describe(ids, numbers, category_ids, crowds)
    return PanopticFile(image_id, map_name(drawn.image["file_name"]), content, segments)


def segments_of(scene: Scene) -> tuple[np.ndarray, list[int], list[bool]]:
    """Segments of a drawn image: shapes first, then textures.

    Returns:
        ids int ``(H, W)``, 1 for the first segment and so on, then category and crowd of each.
    """
    ids = np.zeros(scene.size, np.int64)
    category_ids, crowds = list[int](), list[bool]()
    for instance in scene.instances:
        category_ids.append(COCO_IDS[instance.label])
        crowds.append(instance.crowd)
        ids[instance.mask] = len(category_ids)
    free = ids == 0
    for kind in np.unique(scene.ground[free]).tolist():
        mask = free & (scene.ground == kind)
        if mask.sum() >= _REMNANT:
            category_ids.append(STUFF_IDS[kind])
            crowds.append(False)
            ids[mask] = len(category_ids)
    return ids, category_ids, crowds
