"""Packed weights that are kept from one inference to the next give what the weight of now gives."""

import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from visionattn.backbones.feed_forward import FeedForward
from visionattn.backbones.squeeze_excite import SqueezeExcite
from visionattn.kernels import linear as module
from visionattn.kernels.backends.cpp import build, packed, products
from visionattn.kernels.convolution import convolve
from visionattn.kernels.linear import Linear, linear

pytestmark = pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler on this machine")
BF16 = torch.bfloat16
Change = Callable[[nn.Module], object]


@pytest.fixture(autouse=True)
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "available", lambda: True)
    monkeypatch.setattr(module, "SMALLEST", 0)
    monkeypatch.setattr(packed, "_KEPT", {})


def inferred(layers: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode(), torch.autocast("cpu", BF16):
        return layers(x).clone()


def anew(layers: nn.Module, x: Tensor) -> Tensor:
    """The same with gradients, which keeps no weight."""
    with torch.autocast("cpu", BF16):
        return layers(x).detach()


def fused_step(layers: nn.Module) -> None:
    for parameter in layers.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.AdamW(layers.parameters(), lr=0.1, fused=True).step()


def set_row(layers: nn.Module) -> None:
    next(layers.parameters()).data[-1] = 3.0


def set_columns(layers: nn.Module) -> None:
    for parameter in layers.parameters():
        parameter.data.movedim(min(1, parameter.dim() - 1), 0)[2:3] = -2.0


def set_all(layers: nn.Module) -> None:
    for parameter in layers.parameters():
        parameter.data = torch.randn(parameter.shape)


CHANGES = {
    "in place": lambda layers: [nn.init.normal_(parameter) for parameter in layers.parameters()],
    "loaded": lambda layers: layers.load_state_dict({k: v * 2 for k, v in layers.state_dict().items()}),
    "fused": fused_step,
    "row": set_row,
    "column": set_columns,
    "data": set_all,
}


@pytest.mark.parametrize("rows", [3, 200])
@pytest.mark.parametrize("make", [lambda: Linear(48, 112), lambda: FeedForward(96, 208)], ids=["linear", "two"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_that_changes_is_packed_anew(change: str, make: Callable[[], nn.Module], rows: int) -> None:
    layers = make()
    x = torch.randn(rows, next(layers.parameters()).shape[1]).to(BF16)
    first = inferred(layers, x)
    assert len(packed._KEPT) == sum(parameter.dim() == 2 for parameter in layers.parameters())
    panels = [found.panels for found in packed._KEPT.values()]
    assert torch.equal(first, inferred(layers, x))
    assert all(found.panels is one for found, one in zip(packed._KEPT.values(), panels, strict=True))
    CHANGES[change](layers)
    second = inferred(layers, x)
    assert not torch.equal(first, second)
    assert torch.equal(second, anew(layers, x))


def test_training_and_the_end_of_a_layer_drop_what_is_kept() -> None:
    layer, x = Linear(32, 64), torch.randn(5, 32).to(BF16)
    inferred(layer, x)
    assert len(packed._KEPT) == 1
    anew(layer, x)
    assert not packed._KEPT
    inferred(layer, x)
    del layer
    gc.collect()
    assert not packed._KEPT


def test_only_whole_parameters_are_kept() -> None:
    convolution, x = nn.Conv2d(32, 64, 1), torch.randn(2, 3, 4, 32).to(BF16)
    with torch.inference_mode(), torch.autocast("cpu", BF16):
        found = linear(x, convolution.weight.flatten(1), convolution.bias)
        assert list(packed._KEPT) == [id(convolution.weight)]
        linear(x, convolution.weight.flatten(1)[:16])
        linear(x, convolution.weight.flatten(1) * 2)
        temporary = Linear(32, 48)
        temporary(x)
    assert list(packed._KEPT) == [id(convolution.weight)]
    assert packed._KEPT[id(convolution.weight)].shape == (64, 32)
    expected = convolution(x.permute(0, 3, 1, 2).float()).permute(0, 2, 3, 1)
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(("inputs", "groups", "size"), [(3, 1, 9), (32, 1, 7), (48, 48, 8)])
@pytest.mark.parametrize("change", CHANGES)
def test_a_convolution_by_its_kept_weight_is_torchs(change: str, inputs: int, groups: int, size: int) -> None:
    layer = nn.Conv2d(inputs, 48, 3, stride=2, padding=1, groups=groups, bias=inputs != 3)
    x = torch.randn(2, inputs, size, size).to(BF16).contiguous(memory_format=torch.channels_last)
    for _ in range(2):
        for _ in range(2):
            with torch.inference_mode(), torch.autocast("cpu", BF16):
                found = convolve(layer, x)
                assert torch.equal(found, layer(x))
            assert found.stride() == layer(x.float()).contiguous(memory_format=torch.channels_last).stride()
        assert list(packed._KEPT) == [id(layer.weight)]
        CHANGES[change](layer)
    with torch.autocast("cpu", BF16):
        assert convolve(layer, x).requires_grad
    calls: list[int] = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    inferred(layer, x)
    with torch.no_grad(), torch.autocast("cpu", BF16):
        convolve(layer, x)
    assert calls == [1, 1]


@pytest.mark.parametrize(("size", "act"), [((9, 6), nn.GELU), ((1, 1), nn.SiLU), ((33, 21), nn.ReLU)])
def test_squeeze_and_excitation_in_inference_errs_no_more_than_torchs(size: tuple[int, int], act: type) -> None:
    gate = SqueezeExcite(48, rd_channels=12, act_layer=act)
    x = (torch.randn(3, 48, *size) + 1).to(BF16).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        with torch.autocast("cpu", BF16):
            assert gate._own(x)
            assert not gate._own(x.contiguous(memory_format=torch.contiguous_format)) or size == (1, 1)
            ours, theirs = gate(x), super(SqueezeExcite, gate).forward(x)
        truth = super(SqueezeExcite, gate).forward(x.float()).double()
    assert (ours.dtype, ours.stride()) == (theirs.dtype, theirs.stride())
    assert (ours.double() - truth).norm() <= (theirs.double() - truth).norm()
