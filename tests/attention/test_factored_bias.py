"""Factors of a trained bias: exact at full rank, honest about what they lose, and refused where they do not fit."""

from functools import partial

import pytest
import torch
from torch import nn

import visionattn
from visionattn.attention import (
    CosineWindowAttention,
    GridAttention,
    NeighborhoodAttention,
    WindowAttention,
    factorize_bias,
)
from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.probabilities import probabilities

MIXERS = {
    "shifted": (partial(WindowAttention, window_size=(3, 4)), (1, 7, 9)),
    "padded": (partial(WindowAttention, window_size=4), (0, 6, 7)),
    "cut": (partial(WindowAttention, window_size=4, mask_padding=True), (1, 6, 7)),
    "grid": (partial(GridAttention, grid_size=3), (0, 7, 8)),
    "cosine": (partial(CosineWindowAttention, window_size=3), (1, 7, 8)),
    "neighborhood": (partial(NeighborhoodAttention, kernel_size=(3, 5)), (0, 7, 9)),
    "even and dilated": (partial(NeighborhoodAttention, kernel_size=4, dilation=2), (0, 9, 8)),
    "strided": (partial(NeighborhoodAttention, kernel_size=5, stride=2), (0, 8, 9)),
}


def built(name, seed=0):
    torch.manual_seed(seed)
    make, (index, height, width) = MIXERS[name]
    mixer = make(16, 4, index).eval()
    for param in mixer.parameters():
        nn.init.normal_(param, std=0.5)
    return mixer, torch.randn(2, height, width, 16)


@torch.no_grad()
@pytest.mark.parametrize("name", MIXERS)
def test_all_factors_are_the_bias(name):
    mixer, x = built(name)
    expected = mixer(x)
    (told,) = factorize_bias(mixer, x, energy=1.0)
    assert told.rank == mixer.factors.rank > 0
    assert told.energy == pytest.approx(1)
    assert told.largest_error < 1e-5
    torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-4)
    other = torch.randn(1, x.shape[1] + 3, x.shape[2] + 2, 16)  # the factors serve any map
    found = mixer(other)
    mixer.backend = "auto"
    torch.testing.assert_close(found, mixer(other), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("op", [window_attention, neighborhood_attention])
def test_they_run_where_no_kernel_knows_a_bias(op):
    """The inner call has none; every backend gives the same."""
    mixer, x = built("shifted" if op is window_attention else "neighborhood")
    expected = mixer(x)
    for inner in ("reference", "tiled", "traceable"):
        factorize_bias(mixer, x, energy=1.0, backend=inner)
        torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-4)
        mixer.backend = "auto"


@torch.no_grad()
def test_less_energy_needs_fewer_factors_and_its_error_is_told():
    mixer, x = built("shifted")
    rows, columns = (torch.linspace(-1, 1, side) for side in mixer.bias_table.shape[1:])
    smooth = torch.exp(-(rows[:, None] ** 2) - columns**2)
    mixer.bias_table.copy_(smooth * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None])
    exact = mixer(x)
    ranks, errors = [], []
    for energy in (0.9, 0.999, 1.0):
        (told,) = factorize_bias(mixer, x, energy=energy)
        assert told.energy >= energy - 1e-6
        ranks.append(told.rank)
        errors.append(float((mixer(x) - exact).abs().max()))
        mixer.backend = "auto"
    assert ranks == sorted(set(ranks))
    assert errors[0] > errors[1] > errors[2]
    (told,) = factorize_bias(mixer, x, energy=0.9)
    call = {"window": (3, 4), "bias": mixer.bias_table}
    q = k = torch.zeros(1, 3, 4, 4, 8)  # logits are the bias alone
    dense = probabilities(q, k, call["bias"], *_geometry(), torch.arange(12)).weights.log()
    ours, theirs = (part.flatten(0, 1) for part in mixer.factors.on_map(3, 4, _geometry()[0]))
    error = torch.einsum("qnr,knr->nqk", ours, theirs) - dense[0]
    error = error - error.mean(-1, keepdim=True)
    assert float(error.abs().max()) == pytest.approx(told.largest_error, rel=1e-3)


def _geometry():
    from visionattn.kernels.geometry import window_geometry

    return window_geometry(3, 4, (3, 4), 0, 1), 1.0


@torch.no_grad()
def test_a_whole_model_is_factored_and_told_module_by_module():
    torch.manual_seed(0)
    model = visionattn.create_backbone("swin_pico", num_classes=3).eval()
    for name, param in model.named_parameters():
        if name.endswith("bias_table"):
            nn.init.normal_(param)
    image = torch.randn(1, 3, 64, 96)
    expected = model(image)
    told = factorize_bias(model, image, energy=1.0)
    names = [name for name, module in model.named_modules() if hasattr(module, "bias_table")]
    assert [one.name for one in told] == names
    torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-4)
    assert set(model.state_dict()) == set(visionattn.create_backbone("swin_pico", num_classes=3).state_dict())
    assert factorize_bias(model, image) == []  # done already
    other = visionattn.create_backbone("swin_pico", num_classes=3).eval()
    told = factorize_bias(other, image, max_rank=1)
    assert {one.rank for one in told} == {0}
    assert all(block.mixer.backend == "auto" for stage in other.stages for block in stage.blocks)


def test_what_does_not_fit_is_refused():
    mixer, x = built("padded")
    with pytest.raises(ValueError, match=r"energy is above 0 and at most 1, got 1\.5"):
        factorize_bias(mixer, x, energy=1.5)
    with pytest.raises(ValueError, match="in evaluation mode"):
        factorize_bias(mixer.train(), x)
    factorize_bias(mixer.eval(), x)
    mixer.window_size = (3, 3)
    mixer.bias_table = nn.Parameter(torch.zeros(4, 5, 5))
    with pytest.raises(ValueError, match="the factors are those of 4 x 4 tokens"):
        mixer(x)
    mixer, x = built("padded")
    factorize_bias(mixer, x)
    mixer.bias_table.requires_grad_(True)
    with pytest.raises(ValueError, match="factors give no gradient"):
        mixer(x)


@torch.no_grad()
@pytest.mark.parametrize("energy", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("name", MIXERS)
def test_factors_keep_the_energy_that_is_asked_for(name, energy):
    mixer, x = built(name)
    (told,) = factorize_bias(mixer, x, energy=energy)
    assert energy <= told.energy
    assert told.rank < factorize_bias(built(name)[0], x, energy=1.0)[0].rank
