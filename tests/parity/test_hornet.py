"""HorNet against the recorded outputs of the official code, and its filter against one written out."""

import pytest
import torch
from torch.nn import functional as F

import visionattn
from tests.parity.recordings import check_outputs, check_parameters
from tests.recorded import published_state, recorded
from visionattn.attention import GatedConvolution
from visionattn.attention.gated_convolution import GlobalLocalFilter

PARAMETERS = {  # as the official code counts them for 1,000 classes
    "hornet_tiny_7x7": 22_409_512,
    "hornet_tiny_gf": 22_991_848,
    "hornet_small_7x7": 49_528_264,
    "hornet_small_gf": 50_401_768,
    "hornet_base_7x7": 87_256_680,
    "hornet_base_gf": 88_421_352,
    "hornet_base_gf_384": 92_099_560,
    "hornet_large_7x7": 194_542_504,
    "hornet_large_gf": 196_289_512,
    "hornet_large_gf_384": 201_806_824,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


@pytest.mark.parametrize("name", ["hornet_tiny_7x7", "hornet_tiny_gf"])
def test_the_outputs_of_the_official_code(name):
    check_outputs(name)


@pytest.mark.parametrize("size", [(14, 14), (9, 14), (16, 20), (1, 1), (3, 2)])
def test_the_filter_is_resized_as_published(size):
    part = GlobalLocalFilter(6, (14, 8)).double()
    x = torch.randn(2, *size, 6, dtype=torch.float64)
    near, far = F.layer_norm(x, (6,), eps=1e-6).permute(0, 3, 1, 2).chunk(2, dim=1)
    frequencies = torch.fft.rfft2(far.float(), norm="ortho")
    spectrum = part.spectrum.detach().float().permute(3, 0, 1, 2)
    spectrum = F.interpolate(spectrum, size=frequencies.shape[2:], mode="bilinear", align_corners=True)
    far = torch.fft.irfft2(frequencies * torch.complex(*spectrum), s=size, norm="ortho").double()
    want = torch.stack([part.conv(near), far], 2).flatten(1, 2).permute(0, 2, 3, 1)
    torch.testing.assert_close(part(x), F.layer_norm(want, (6,), eps=1e-6), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(14, 14), (9, 7), (1, 1), (6, 2), (5, 20)])
def test_exported_graphs_filter_by_matrix_products(size):
    part, x = GlobalLocalFilter(6, (14, 8)), torch.randn(2, *size, 6)
    want = part(x)
    part.backend = "traceable"
    torch.testing.assert_close(part(x), want, rtol=1e-4, atol=1e-5)


def test_the_filter_sees_the_whole_map_and_a_convolution_does_not():
    x = torch.randn(1, 12, 12, 8, requires_grad=True)
    for mixer, reached in ((GatedConvolution(8, filter_size=(12, 7)), 144), (GatedConvolution(8, kernel_size=3), 9)):
        (grad,) = torch.autograd.grad(mixer(x)[0, 6, 6].sum(), x)
        assert int((grad.abs().amax((0, 3)) > 0).sum()) == reached


def test_the_filter_is_computed_in_float32_under_autocast():
    mixer, x = GatedConvolution(8, filter_size=(6, 4)), torch.randn(1, 6, 6, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(mixer(x).float(), GatedConvolution.forward(mixer.float(), x).float(), rtol=0, atol=0)
        assert mixer(x).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 6}, "of order 6 cannot divide 16 channels"),
        ({"order": 0}, "of order 0"),
        ({"kernel_size": 4}, "must be odd"),
    ],
)
def test_what_cannot_be_is_refused_with_the_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedConvolution(16, **arguments)


def test_published_spectra_fit_larger_filters():
    """Segmentation starts from the weights of 224 pixels with filters for 384: bilinear, corner to corner."""
    state = published_state(recorded("hornet_tiny_gf"))
    larger = {"mixers.s3.filter_size": [24, 13], "mixers.s4.filter_size": [12, 7]}
    with pytest.warns(UserWarning, match="resized to the model's windows"):
        model = visionattn.create_backbone("hornet_tiny_gf", weights=state, overrides=larger)
    for stage, sides in ((2, (24, 13)), (3, (12, 7))):
        published = state[f"stages.{stage}.0.gnconv.dwconv.complex_weight"]
        parts = [F.interpolate(published[None, ..., i], sides, mode="bilinear", align_corners=True) for i in (0, 1)]
        own = model.stages[stage].blocks[0].mixer.spread.spectrum
        torch.testing.assert_close(own.detach(), torch.stack([part[0] for part in parts], dim=-1))
