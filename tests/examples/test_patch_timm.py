"""``examples/patch_timm.py``: timm's Swin keeps its logits and gradients on our window attention."""

import runpy
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

EXAMPLE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "patch_timm.py"))
SMALL = {"img_size": 112, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "num_classes": 5}


def pair(**options):
    theirs, ours = (timm.create_model("swin_tiny_patch4_window7_224", **SMALL, **options) for _ in range(2))
    for name, parameter in theirs.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    assert EXAMPLE["patch"](ours) == 4
    return theirs, ours


def test_logits_and_gradients_are_timms():
    theirs, ours = pair()
    images = torch.randn(2, 3, 112, 112)
    expected, found = theirs(images), ours(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for out in (expected, found):
        out.square().sum().backward()
    for (name, one), other in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        difference = (one.grad - other.grad).norm() / one.grad.norm().clamp_min(1e-6)
        assert difference < 1e-3, name


def test_what_would_differ_is_refused():
    _, ours = pair(attn_drop_rate=0.1)
    with pytest.raises(ValueError, match="do not drop attention weights"):
        ours.train()(torch.randn(1, 3, 112, 112))
    block = ours.eval().layers[0].blocks[0]
    with pytest.raises(ValueError, match="do not divide a map of 30 x 28"):
        block._attn(torch.zeros(1, 30, 28, 16))
