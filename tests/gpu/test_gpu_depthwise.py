"""Depthwise convolutions on a device: the kernels are right, repeat their bits and are taken by a model."""

import pytest
import torch
from torch import nn

from visionattn.backbones.families.davit import ConvPosition
from visionattn.kernels.depthwise import on_map
from visionattn.kernels.folding import SameConv

SHAPES = {"whole tiles": (2, 16, 24, 64), "cut tiles": (3, 7, 13, 96), "odd channels": (1, 9, 5, 20)}


def results(run, layer, x, grad):
    x = x.detach().requires_grad_()
    out = run(layer, x)
    return [out.detach(), *torch.autograd.grad(out, [x, *layer.parameters()], grad.to(out.dtype))]


def added(layer, x):
    return on_map(layer, x, add=True)


def convolved(layer, x):
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_right_to_rounding_and_equal_bits(device, name, strided):
    channels = SHAPES[name][3]
    if strided:
        run, layer = convolved, SameConv(channels, channels, stride=2, groups=channels)
    else:
        run, layer = added, nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    x = torch.randn(SHAPES[name])
    grad = torch.randn(run(layer, x).shape)
    truth = results(run, layer.double(), x.double(), grad)
    layer, x, grad = layer.float().to(device), x.to(device), grad.to(device)
    found, again = (results(run, layer, x, grad) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    for expected, got in zip(truth, found, strict=True):
        torch.testing.assert_close(got.cpu().double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_a_card_takes_the_kernels_under_autocast(cuda):
    layer, x = ConvPosition(64).to(cuda), torch.randn(2, 9, 9, 64, device=cuda, requires_grad=True)
    with torch.autocast("cuda", torch.bfloat16):
        out = layer(x)
    assert "Depthwise" in type(out.grad_fn).__name__
    assert out.dtype == torch.float32
    expected = x + layer.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-3)


def test_compiles_as_one_graph(device, compiled):
    layer, x = ConvPosition(32).to(device), torch.randn(2, 7, 9, 32, device=device)
    torch.testing.assert_close(compiled(layer)(x), layer(x), rtol=1e-4, atol=1e-4)


def test_the_milliseconds_beside_cudnn(cuda, record_property):
    """Forward and backward at DaViT-T's first stage, 64 images, float32 maps under bfloat16 autocast."""
    layer, x = ConvPosition(96).to(cuda), torch.randn(64, 56, 56, 96, device=cuda, requires_grad=True)
    grad, found = torch.randn_like(x), {}
    for name, run in {"kernels": layer, "cudnn": lambda x: x + convolved(layer.conv, x)}.items():
        for _ in range(3):
            with torch.autocast("cuda", torch.bfloat16):
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                out = run(x)
            out.backward(grad)
            end.record()
            end.synchronize()
        found[name] = begin.elapsed_time(end)
        record_property(f"{name}, ms", found[name])
    print(found)
