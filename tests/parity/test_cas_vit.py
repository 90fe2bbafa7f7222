"""CAS-ViT against the recorded outputs of the official code."""

import pytest
import torch

import visionattn
from tests.parity.recordings import check_outputs, check_parameters
from visionattn.attention import AdditiveMixing

PARAMETERS = {"cas_vit_xs": 3_200_700, "cas_vit_s": 5_764_224, "cas_vit_m": 12_421_520, "cas_vit_t": 21_763_120}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


@pytest.mark.parametrize("name", ["cas_vit_xs", "cas_vit_s"])
def test_the_outputs_of_the_official_code(name):
    check_outputs(name)


def test_the_logits_are_the_mean_of_two_classifiers():
    model = visionattn.create_backbone("cas_vit_xs", num_classes=3).eval()
    pooled = model.forward_head(x := model.forward_features(torch.randn(2, 3, 64, 64)), pre_logits=True)
    want = (model.head.fc(pooled) + model.head.fc_distilled(pooled)) / 2
    torch.testing.assert_close(model.forward_head(x), want)
    model.reset_classifier(7)
    assert model.head.fc_distilled.out_features == 7
    model.reset_classifier(0)
    assert model.forward_head(x).shape == (2, 220)


def test_a_token_learns_of_far_ones_through_the_mean_alone():
    mixer = AdditiveMixing(6).double().eval()
    x = torch.randn(1, 20, 20, 6, dtype=torch.float64)
    swapped = x.clone()
    swapped[:, 18, 18], swapped[:, 16, 18] = x[:, 16, 18], x[:, 18, 18]
    near = (mixer(swapped) - mixer(x)).abs().amax((0, 3))
    assert (near[12:] > 1e-9).any()
    moved = x.clone()
    moved[:, 18, 18] += 1  # the means change
    assert ((mixer(moved) - mixer(x)).abs().amax((0, 3)) > 1e-12).all()
