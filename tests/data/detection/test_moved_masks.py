"""Masks that are drawn after the transform equal those that are drawn before it."""

import time
import tracemalloc

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from tests.data.detection.test_module import module, note, tree
from visionattn.data.detection import DetectionTrainTransform, dataset
from visionattn.data.detection.masks import draw, encode

OPTIONS = {
    "edges": {"short_edges": [37], "long_edge": 80},
    "larger": {"short_edges": [150], "long_edge": 300, "vertical_flip": 0.5},
    "jitter": {"jitter": [0.3, 2.0], "crop_size": [64, 90]},
    "crop": {"crop": True, "short_edges": [60], "long_edge": 100},
}


def polygons(random, height, width, count):
    """Random polygons, some of which leave the image, and run lengths of one of them."""
    found = []
    for i in range(count):
        center = random.uniform(0, 1, 2) * (width, height)
        angles = np.sort(random.uniform(0, 2 * np.pi, random.randint(3, 12)))
        points = center + random.uniform(2, 30) * np.stack([np.cos(angles), np.sin(angles)], 1)
        points = points if i % 3 == 0 else points.clip(0, (width, height))
        found.append([points.reshape(-1).tolist()])
    return [*found, encode(draw(found[:1], height, width))[0], None]


@pytest.mark.parametrize("name", OPTIONS)
def test_masks_are_the_same_to_the_pixel(name):
    random = np.random.RandomState(3)
    height, width = 83, 121
    transform = DetectionTrainTransform(**OPTIONS[name])
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for seed in range(6):
        shapes = polygons(random, height, width, 20)

        def target(shapes=shapes):
            boxes = tv_tensors.BoundingBoxes(
                torch.tensor([[0.0, 0.0, width, height]] * len(shapes)), format="XYXY", canvas_size=(height, width)
            )
            known = torch.tensor([shape is not None for shape in shapes])
            return {"boxes": boxes, "labels": torch.arange(len(shapes)), "has_mask": known}

        torch.manual_seed(seed)
        drawn = target() | {"masks": tv_tensors.Mask(torch.from_numpy(draw(shapes, height, width)))}
        expected_image, expected = transform(image, drawn)
        torch.manual_seed(seed)
        moved_image, moved = transform.with_masks(image, target(), shapes)
        assert moved_image.shape == expected_image.shape
        assert moved.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(moved[key], value), key


def test_many_objects_of_a_large_image_take_the_other_way_with_the_same_result(tmp_path, monkeypatch):
    data = module(tree(tmp_path / "t", [note(), note(category_id=3, segmentation=None)]), left_out_budget=0.6)
    data.setup("fit")
    data.require_masks(True)
    samples = data.dataset(data.records("train"), data.train_transform, True)
    usual = samples[0, 0].target
    monkeypatch.setattr(dataset, "MANY_PIXELS", 100)
    assert all(torch.equal(value, usual[key]) for key, value in samples[0, 0].target.items())


def test_what_many_masks_cost():
    transform = DetectionTrainTransform(short_edges=[100], long_edge=200)
    random = np.random.RandomState(0)
    corners = random.uniform(0, 950, (200, 2))
    shapes = [[[x, y, x + 20, y, x + 20, y + 20]] for x, y in corners.tolist()]
    boxes = torch.from_numpy(np.concatenate([corners, corners + 20], 1)).float()
    target = {"boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(1000, 1000))}
    image = torch.zeros(3, 1000, 1000, dtype=torch.uint8)
    tracemalloc.start()
    start = time.perf_counter()
    _, moved = transform.with_masks(image, target | {"labels": torch.zeros(200, dtype=torch.int64)}, shapes)
    assert time.perf_counter() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 50e6  # NumPy's arrays; 200 masks of the image are 200 MB
    tracemalloc.stop()
    assert len(moved["masks"]) > 150
