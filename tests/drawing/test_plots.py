"""The plots of a run, and the numbers behind them."""

import numpy as np
import pytest
from PIL import Image

from visionattn.drawing import plots
from visionattn.drawing.bars import plot_class_bars


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


def test_curves_of_one_epoch_have_a_mark(metrics, tmp_path):
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join(lines[:4]) + "\n")
    plots.plot_curves(metrics, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        left, right = np.asarray(image.convert("RGB")).reshape(-1, 2, image.width // 2, 3).swapaxes(0, 1)
    blue = (43, 108, 176)
    assert (left == blue).all(-1).sum() > 20
    assert (right == blue).all(-1).sum() > 20


@pytest.mark.parametrize("classes", [3, 40, 120])
def test_confusion_is_drawn(classes, tmp_path):
    matrix = 10**6 * np.eye(classes, dtype=np.int64)
    plots.plot_confusion(matrix, [f"class {c}" for c in range(classes)], tmp_path / "c.png", title="all right")
    assert (tmp_path / "c.png").stat().st_size > 1000


@pytest.mark.parametrize(("number", "text"), [(9999, "9999"), (12345, "12k"), (2_400_000, "2M"), (3 * 10**9, "3G")])
def test_counts_in_cells_are_short(number, text):
    assert plots._short_count(number) == text


@pytest.mark.parametrize("count", [0, 1, 8])
def test_mistakes_are_drawn_for_any_number_of_them(count, tmp_path):
    plots.plot_mistakes([(Image.new("RGB", (8, 8)), "predicted 1\ntarget 2")] * count, tmp_path / "m.png", total=count)
    assert (tmp_path / "m.png").stat().st_size > 500


def test_calibration_and_precision_are_drawn(tmp_path):
    confidence = np.array([0.0, 0.5, 1.0])
    plots.plot_calibration(confidence, confidence > 0.4, tmp_path / "a.png", bins=15, error=1.0)
    curves = {"box": np.full((10, 101), np.nan), "mask": np.ones((10, 101))}
    plots.plot_precision_recall(curves, [0.5 + 0.05 * step for step in range(10)], tmp_path / "b.png")
    for name in ("a", "b"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


@pytest.mark.parametrize("count", [0, 1, 300])
def test_bars_of_classes_leave_out_those_without_a_value(count, tmp_path):
    values = np.linspace(0, 100, count)
    values[:1] = np.nan
    names = [f"$class {k}" for k in range(count)]
    plot_class_bars(
        names, {"box": values.tolist(), "mask": values.tolist()}, tmp_path / "b.png", label="AP (%)", line=("mean", 5)
    )
    with Image.open(tmp_path / "b.png") as image:
        assert image.height == pytest.approx(120 * max(2.6, 0.21 * min(max(count - 1, 0), 80) + 1.3), abs=2)
