"""MAViT against the recorded outputs of the official code."""

import pytest

import visionattn
from tests.parity.recordings import check_outputs, check_parameters

PARAMETERS = {"mavit_tiny": 16_449_128, "mavit_small": 27_142_568, "mavit_base": 49_792_648, "mavit_large": 97_766_088}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


def test_the_outputs_of_the_official_code():
    check_outputs("mavit_tiny")


def test_layer_scales_start_as_published():
    model = visionattn.create_backbone("mavit_base", num_classes=0, overrides=["depths=[1,1,1,1]"])
    starts = [float(stage.blocks[0].scale2.gamma[0].detach()) for stage in model.stages]
    assert starts == pytest.approx([1, 1, 1e-6, 1e-6])
