"""Cost against pixels: rows of our models and of timm's, the power of growth, and requests that say nothing."""

import json

import pytest
import timm
from torch import nn

from visionattn.benchmarks import pixels
from visionattn.benchmarks.pixels import exponents, run_pixels
from visionattn.errors import ConfigError


class Model(nn.Module):
    """A convolution; of images above a size it refuses to run."""

    def __init__(self, largest=1000):
        super().__init__()
        self.conv, self.largest = nn.Conv2d(3, 4, 3), largest

    def forward(self, x):
        if x.shape[-1] > self.largest:
            raise RuntimeError("too large\nfor this model")
        return self.conv(x)


def test_rows_plot_and_reasons(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pixels, "_built", lambda name: Model(1000 if name == "swin_pico" else 16))
    rows = run_pixels(["swin_pico", "timm:resnet18"], [16, 32], repeats=1, device="cpu", output_dir=tmp_path)
    assert [(row["model"], row["size"]) for row in rows] == [
        ("swin_pico", 16),
        ("timm:resnet18", 16),
        ("swin_pico", 32),
        ("timm:resnet18", 32),
    ]
    assert rows[3]["reason"] == "too large"
    assert rows[3]["milliseconds"] is None
    for row in rows[:3]:
        assert row["peak_bytes"] == row["bytes_per_pixel"] * row["size"] ** 2 > 0
        assert row["milliseconds"] == pytest.approx(row["milliseconds_per_megapixel"] * row["size"] ** 2 / 1e6)
    assert rows[0]["times_first"] == 1
    document = json.loads(next(tmp_path.glob("pixels_*.json")).read_text())
    assert document["rows"] == rows
    assert set(document["configuration"]["exponents"]) == {"swin_pico"}
    assert (tmp_path / "pixels.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "timm:resnet18 at 32: too large" in printed


def test_models_of_timm_are_built_with_merged_branches():
    merged, plain = (
        sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
        for model in (pixels._built("timm:repvgg_a0"), timm.create_model("repvgg_a0"))
    )
    assert merged == 0 < plain
    assert pixels._chosen(["swin_pico", "*_pico", "timm:resnet18"]) == ["swin_pico", "dinat_pico", "timm:resnet18"]


def test_the_power_is_one_where_the_cost_is_linear():
    costs = {"linear": (1, 4, 16), "quadratic": (1, 16, 256)}
    rows = [
        {"model": name, "size": size, "milliseconds": cost, "peak_bytes": cost, "reason": ""}
        for name, values in costs.items()
        for size, cost in zip((64, 128, 256), values, strict=True)
    ]
    found = exponents([*rows, {"model": "once", "size": 64, "milliseconds": 1, "peak_bytes": 1, "reason": ""}])
    assert {name: one["time"] for name, one in found.items()} == pytest.approx({"linear": 1, "quadratic": 2})
    assert found["quadratic"]["memory"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": "nobody"}, "names=nobody: there is no such model"),
        ({"names": ["timm:nobody"]}, "names=timm:nobody: there is no such model in timm"),
        ({"sizes": [64, 32]}, r"that grow, such as \[256,512,1024\], got \[64, 32\]"),
        ({"sizes": []}, "that grow"),
    ],
)
def test_requests_that_cannot_be_measured(options, message):
    with pytest.raises(ConfigError, match=message):
        run_pixels(**options, output_dir=None)
