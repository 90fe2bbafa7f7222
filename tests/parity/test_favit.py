"""FaViT against the recorded outputs of the official code, and its parts against what they are written out."""

import pytest
import torch
from torch.nn import functional as F

from tests.parity.recordings import check_outputs, check_parameters
from visionattn.attention import FactorizedAttention
from visionattn.attention.factorized import Factor, mirrored

PARAMETERS = {"favit_b0": 3_427_704, "favit_b1": 12_958_568, "favit_b2": 24_919_896, "favit_b3": 48_746_440}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


@pytest.mark.parametrize("name", ["favit_b0", pytest.param("favit_b2", marks=pytest.mark.heavy)])
def test_the_outputs_of_the_official_code(name):
    check_outputs(name)


@pytest.mark.parametrize(("side", "size"), [(5, 9), (56, 98), (3, 3), (3, 11), (1, 4), (2, 7)])
def test_places_beyond_a_side_are_mirrored_as_torch_does_and_further(side, size):
    x = torch.randn(2, side, 3)
    want = x
    while want.shape[1] < size:  # torch mirrors a row at most once
        more = min(size - want.shape[1], max(side - 1, 1))
        turn = want[:, -1 - more : -1].flip(1) if side > 1 else want[:, -1:]
        want = torch.cat([want, turn], dim=1)
    torch.testing.assert_close(x[:, mirrored(torch.arange(size), side)], want, rtol=0, atol=0)


def test_sampled_tokens_are_means_over_areas_or_the_published_ones():
    """By unfolding: 7 x 7 taps, two apart, of areas of 13 x 13; a map of 20 x 30 has 2 x 3 of them."""
    x = torch.randn(1, 20, 30, 6, dtype=torch.float64)
    padded = F.pad(x.permute(0, 3, 1, 2), (0, 9, 0, 6), mode="reflect")
    areas = F.unfold(padded, 7, dilation=2, stride=13).view(2, 3, 49, 6)  # heads, channels, taps, areas
    for mix_channels, want in (
        (False, areas.mean(3).mT),
        (True, areas.permute(0, 2, 3, 1).reshape(2, 49, 3, 6).mean(3)),
    ):
        part = Factor(2, 3, 2, mix_channels=mix_channels, bias=True).double()
        torch.testing.assert_close(part._tokens(x)[0].flatten(0, 1), want.transpose(0, 1))


def test_every_token_reaches_every_other():
    mixer = FactorizedAttention(16, 1, reduction=4).double()
    x = torch.randn(1, 14, 20, 16, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(mixer(x)[0, 3, 5].sum(), x)
    assert (grad.abs().amax((0, 3)) > 0).all()


@pytest.mark.parametrize(
    ("dim", "heads", "reduction", "message"),
    [(8, 8, 2, r"7 / 16 of the channels .* got reduction 2, 8 channels and 8 heads"), (16, 1, 0, "got reduction 0")],
)
def test_what_cannot_be_is_refused_with_the_numbers(dim, heads, reduction, message):
    with pytest.raises(ValueError, match=message):
        FactorizedAttention(dim, heads, reduction=reduction)


@pytest.mark.parametrize("mix_channels", [True, False])
def test_a_traced_factor_serves_maps_of_one_area_and_of_several(mix_channels):
    factor = Factor(2, 4, 2, mix_channels=mix_channels, bias=True)
    traced = torch.compile(factor, backend="eager", fullgraph=True, dynamic=True)
    stance = "default"
    for height, width in ((27, 40), (13, 9), (26, 13), (39, 60)):
        x = torch.randn(2, height, width, 8)
        with torch.compiler.set_stance(stance):
            found = traced(x)
        for one, expected in zip(found, factor(x), strict=True):
            torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-6)
        stance = "fail_on_recompile"
