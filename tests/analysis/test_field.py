"""Receptive fields: the theoretical one equals what perturbed pixels change, the effective one lies inside."""

from functools import partial

import pytest
import torch
from torch import nn

import visionattn
from tests.analysis.test_maps import backbone
from visionattn import analysis
from visionattn.analysis.field import LARGEST, Smooth
from visionattn.attention import DepthwiseConvolution, FullAttention, NeighborhoodAttention, WindowAttention

CASES = {
    "window": partial(WindowAttention, window_size=2),
    "neighborhood": partial(NeighborhoodAttention, kernel_size=3, dilation=[1, 2]),
    "convolution": partial(DepthwiseConvolution, kernel_size=3),
    "full": FullAttention,
}


@pytest.mark.parametrize("name", CASES)
def test_the_theoretical_field_is_what_perturbed_pixels_change(name):
    model = backbone(CASES[name], dims=(8,))
    image = torch.randn(1, 3, 32, 28, dtype=torch.float64)
    (field,) = analysis.receptive_field(model, image, (0.3, 0.4))
    row, column = int(0.3 * 32) // 4, int(0.4 * 28) // 4
    cells = torch.eye(8 * 7, dtype=torch.float64).view(-1, 1, 8, 7).repeat_interleave(4, 2).repeat_interleave(4, 3)
    with torch.no_grad():
        changed = model.forward_features(image + cells) != model.forward_features(image)
    reach = changed[:, :, row, column].any(1).view(8, 7)
    assert torch.equal(field.possible[::4, ::4], reach)
    assert torch.equal(field.possible, reach.repeat_interleave(4, 0).repeat_interleave(4, 1))
    assert not bool((field.strength > 0)[~field.possible].any())
    assert field.theoretical_area == pytest.approx(float(reach.double().mean()))
    assert (field.theoretical_area == 1) == (name == "full")
    torch.testing.assert_close(field.strength.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_figures_of_a_field():
    strength = torch.zeros(8, 8)
    strength[4, 4] = strength[4, 7] = 0.5
    possible = torch.zeros(8, 8, dtype=torch.bool)
    possible[4, 4:] = True
    field = analysis.Field("s1", (0.5625, 0.5625), (4.5, 4.5), possible, strength)
    assert field.theoretical_area == 4 / 64
    assert field.effective_area == 2 / 64
    assert field.theoretical_radius == 3
    assert field.effective_radius == pytest.approx((9 / 2) ** 0.5)


def test_large_logits_and_dead_units_make_no_zeros():
    model = backbone(FullAttention, dims=(8,))
    for name, parameter in model.named_parameters():
        nn.init.constant_(parameter, 1e3) if "qkv" in name else None
    (field,) = analysis.receptive_field(model, torch.randn(3, 32, 32).double(), (0.5, 0.5))
    assert field.theoretical_area == 1
    with Smooth():
        assert (torch.relu(torch.tensor([-3.0])) > 0).all()
        pooled = nn.functional.max_pool2d(torch.arange(4.0).view(1, 1, 2, 2), 2)
    assert pooled.item() == 1.5


def test_a_field_grows_from_stage_to_stage_and_batch_norms_stay():
    model = visionattn.create_backbone("dinat_pico", num_classes=4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    areas = [analysis.receptive_field(model, torch.randn(3, 32, 32), (0.0, 0.0), stage=i)[0] for i in (1, 2)]
    assert areas[0].theoretical_area < areas[1].theoretical_area <= 1
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_a_gate_over_the_whole_map_reaches_every_pixel():
    model = backbone(partial(WindowAttention, window_size=4), dims=(8,))
    model.stem.register_forward_hook(
        lambda module, inputs, output: output * output.mean((1, 2), keepdim=True).sigmoid()
    )
    (field,) = analysis.receptive_field(model, torch.randn(3, 64, 64).double(), (0.1, 0.1))
    assert field.theoretical_area == 1


def test_too_large_an_image_is_refused():
    model = visionattn.create_backbone("swin_pico", num_classes=4)
    with pytest.raises(ValueError, match=f"for {LARGEST:,} pixels at most"):
        analysis.receptive_field(model, torch.empty(3, 1025, 1024))
