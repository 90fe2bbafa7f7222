"""``selective_scan`` on a device: what ``auto`` takes is right, repeats its bits and compiles."""

import pytest
import torch

from visionattn.attention import SelectiveScan
from visionattn.kernels import selective_scan

SHAPES = {
    "square": (2, 14, 14, 96, 1),
    "wide": (1, 3, 75, 33, 1),
    "column": (2, 40, 1, 8, 1),
    "states": (1, 9, 7, 20, 16),
}


def drawn(device, name):
    """x, delta, a, b, c and the gradient of the output, in float32."""
    *size, states = SHAPES[name]
    shapes = [size, (*size[:3], 4, size[3]), (4, size[3], states), *[(*size[:3], 4, states)] * 2, size]
    x, delta, a, b, c, grad = (torch.randn(*shape, device=device) for shape in shapes)
    return [x, 2 * delta, -a.exp(), b, c, grad]


def results(tensors, backend, dtype):
    *inputs, grad = (t.detach().to(dtype).requires_grad_() for t in tensors)
    out = selective_scan(*inputs, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad.detach())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_scans_are_right_and_repeat_their_bits(device, name, dtype):
    tensors = [t.to(dtype) for t in drawn(device, name)]
    truth, plain = results(tensors, "reference", torch.float64), results(tensors, "reference", dtype)
    ours, again = results(tensors, "auto", dtype), results(tensors, "auto", dtype)
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
    for t, p, o in zip(truth, plain, ours, strict=True):
        allowed = 2 * float((p.double() - t).abs().max()) + 4 * torch.finfo(dtype).eps * float(t.abs().max())
        assert float((o.double() - t).abs().max()) <= allowed


def test_auto_takes_the_kernels_of_a_card(cuda):
    call = drawn(cuda, "square")[:-1]
    assert selective_scan.explain(*call)["triton"] == ""
    with torch.autocast("cuda", torch.bfloat16):
        assert selective_scan(*call).dtype == torch.bfloat16


def test_a_mixer_compiles_as_one_graph(device, compiled):
    module = SelectiveScan(32).to(device)
    x = torch.randn(2, 7, 9, 32, device=device)
    torch.testing.assert_close(compiled(module)(x), module(x), rtol=1e-3, atol=1e-4)


def test_the_seconds_of_a_scan(cuda, record_property):
    """The time of forward and backward beside torch's, 56 x 56 x 96 with 32 images in bfloat16."""
    SHAPES["large"] = (32, 56, 56, 96, 1)
    *inputs, grad = (t.bfloat16().requires_grad_() for t in drawn(cuda, "large"))
    found = {}
    for name in ("auto", "reference"):
        for _ in range(3):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            torch.autograd.grad(selective_scan(*inputs, backend=name), inputs, grad.detach())
            end.record()
            torch.cuda.synchronize()
            found[name] = begin.elapsed_time(end)
    record_property("milliseconds", found)
