"""``token_attention`` on a device: what ``auto`` takes is right and repeats its bits, with and without a gradient."""

import pytest
import torch

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
