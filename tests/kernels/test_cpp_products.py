"""Linear layers of the C++ library in bfloat16 err no more than torch's, forward and backward."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from visionattn.backbones.feed_forward import FeedForward
from visionattn.kernels import linear as module
from visionattn.kernels.backends.cpp import build, products
from visionattn.kernels.linear import Linear, feed_forward

pytestmark = pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler on this machine")
BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of any size are computed so, also on CPUs where oneDNN is faster; a map of 20 rows is in pieces."""
    monkeypatch.setattr(products, "available", lambda: True)
    monkeypatch.setattr(products, "PIECE_BYTES", 1 << 12)
    monkeypatch.setattr(products, "PART_ROWS", 3)
    monkeypatch.setattr(module, "SMALLEST", 0)


def autocast() -> torch.autocast:
    return torch.autocast("cpu", BF16)


def by_torch(layers: nn.Module, x: Tensor, approximate: str = "none") -> Tensor:
    if isinstance(layers, nn.Linear):
        return F.linear(x, layer_of(layers.weight, x), None if layers.bias is None else layer_of(layers.bias, x))
    return by_torch(layers.fc2, F.gelu(by_torch(layers.fc1, x), approximate=approximate))


def layer_of(parameter: Tensor, x: Tensor) -> Tensor:
    return parameter.double() if x.dtype == torch.float64 else parameter


def gradients(layers: nn.Module, x: Tensor, grad: Tensor, run: Callable[[Tensor], Tensor]) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = run(x)
    return [y.detach(), *torch.autograd.grad(y, [x, *layers.parameters()], grad.to(y.dtype))]


def errs_no_more(layers: nn.Module, x: Tensor, outputs: int, approximate: str = "none") -> list[Tensor]:
    grad = torch.randn(*x.shape[:-1], outputs).to(BF16)
    with autocast():
        ours = gradients(layers, x, grad, layers)
        theirs = gradients(layers, x, grad, lambda x: by_torch(layers, x, approximate))
    exact = gradients(layers, x.double(), grad, lambda x: by_torch(layers, x, approximate))
    for own, plain, truth in zip(ours, theirs, exact, strict=True):
        assert own.dtype == plain.dtype
        errors = [(found.double() - truth).norm() for found in (own, plain)]
        assert errors[0] <= errors[1] * 1.1 + 1e-5 * truth.norm()
    return ours


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (48, 80), (64, 208), (112, 400), (400, 64)])
@pytest.mark.parametrize("rows", [(1,), (2, 3, 7), (523,)])
def test_a_linear_layer_errs_no_more_than_torchs(rows: tuple[int, ...], inputs: int, outputs: int) -> None:
    layer, x = Linear(inputs, outputs, bias=outputs != 80), torch.randn(*rows, inputs).to(BF16)
    with autocast():
        assert type(layer(x).grad_fn).__name__ == "_LinearBackward"
        assert layer(x[:0]).shape == (0, *rows[1:], outputs)
    errs_no_more(layer, x, outputs)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize(("rows", "width"), [((3, 5, 4), 16), ((2, 41), 96), ((1,), 48)])
def test_a_feed_forward_network_errs_no_more_than_torchs(rows: tuple[int, ...], width: int, approximate: str) -> None:
    layers = FeedForward(width, 4 * width, act_layer=lambda: nn.GELU(approximate))
    x = torch.randn(*rows, width).to(BF16)
    with autocast(), torch.no_grad():
        value = layers(x)
    assert (errs_no_more(layers, x, width, approximate)[0] == value).all()
    with autocast():
        assert type(layers(x).grad_fn).__name__ == "_FeedForwardBackward"


def test_neither_threads_nor_repetition_change_a_bit() -> None:
    layers, x = FeedForward(96, 192), torch.randn(331, 96).to(BF16)
    grad, threads, found = torch.randn(331, 96).to(BF16), torch.get_num_threads(), []
    try:
        for number in (1, 2, 3, 2):
            torch.set_num_threads(number)
            with autocast():
                found.append(gradients(layers, x, grad, layers))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, first) for run in found[1:] for one, first in zip(run, found[0], strict=True))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_pieces_of_gelu_err_by_less_than_two_millionths(approximate: str) -> None:
    x = torch.linspace(0, 8, 40_001, dtype=torch.float64).requires_grad_()
    place = (x * products.PER_UNIT).clamp(max=products.PIECES - 1)
    powers = (place - place.detach().round()) ** torch.arange(products.DEGREE + 1)[:, None]
    table = products._table(approximate).double()[:, place.detach().round().long()]
    own, truth = x / 2 + x * (powers * table).sum(0), F.gelu(x, approximate=approximate)
    slope, true_slope = (torch.autograd.grad(value.sum(), x)[0] for value in (own, truth))
    assert (own - truth).abs().max() < 1e-6
    assert (slope - true_slope).abs().max() < 2e-6


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_and_its_slope_at_every_bfloat16_number(approximate: str) -> None:
    numbers = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(-1, 16).view(BF16)
    ones, slopes, found = (torch.ones_like(numbers) for _ in range(3))
    written = {"out": slopes, "activated": found}
    products._multiply(ones, torch.eye(16), back=True, hidden=numbers, gelu=products._table(approximate), **written)
    finite, exact = torch.isfinite(numbers), numbers.double()
    slope = torch.ops.aten.gelu_backward(ones.double(), exact.clamp(-1e9, 1e9), approximate=approximate)
    values = F.gelu(exact, approximate=approximate)
    for own, expected in ((found, values), (slopes, slope)):
        torch.testing.assert_close(own[finite], expected[finite].to(BF16), rtol=1e-2, atol=8e-6)
        assert own[numbers.isnan()].isnan().all()


def test_second_derivatives_are_torchs() -> None:
    layers, x = FeedForward(16, 32), torch.randn(5, 16).to(BF16)
    results = []
    for run in (layers, lambda x: by_torch(layers, x)):
        x = x.detach().requires_grad_()
        with autocast():
            (first,) = torch.autograd.grad(run(x).float().sin().sum(), x, create_graph=True)
            results.append(torch.autograd.grad(first.float().square().sum(), [x, layers.fc1.weight, layers.fc2.weight]))
    torch.testing.assert_close(*results, rtol=0.05, atol=0.02)


def test_frozen_layers_and_frozen_inputs_have_no_gradient() -> None:
    layers, x = FeedForward(16, 32), torch.randn(5, 16).to(BF16)
    layers.fc1.requires_grad_(False)
    with autocast():
        layers(x).float().sum().backward()
        expected = by_torch(layers, x)
    assert layers.fc1.weight.grad is None
    torch.testing.assert_close(layers.fc2.bias.grad, torch.full((16,), 5.0))
    assert torch.autograd.grad(expected.float().sum(), layers.fc2.weight)[0].shape == layers.fc2.weight.grad.shape
    for parameter in layers.parameters():
        parameter.requires_grad_(False)
    with autocast():
        assert layers(x).grad_fn is None


def test_checkpoints_compute_the_same() -> None:
    layers, x, found = FeedForward(48, 96), torch.randn(70, 48).to(BF16), []
    for run in (layers, lambda x: checkpoint(layers, x, use_reentrant=False)):
        with autocast():
            found.append(gradients(layers, x, torch.ones(70, 48), run))
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_where_somebody_looks_the_layers_are_torchs() -> None:
    layers, x, calls = FeedForward(16, 32), torch.randn(5, 16).to(BF16).requires_grad_(), []
    with autocast(), FlopCounterMode(display=False) as counter:
        layers(x)
    assert counter.get_total_flops() == 2 * 2 * 5 * 16 * 32
    with autocast():
        assert torch.func.grad(lambda x: layers(x).float().sum())(x).shape == x.shape
    for register in (nn.Module.register_forward_hook, nn.Module.register_full_backward_hook):
        for part in (layers.fc1, layers.act, layers.fc2):
            handle = register(part, lambda *args: calls.append(1))
            with autocast():
                y = feed_forward(layers.fc1, layers.act, layers.fc2, x)
            assert type(y.grad_fn).__name__ != "_FeedForwardBackward"
            handle.remove()
    odd = Linear(24, 40)
    with autocast():
        assert type(odd(torch.randn(5, 24)).grad_fn).__name__ != "_LinearBackward"
        assert odd(torch.randn(5, 24)).dtype == BF16
