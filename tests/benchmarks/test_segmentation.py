"""The segmentation benchmark: both sides give the same logits and class maps, and their rows are written."""

import json

import pytest
import torch

from visionattn.benchmarks import segmentation
from visionattn.benchmarks.segmentation import run_segmentation
from visionattn.errors import ConfigError
from visionattn.heads.segmentation.inference import Inference

TINY = {"name": "dinat_pico", "channels": 16, "batch": 2, "crop": 32, "stride": 20, "size": (40, 60)}


def test_rows_of_both_sides_are_written(tmp_path):
    rows = run_segmentation(**TINY, dtypes=["float32"], repeats=1, device="cpu", output_dir=tmp_path)
    assert [(row["pass"], row["method"]) for row in rows] == [
        (work, side) for work in ("train", "inference") for side in ("visionattn", "transformers")
    ]
    assert all(row["seconds"] > 0 for row in rows)
    written = json.loads(next(tmp_path.glob("segmentation_*.json")).read_text())
    assert written["configuration"]["crop"] == 32
    assert written["versions"]["transformers"]


@pytest.fixture(scope="module")
def sides():
    torch.manual_seed(0)
    ours = segmentation._Ours("dinat_pico", 16)
    return ours, segmentation._Theirs(ours, 16)


def test_losses_and_their_gradients_agree(sides):
    images, target = torch.randn(2, 3, 32, 48), torch.randint(0, segmentation.CLASSES, (2, 32, 48))
    losses = []
    for side in sides:
        side.train()
        for module in side.modules():
            if isinstance(module, torch.nn.Dropout2d):
                module.p = 0.0
        losses.append(side.loss(images, target))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1])
    stems = [side.backbone.stem.conv1.weight.grad for side in sides]
    torch.testing.assert_close(stems[0], stems[1], rtol=1e-3, atol=1e-5)


def test_sliding_windows_give_the_same_class_map(sides):
    inference = Inference("slide", crop=32, stride=20, short_edge=None, long_edge=None, window_batch=3)
    image = torch.randn(3, 40, 60)
    with torch.inference_mode():
        maps = [side.eval().slide(image, inference) for side in sides]
    assert maps[0].shape == (40, 60)
    assert (maps[0] == maps[1]).float().mean() > 0.999


def test_other_weights_are_refused(sides):
    ours, theirs = sides
    theirs.decode_head.classifier.bias.data += 1
    try:
        with pytest.raises(ConfigError, match="nothing was measured"):
            segmentation._check(ours, theirs, torch.randn(1, 3, 32, 32))
    finally:
        theirs.decode_head.classifier.bias.data -= 1


def test_an_unknown_pass_is_refused():
    with pytest.raises(ConfigError, match="passes are some of"):
        run_segmentation(passes=["sleep"])
