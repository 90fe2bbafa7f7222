"""MAViT against the recorded outputs of the official code."""

import pytest
import torch

import visionattn
from tests.parity.timm_pairs import leak
from tests.recorded import image_of, published_state, recorded, relative_error
from visionattn.backbones import zoo
from visionattn.backbones.cost import count_parameters

MILLIONS = {"mavit_tiny": 16.449, "mavit_small": 27.143, "mavit_base": 49.793, "mavit_large": 97.766}


@pytest.mark.parametrize("name", MILLIONS)
def test_parameters_are_the_published_ones(name):
    with torch.device("meta"):
        model = visionattn.create_backbone(name)
    assert count_parameters(model) == zoo.backbone_files()[name]["card"]["params"]
    assert round(count_parameters(model) / 1e6, 3) == MILLIONS[name]


def test_the_outputs_of_the_official_code():
    published = recorded("mavit_tiny")
    model = visionattn.create_backbone("mavit_tiny", weights=published_state(published)).eval()
    assert count_parameters(model) == published["params"]
    with torch.no_grad():
        for case in published["cases"]:
            assert relative_error(model(image_of(case)), case) < 1e-5, case["size"]
    assert leak(model, (50, 70)) < 1e-5


def test_layer_scales_start_as_published():
    model = visionattn.create_backbone("mavit_base", num_classes=0, overrides=["depths=[1,1,1,1]"])
    starts = [float(stage.blocks[0].scale2.gamma[0].detach()) for stage in model.stages]
    assert starts == pytest.approx([1, 1, 1e-6, 1e-6])
