"""What each backbone with recorded outputs of its official code has to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import visionattn
from tests.parity.timm_pairs import count, leak
from tests.recorded import image_of, published_state, recorded, relative_error
from visionattn.backbones import zoo


def check_parameters(name: str, published: int) -> None:
    """The card has the published number of parameters, and the contract tests say that the model has the card's."""
    assert zoo.backbone_files()[name]["card"]["params"] == published


@torch.no_grad()
def check_outputs(
    name: str,
    recording: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """With the recorded weights: the recorded outputs, and images of a batch that do not see each other.

    ``dtype`` is float64 for what chooses by rank. Of MoH-ViT's 11,904 choices of heads at 256 x 256 one is closer than
    float32's rounding (3e-7), and moves the logits by 1e-4.
    """
    published = recorded(recording or name)
    model = visionattn.create_backbone(name, weights=published_state(published), overrides=dict(overrides or {}))
    model = model.eval().to(dtype)
    assert count(model) == published["params"]
    for case in published["cases"]:
        assert relative_error(model(image_of(case).to(dtype)), case) < 1e-5, case["size"]
    assert leak(model, (50, 70)) < 1e-5
