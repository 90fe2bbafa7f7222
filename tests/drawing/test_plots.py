"""The plots of a run, and the numbers behind them."""

import numpy as np
import pytest
import torch
from PIL import Image

from visionattn.drawing import plots


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(
        "epoch,step,train/loss,val/loss,val/top1,lr-AdamW\n0,9,2.0,,,\n0,9,,1.5,60.0,\n,9,,,,0.001\n1,19,1.0,,,\n"
    )
    return path


def test_read_metrics_sorts_values_by_name(metrics):
    series = plots.read_metrics(metrics)
    assert series["train/loss"] == [(9, 2.0), (19, 1.0)]
    assert series["val/top1"] == [(9, 60.0)]
    assert series["lr-AdamW"] == [(9, 0.001)]


def test_curves_are_drawn(metrics, tmp_path):
    plots.plot_curves(metrics, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert len(set(image.convert("RGB").get_flattened_data())) > 50


@pytest.mark.parametrize("classes", [3, 40])
def test_confusion_is_drawn(classes, tmp_path):
    target = np.arange(classes).repeat(2)
    plots.plot_confusion(target, target, [str(c) for c in range(classes)], tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


@pytest.mark.parametrize("count", [0, 1, 8])
def test_mistakes_are_drawn_for_any_number_of_them(count, tmp_path):
    images = [torch.rand(3, 8, 8) for _ in range(count)]
    half = (0.5, 0.5, 0.5)
    plots.plot_mistakes(images, ["1, target 2"] * count, tmp_path / "m.png", mean=half, std=half, total=count)
    assert (tmp_path / "m.png").stat().st_size > 500
