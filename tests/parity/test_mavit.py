"""MAViT against the recorded outputs of the official code."""

import pytest

import visionattn
from tests.parity.recordings import check_outputs, check_parameters

MILLIONS = {"mavit_tiny": 16.449, "mavit_small": 27.143, "mavit_base": 49.793, "mavit_large": 97.766}


@pytest.mark.parametrize("name", MILLIONS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, MILLIONS[name])


def test_the_outputs_of_the_official_code():
    check_outputs("mavit_tiny")


def test_layer_scales_start_as_published():
    model = visionattn.create_backbone("mavit_base", num_classes=0, overrides=["depths=[1,1,1,1]"])
    starts = [float(stage.blocks[0].scale2.gamma[0].detach()) for stage in model.stages]
    assert starts == pytest.approx([1, 1, 1e-6, 1e-6])
