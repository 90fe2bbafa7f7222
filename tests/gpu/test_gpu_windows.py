"""The kernels for windows that are one block, on a device: what the tests of both operators do not reach."""

from dataclasses import replace

import pytest
import torch

from tests.gpu.gpu_shapes import make
from visionattn.benchmarks.kernels import compare
from visionattn.kernels import window_attention
from visionattn.kernels.backends.triton import attend, attend_packed

# name: (batch, height, width, heads, D, E), the op's arguments, with bias
WINDOWS = {
    "merged along both axes": ((3, 28, 21, 3, 32, 32), {"window": 7, "shift": (3, 5)}, True),
    "merged, not full": ((2, 26, 19, 2, 32, 32), {"window": 7, "shift": 3}, True),
    "merged into a single window": ((4, 7, 7, 6, 32, 32), {"window": 7, "shift": 3}, True),
    "merged grid": ((2, 28, 28, 2, 32, 32), {"window": 7, "shift": 3, "dilation": 2}, True),
    "merged without a bias": ((2, 28, 28, 2, 32, 32), {"window": 7, "shift": 3}, False),
    "no padding": ((2, 32, 32, 2, 32, 32), {"window": 8, "shift": 4}, True),
    "16 points": ((2, 32, 32, 2, 32, 32), {"window": 4, "shift": 2}, True),
    "25 points": ((2, 30, 32, 2, 16, 24), {"window": 5, "shift": 2}, True),
    "strips of 56": ((2, 56, 28, 2, 32, 32), {"window": (28, 2)}, False),
    "strips of 98": ((2, 14, 14, 4, 32, 32), {"window": (14, 7)}, False),
    "strips of 98, cut": ((2, 13, 17, 2, 32, 32), {"window": (14, 7), "shift": (5, 3)}, False),
    "wide heads": ((1, 28, 28, 2, 64, 128), {"window": 7, "shift": 3}, True),
    "uneven groups": ((2, 29, 31, 2, 32, 32), {"window": 3, "shift": 1, "dilation": (4, 3)}, True),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", WINDOWS)
def test_windows_of_one_block_are_right(cuda, name, dtype):
    shape, arguments, biased = WINDOWS[name]
    errors = compare(make(shape, arguments, dtype, cuda, biased), attend)
    assert {name: error for name, error in errors.items() if not error.is_fine} == {}


@pytest.mark.parametrize("name", ["merged along both axes", "merged, not full", "16 points"])
def test_window_gradients_in_one_tensor_repeat_their_bits(cuda, name):
    """The packed form gives the bits of three tensors, every time, whichever gradients are wanted."""
    shape, arguments, _ = WINDOWS[name]
    call = make((16, *shape[1:4], shape[4], shape[4]), arguments, torch.bfloat16, cuda)
    leaves = [t.detach().clone().requires_grad_() for t in (call.q, call.k, call.v, call.bias)]
    out = attend(*leaves, call.geometry, call.scale)
    upstream = torch.randn_like(out)
    expected = torch.autograd.grad(out, leaves, upstream)
    qkv = torch.stack((call.q, call.k, call.v), 3).requires_grad_()
    bias = call.bias.clone().requires_grad_()
    for _ in range(3):
        packed = attend_packed(qkv, bias, call.geometry, call.scale)
        assert torch.equal(packed, out)
        gradient, table = torch.autograd.grad(packed, (qkv, bias), upstream)
        for found, wanted in zip((*gradient.unbind(3), table), expected, strict=True):
            assert torch.equal(found, wanted)
    alone = attend(call.q, call.k, call.v, bias, call.geometry, call.scale)
    assert torch.equal(torch.autograd.grad(alone, bias, upstream)[0], expected[3])


def test_windows_take_gradients_of_any_strides(cuda):
    call = make((2, 14, 14, 3, 32, 32), {"window": 7, "shift": 3}, torch.bfloat16, cuda)
    call = replace(call, q=call.q.clone().requires_grad_())
    out = attend(call.q, call.k, call.v, call.bias, call.geometry, call.scale)
    upstream = torch.randn(2, 3, 14, 14, 32, device=cuda).bfloat16().permute(0, 2, 3, 1, 4)
    strided = torch.autograd.grad(out, call.q, upstream, retain_graph=True)[0]
    assert torch.equal(strided, torch.autograd.grad(out, call.q, upstream.contiguous())[0])


def test_windows_of_batches_beyond_32_bits(cuda):
    """The last image of a batch of more than 2**31 values equals the same image alone, in both directions."""
    x = torch.zeros(700, 56, 56, 16, 64, device=cuda, dtype=torch.bfloat16)
    assert x.numel() > 2**31
    x[-1].normal_()
    alone = x[-1:].clone().requires_grad_()
    x.requires_grad_()
    results = []
    for maps in (x, alone):
        out = window_attention(maps, maps, maps, window=7, shift=3, backend="triton")
        results.append((out[-1:].detach().clone(), torch.autograd.grad(out, maps, out.detach())[0][-1:].clone()))
        del out
    for whole, single in zip(*results, strict=True):
        assert torch.equal(whole, single)


def test_windows_are_captured_in_a_graph(cuda):
    call = make((4, 28, 28, 3, 32, 32), {"window": 7, "shift": 3}, torch.bfloat16, cuda)
    leaves = [t.detach().clone().requires_grad_() for t in (call.q, call.k, call.v, call.bias)]

    def step() -> list[torch.Tensor]:
        out = attend(*leaves, call.geometry, call.scale)
        return [out, *torch.autograd.grad(out, leaves, torch.ones_like(out))]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        expected = step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
