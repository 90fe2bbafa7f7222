"""L2ViT against the recorded outputs of the official code."""

import pytest
import torch

import visionattn
from tests.parity.timm_pairs import leak
from tests.recorded import image_of, published_state, recorded, relative_error
from visionattn.backbones import zoo
from visionattn.backbones.cost import count_parameters

PARAMETERS = {
    "l2vit_tiny": 28_596_781,
    "l2vit_small": 50_199_157,
    "l2vit_base": 88_577_188,
    "l2vit_base_384": 88_577_188,  # windows have no position bias
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    with torch.device("meta"):
        model = visionattn.create_backbone(name)
    assert count_parameters(model) == PARAMETERS[name] == zoo.backbone_files()[name]["card"]["params"]


def test_the_outputs_of_the_official_code():
    published = recorded("l2vit_t")
    model = visionattn.create_backbone("l2vit_tiny", weights=published_state(published)).eval()
    assert count_parameters(model) == published["params"]
    with torch.no_grad():
        for case in published["cases"]:
            assert relative_error(model(image_of(case)), case) < 1e-5, case["size"]
    assert leak(model, (50, 70)) < 1e-5
