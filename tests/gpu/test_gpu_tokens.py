"""``token_attention`` on a device: what ``auto`` takes is right and repeats its bits, with and without a gradient."""

import pytest
import torch

from visionattn.benchmarks.device_time import device_times, own_stream
from visionattn.benchmarks.timing import interleaved
from visionattn.kernels import token_attention

SHAPES = {"to agents": (49, 784), "from agents": (784, 49), "few": (9, 21)}


def drawn(device, name, dtype):
    """q, k, v and a bias, with heads of 32 channels."""
    queries, keys = SHAPES[name]
    sizes = (4, queries, 3, 32), (4, keys, 3, 32), (4, keys, 3, 32), (3, queries, keys)
    return [torch.randn(size, device=device).to(dtype).requires_grad_() for size in sizes]


def results(tensors, backend, dtype):
    q, k, v, bias = (x.detach().to(dtype).requires_grad_() for x in tensors)
    out = token_attention(q, k, v, bias=bias, backend=backend)
    return [out.detach(), *torch.autograd.grad(out.float().square().sum(), (q, k, v, bias))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_tokens_are_right_and_repeat_their_bits(device, name, dtype):
    tensors = drawn(device, name, dtype)
    truth, plain = results(tensors, "reference", torch.float64), results(tensors, "reference", dtype)
    ours, again = results(tensors, "auto", dtype), results(tensors, "auto", dtype)
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
    for t, p, o in zip(truth, plain, ours, strict=True):
        allowed = 2 * float((p.double() - t).abs().max()) + torch.finfo(dtype).eps * float(t.abs().max())
        assert float((o.double() - t).abs().max()) <= allowed


def test_without_a_gradient_of_the_bias_torchs_kernels_run(cuda):
    q, k, v, bias = drawn(cuda, "from agents", torch.bfloat16)
    assert "no gradient that two runs agree on" in token_attention.explain(q, k, v, bias=bias)["fused"]
    assert token_attention.explain(q, k, v)["fused"] == ""
    with torch.no_grad():
        assert token_attention.explain(q, k, v, bias=bias)["fused"] == ""
        ours, truth = (token_attention(q, k, v, bias=bias, backend=name) for name in ("auto", "reference"))
    torch.testing.assert_close(ours, truth, rtol=2e-2, atol=2e-2)


def test_the_seconds_of_tokens(cuda, record_property):
    """The time of both passes beside torch's, as at Agent-Swin-T's first stage with 64 images in bfloat16."""
    found = {}
    for name, (queries, keys) in {"to agents": (49, 3136), "from agents": (3136, 49)}.items():
        sizes = (64, queries, 3, 32), (64, keys, 3, 32), (64, keys, 3, 32)
        q, k, v = (torch.randn(size, device=cuda, dtype=torch.bfloat16, requires_grad=True) for size in sizes)
        bias = torch.randn(3, queries, keys, device=cuda, requires_grad=True)
        runners = {}
        for backend in ("auto", "tiled"):

            def run(backend=backend, q=q, k=k, v=v, bias=bias):
                out = token_attention(q, k, v, bias=bias, backend=backend)
                torch.autograd.grad(out, (q, k, v, bias), torch.ones_like(out))

            run()
            runners[f"{name}, {backend}"] = run
        with own_stream(cuda):
            wall = interleaved(runners, 5, cuda)
            times = device_times(runners, wall, cuda)
        found |= {label: (min(wall[label]) * 1e3, min(one.seconds) * 1e3) for label, one in times.items()}
    record_property("milliseconds on the wall and on the device", found)
    assert token_attention.explain(q, k, v, bias=bias)["triton"] == ""
