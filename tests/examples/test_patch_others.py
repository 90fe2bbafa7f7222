"""``examples/patch_torchvision.py`` and ``patch_monai.py``: their Swins keep their outputs on our window attention."""

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.docs
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def patch(monkeypatch):
    """The function of one of the examples, which import from each other as scripts of one folder do."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return lambda name: runpy.run_path(str(EXAMPLES / f"{name}.py"))["patch"]


def pair(create):
    """Two models of equal weights, none of them zero."""
    theirs, ours = create().eval(), create().eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("size", [(64, 64), (60, 92), (24, 40)])
def test_torchvision(patch, size):
    swin = pytest.importorskip("torchvision").models.swin_transformer.SwinTransformer
    small = {"patch_size": [4, 4], "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4]}
    theirs, ours = pair(lambda: swin(**small, stochastic_depth_prob=0.0, num_classes=5))
    assert patch("patch_torchvision")(ours) == 4
    images = torch.randn(2, 3, *size)
    expected, found = theirs(images), ours(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for out in (expected, found):
        out.square().sum().backward()
    for (name, one), other in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert (one.grad - other.grad).norm() <= 1e-3 * one.grad.norm().clamp_min(1e-4), name


def test_monai(patch):
    nets = pytest.importorskip("monai.networks.nets")
    small = {"in_channels": 1, "out_channels": 2, "feature_size": 12, "depths": (2, 1, 1, 1), "window_size": 4}
    theirs, ours = pair(lambda: nets.SwinUNETR(**small, spatial_dims=2))
    assert patch("patch_monai")(ours) == 5
    images = torch.randn(1, 1, 96, 160)
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    with pytest.raises(ValueError, match="a map of 2 x 2 is smaller than the window of 4 x 4"), torch.no_grad():
        ours(torch.randn(1, 1, 32, 32))
