"""``examples/serve_onnx.py`` prepares an image as the run's own evaluation does, whatever crop and size."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visionattn.data.classification.transforms import EvalTransform
from visionattn.data.normalize import Normalize

onnxruntime = pytest.importorskip("onnxruntime")
Classifier = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "serve_onnx.py"))["Classifier"]
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875, 0.9])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_images_are_prepared_as_in_evaluation(crop_mode, crop_pct, size):
    pixels = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    for interpolation in ("bilinear", "bicubic", "lanczos"):
        about = {"image_size": list(size), "mean": MEAN, "std": STD, "crop_pct": crop_pct, "crop_mode": crop_mode}
        served = Classifier.__new__(Classifier)
        served.about = about | {"interpolation": interpolation}
        ours = EvalTransform(size, MEAN, STD, crop_pct, crop_mode, interpolation)
        for image in (Image.fromarray(pixels), Image.fromarray(pixels.transpose(1, 0, 2)), Image.new("RGB", (9, 31))):
            expected = Normalize(MEAN, STD)(ours(image)[None])
            torch.testing.assert_close(torch.from_numpy(served.prepare(image)), expected, rtol=1e-5, atol=1e-5)
