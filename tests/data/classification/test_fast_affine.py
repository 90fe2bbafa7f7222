"""Shears and translations by rows are Pillow's, pixel by pixel."""

import random

import numpy as np
import pytest
from PIL import Image
from timm.data import auto_augment, create_transform

from visionattn.data.classification.fast_affine import _FAST, use_fast_affine
from visionattn.data.classification.transforms import TrainTransform

GRAY = (124, 116, 104)
CUBIC, LINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR


def picture(size=(47, 61), seed=0):
    return Image.fromarray(np.random.RandomState(seed).randint(0, 256, (*size, 3), dtype=np.uint8))


@pytest.mark.parametrize("original", list(_FAST), ids=lambda function: function.__name__)
@pytest.mark.parametrize("amount", [0.0, 0.27, -0.3, 0.1, -0.013, 0.45, 1.7, -2.0])
def test_every_amount_and_direction(original, amount):
    """Noise has steep edges everywhere; what lies outside gets the fill color, also where nothing is left."""
    options = {"fillcolor": GRAY, "resample": CUBIC}
    theirs = np.asarray(original(picture(), amount, **options)).astype(int)
    ours = np.asarray(_FAST[original](picture(), amount, **options)).astype(int)
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.01


def test_flat_colors_stay():
    flat = Image.new("RGB", (20, 30), (200, 137, 1))
    for original, ours in _FAST.items():
        options = {"fillcolor": (200, 137, 1), "resample": CUBIC}
        assert np.array_equal(np.asarray(ours(flat, 0.21, **options)), np.asarray(original(flat, 0.21, **options)))


def test_other_cases_are_timms_own():
    for original, ours in _FAST.items():
        gray = picture().convert("L")
        assert ours(gray, 0.2, fillcolor=3, resample=CUBIC) == original(gray, 0.2, fillcolor=3, resample=CUBIC)
        for options in ({"resample": LINEAR, "fillcolor": GRAY}, {"resample": CUBIC}):
            assert ours(picture(), 0.2, **options) == original(picture(), 0.2, **options)


def test_the_draws_are_timms():
    both = {"fillcolor": GRAY, "resample": (LINEAR, CUBIC)}
    for original, ours in _FAST.items():
        for seed in range(6):
            states = []
            for function in (original, ours):
                random.seed(seed)
                made = np.asarray(function(picture(), 0.2, **both)).astype(int)
                states.append((made, random.random()))
            assert states[0][1] == states[1][1]
            assert np.abs(states[0][0] - states[1][0]).max() <= 1


def test_the_recipes_steps_are_replaced():
    composed = create_transform((3, 32, 32), is_training=True, auto_augment="rand-m9-mstd0.5-inc1")
    use_fast_affine(composed)
    ops = {op.name: op.aug_fn for step in composed.transforms for op in getattr(step, "ops", [])}
    for name, original in auto_augment.NAME_TO_OP.items():
        if name in ops:
            assert (ops[name] is not original) == (original in _FAST), name
    replaced = [name for name in ops if ops[name] in _FAST.values()]
    assert sorted(replaced) == ["ShearX", "ShearY", "TranslateXRel", "TranslateYRel"]
    transform = TrainTransform(32, decoder="torchvision", auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic")
    own = {op.aug_fn for step in transform._steps for op in getattr(step, "ops", [])}
    assert own & set(_FAST.values())
