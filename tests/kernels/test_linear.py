"""Linear layers through oneDNN are torch's linear layers, forward and backward."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from visionattn.kernels import linear as module
from visionattn.kernels.linear import Linear, linear, linear_then

needs_onednn = pytest.mark.skipif(not module._AVAILABLE, reason="this build of torch has no oneDNN")


@pytest.fixture
def always(monkeypatch):
    """Products of any size go to oneDNN, and are counted."""
    calls = []
    product = module._product
    monkeypatch.setattr(module, "SMALLEST", 0)
    monkeypatch.setattr(module, "_product", lambda *args: calls.append(args) or product(*args))
    return calls


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4, 7)])
def test_value_and_gradients_equal_torchs(always, shape, bias):
    layer = Linear(7, 9, bias=bias)
    x = torch.randn(shape, requires_grad=True)
    weights = torch.randn(*shape[:-1], 9)
    leaves = [x, *layer.parameters()]
    ours, theirs = layer(x), F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(ours, theirs)
    assert len(always) == 1
    expected = torch.autograd.grad((theirs * weights).sum(), leaves)
    got = torch.autograd.grad((ours * weights).sum(), leaves)
    assert len(always) == 3
    torch.testing.assert_close(got, expected)


@needs_onednn
def test_second_derivatives_equal_torchs(always):
    x, layer = torch.randn(4, 7, requires_grad=True), Linear(7, 5)
    results = []
    for y in (layer(x), F.linear(x, layer.weight, layer.bias)):
        (first,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), [x, layer.weight]))
    torch.testing.assert_close(*results)


@needs_onednn
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_the_activation_is_computed_with_the_product_where_no_gradient_is_needed(always, approximate):
    layer, act, x = Linear(7, 9), nn.GELU(approximate), torch.randn(2, 5, 7)
    with torch.no_grad():
        torch.testing.assert_close(linear_then(layer, act, x), act(F.linear(x, layer.weight, layer.bias)))
    assert always[0][3:] == ("gelu", approximate)
    assert linear_then(layer, act, x).requires_grad
    assert always[1][3:] == ()


@needs_onednn
def test_autocast_gives_the_autocast_type(always):
    layer, act, x = Linear(7, 9), nn.GELU(), torch.randn(2, 5, 7)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == linear_then(layer, act, x).dtype == torch.bfloat16
        error = (linear_then(layer, act, x).float() - act(layer(x)).float()).abs().max()
    assert error < 0.02


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
def test_training_in_bfloat16_errs_no_more_than_torchs(always, bias):
    layer, x, grad = Linear(24, 40, bias=bias), torch.randn(6, 5, 24), torch.randn(6, 5, 40).bfloat16()
    leaves = [x.requires_grad_(), *layer.parameters()]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]

    def results(y, leaves):
        first = torch.autograd.grad(y, leaves, grad.to(y.dtype), create_graph=True)
        return [y.detach(), *first, *torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), leaves[:2])]

    truth = results(F.linear(*exact), exact)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = layer(x), F.linear(x, *leaves[1:])
    assert len(always) == 1
    for own, plain, expected in zip(results(ours, leaves), results(theirs, leaves), truth, strict=True):
        assert own.dtype == plain.dtype
        bound = (plain.double() - expected).abs().max() * 1.5 + 1e-6
        assert (own.double() - expected).abs().max() <= bound


@needs_onednn
def test_hooks_and_other_activations_are_honoured(always):
    layer, x, seen = Linear(7, 9), torch.randn(2, 5, 7), []
    layer.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        linear_then(layer, nn.GELU(), x)
        torch.testing.assert_close(linear_then(Linear(7, 9), nn.ReLU(), x).clamp(max=0).abs().max(), torch.tensor(0.0))
    assert len(seen) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_and_small_products_are_torchs_own(monkeypatch, dtype):
    monkeypatch.setattr(module, "_product", None)
    layer = Linear(7, 9)
    layer(torch.randn(3, 7))
    monkeypatch.setattr(module, "SMALLEST", 0)
    layer = layer.to(dtype)
    assert layer(torch.randn(3, 7, dtype=dtype)).dtype == dtype


@needs_onednn
def test_operations_are_counted(always):
    x, layer = torch.randn(4, 7), Linear(7, 5)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        linear(x, layer.weight, layer.bias)
    assert always
    assert counter.get_total_flops() == 2 * 4 * 7 * 5
