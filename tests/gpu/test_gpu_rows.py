"""Norms and GELU after a norm or a linear layer on a device: right, of equal bits, and taken by a block."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from visionattn.attention import WindowAttention
from visionattn.backbones.block import Block
from visionattn.backbones.families.maxvit import MaxViTStem, MBConv
from visionattn.kernels.backends.triton import rows
from visionattn.kernels.linear import Linear, linear_then
from visionattn.kernels.norm import LayerNorm, with_norm

SHAPES = {
    "one tile": (2, 3, 5, 96),
    "many tiles": (8, 56, 56, 96),
    "odd channels": (3, 7, 5, 50),
    "wide": (2, 7, 7, 1024),
}


def results(run, layer, x):
    x = x.detach().requires_grad_()
    out = run(layer, x)
    grad = torch.linspace(-1, 2, out.numel(), dtype=out.dtype, device=out.device).view(out.shape)
    return [out.detach(), *torch.autograd.grad(out, [x, *layer.parameters()], grad)]


def beside(layer, x):
    x, normed = with_norm(x, layer)
    return x.cos() + normed.sin()


def hidden(layer, x):
    return linear_then(layer, nn.GELU(), x)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("run", [beside, hidden])
def test_right_to_rounding_and_equal_bits(device, run, name):
    channels = SHAPES[name][-1]
    layer = LayerNorm(channels) if run is beside else Linear(channels, 2 * channels)
    x = 2 * torch.randn(SHAPES[name]) + 0.5
    truth = results(run, layer.double(), x.double())
    layer, x = layer.float().to(device), x.to(device)
    found, again = (results(run, layer, x) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    for expected, got in zip(truth, found, strict=True):
        torch.testing.assert_close(got.cpu().double(), expected, rtol=1e-4, atol=2e-5 * float(expected.abs().max()))


def bottleneck(layer, x):
    return layer(x)


@pytest.mark.parametrize("side", [14, 56])
def test_a_bottleneck_is_right_and_repeats_its_bits(device, side):
    torch.manual_seed(0)
    layer, x = MBConv(64, 64, stride=1), torch.randn(4, side, side, 64)
    for _, parameter in sorted(layer.named_parameters()):
        nn.init.normal_(parameter, std=0.3)
    truth = results(bottleneck, copy.deepcopy(layer).double(), x.double())
    first, second = copy.deepcopy(layer).to(device), copy.deepcopy(layer).to(device)
    found, again = results(bottleneck, first, x.to(device)), results(bottleneck, second, x.to(device))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    largest = max(float(expected.abs().max()) for expected in truth)
    for expected, got in zip(truth, found, strict=True):
        torch.testing.assert_close(got.cpu().double(), expected, rtol=1e-3, atol=1e-4 * largest)
    torch.testing.assert_close(first.norm1.running_var, second.norm1.running_var)


def test_maps_of_a_convolutional_stem_have_channels_last(cuda):
    stem = MaxViTStem(3, 64).to(cuda)
    with torch.autocast("cuda", torch.bfloat16):
        assert stem(torch.randn(2, 3, 32, 32, device=cuda)).is_contiguous()


def block(device):
    torch.manual_seed(0)
    return Block(64, WindowAttention(64, 2, window_size=7)).to(device)


def test_a_block_takes_the_kernels_under_autocast(cuda):
    layer, x = block(cuda), torch.randn(2, 14, 14, 64, device=cuda)
    with torch.autocast("cuda", torch.bfloat16):
        normed = layer.norm1(x.bfloat16())
        plain = F.layer_norm(x.bfloat16(), (64,), layer.norm1.weight, layer.norm1.bias)
        assert "Gelu" in type(linear_then(layer.ffn.fc1, layer.ffn.act, normed).grad_fn).__name__
    assert (normed.dtype, plain.dtype) == (torch.bfloat16, torch.float32)
    assert "Norm" in type(normed.grad_fn).__name__
    torch.testing.assert_close(normed.float(), plain, rtol=1e-2, atol=1e-2)


def test_compiles_as_one_graph(device, compiled):
    layer, x = block(device), torch.randn(2, 14, 14, 64, device=device)
    form = compiled(layer)
    for expected, got in zip(
        results(nn.Module.__call__, layer, x), results(lambda _, x: form(x), layer, x), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * max(float(expected.abs().max()), 1.0))


def test_the_milliseconds_beside_torchs(cuda, record_property):
    """Forward and backward at Swin-T's first stage, 64 images, bfloat16 maps under autocast."""
    x = torch.randn(64, 56, 56, 96, device=cuda, dtype=torch.bfloat16, requires_grad=True)
    norm, first = LayerNorm(96).to(cuda), Linear(96, 384).to(cuda)
    maps = x.detach().permute(0, 3, 1, 2).requires_grad_()
    batch, act = nn.BatchNorm2d(96).to(cuda), nn.GELU("tanh")
    runs = {
        "batch norm, kernels": lambda: rows.batch_norm(batch, maps, "tanh"),
        "batch norm, torch": lambda: act(batch(maps)),
        "norm, kernels": lambda: norm(x),
        "norm, torch": lambda: F.layer_norm(x, (96,), norm.weight, norm.bias).bfloat16(),
        "gelu, kernels": lambda: linear_then(first, nn.GELU(), x),
        "gelu, torch": lambda: F.gelu(first(x)),
    }
    for name, run in runs.items():
        for _ in range(3):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            with torch.autocast("cuda", torch.bfloat16):
                begin.record()
                out = run()
            out.backward(out.detach())
            end.record()
            end.synchronize()
        record_property(f"{name}, ms", begin.elapsed_time(end))
