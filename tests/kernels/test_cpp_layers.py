"""GELU, layer norms and strided depthwise convolutions of the C++ library in bfloat16 err no more than torch's."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from visionattn.kernels import activation as activation_module
from visionattn.kernels import norm as norm_module
from visionattn.kernels.activation import activate, gelu
from visionattn.kernels.backends.cpp import build, layers
from visionattn.kernels.folding import SameConv
from visionattn.kernels.linear import Linear, linear_then
from visionattn.kernels.norm import LayerNorm, with_norm

pytestmark = pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler on this machine")
BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_module, "SMALLEST", 0)
    monkeypatch.setattr(norm_module, "SMALLEST", 0)


def every_number() -> Tensor:
    return torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(BF16)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_every_bfloat16_number_is_torchs(approximate: str) -> None:
    x, grad = every_number().requires_grad_(), torch.randn(1 << 16).to(BF16)
    ours, theirs = gelu(x, approximate), F.gelu(x, approximate=approximate)
    assert type(ours.grad_fn).__name__ == "_GeluBackward"
    torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=1e-2, atol=1e-9)  # one unit in the last place
    pairs = [torch.autograd.grad(y, x, grad)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*pairs, equal_nan=True, rtol=1e-2, atol=1e-6)


def test_gelu_follows_layouts_and_differentiates_twice() -> None:
    x = torch.randn(2, 3, 5, 4).to(BF16).contiguous(memory_format=torch.channels_last).requires_grad_()
    grad = torch.randn(2, 3, 5, 4).to(BF16)
    results = []
    for y in (gelu(x), F.gelu(x)):
        assert y.stride() == x.stride()
        (first,) = torch.autograd.grad(y, x, grad, create_graph=True)
        results.append((first, *torch.autograd.grad(first.float().square().sum(), x)))
    torch.testing.assert_close(*results)


def test_gelu_elsewhere_is_torchs() -> None:
    x = torch.randn(40)
    strided = torch.randn(6, 6).to(BF16).requires_grad_().t()[::2]
    for value in (x.requires_grad_(), x.detach().to(BF16), strided):
        assert type(gelu(value).grad_fn).__name__ in ("GeluBackward0", "NoneType")
    halved = torch.func.grad(lambda v: gelu(v).float().sum())(x.detach().to(BF16))
    assert halved.shape == x.shape
    hooked, calls = nn.GELU(), []
    hooked.register_forward_hook(lambda *args: calls.append(1))
    activate(hooked, x)
    assert calls == [1]


def convolution(channels: int, weight: Tensor) -> SameConv:
    conv = SameConv(channels, channels, stride=2, groups=channels, bias=False)
    conv.weight.data.copy_(weight)
    return conv


@pytest.mark.parametrize("size", [(8, 10), (9, 7)])
def test_the_gradient_of_a_strided_convolution_copies_no_map(size: tuple[int, int]) -> None:
    y = convolution(16, torch.randn(16, 1, 3, 3))(torch.randn(2, 16, *size))
    assert type(y.grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.parametrize("channels", [16, 80])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (9, 7), (8, 10), (5, 6)])
def test_a_strided_depthwise_convolution_errs_no_more_than_torchs(
    channels: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight = torch.randn(3, channels, *size).to(BF16), torch.randn(channels, 1, 3, 3).to(BF16)
    conv = convolution(channels, weight.float())
    exact = convolution(channels, weight.float()).double()
    grad = torch.randn(conv(x.float()).shape).to(BF16)

    def results(run: nn.Module, x: Tensor) -> list[Tensor]:
        x = x.clone().requires_grad_()
        y = run(x)
        return [y.detach(), *torch.autograd.grad(y, [x, run.weight], grad.to(y.dtype))]

    truth = results(exact, x.double())
    with torch.autocast("cpu", BF16):
        assert type(conv(x).grad_fn).__name__ == "_DepthwiseBackward"
        ours = results(conv, x)
        monkeypatch.setattr(layers, "unavailable", lambda: "not in this test")
        theirs = results(conv, x)
    for own, plain, expected in zip(ours, theirs, truth, strict=True):
        assert own.dtype == plain.dtype
        assert own.shape == plain.shape
        bound = (plain.double() - expected).abs().max() * 1.01 + 1e-6
        assert (own.double() - expected).abs().max() <= bound


def test_a_strided_depthwise_convolution_differentiates_twice_and_repeats_its_bits() -> None:
    x, conv = torch.randn(2, 16, 6, 5).requires_grad_(), convolution(16, torch.randn(16, 1, 3, 3))
    results = []
    for run in (conv, lambda x: conv._plain(x, conv.weight, None), conv):
        with torch.autocast("cpu", BF16):
            y = run(x)
        (first,) = torch.autograd.grad(y.float().sin().sum(), x, create_graph=True)
        results.append((y.detach(), first, *torch.autograd.grad(first.square().sum(), [x, conv.weight])))
    torch.testing.assert_close(results[0], results[1], rtol=0.05, atol=0.05)
    assert all(torch.equal(one, other) for one, other in zip(results[0], results[2], strict=True))


def test_the_number_of_threads_has_no_say() -> None:
    x, conv = torch.randn(3, 16, 9, 8).requires_grad_(), convolution(16, torch.randn(16, 1, 3, 3))
    results = []
    for number in (1, 3):
        torch.set_num_threads(number)
        with torch.autocast("cpu", BF16):
            y = conv(x)
        results.append((y, *torch.autograd.grad(y.float().square().sum(), [x, conv.weight])))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def normed(kind: type[nn.LayerNorm], x: Tensor, grad: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """The value and the gradients of x, weight and bias; parameters are float64 for float64, else float32."""
    norm = kind(x.shape[-1]).to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    norm.load_state_dict({"weight": weight, "bias": bias})
    x = x.clone().requires_grad_()
    y = norm(x)
    return y.detach(), *torch.autograd.grad(y, [x, *norm.parameters()], grad.to(y.dtype))


@pytest.mark.parametrize("shape", [(1, 16), (3, 5, 48), (2, 9, 8, 96)])
def test_a_layer_norm_errs_no_more_than_torchs(shape: tuple[int, ...]) -> None:
    x, grad = (torch.randn(shape) * 2 + 3).to(BF16), torch.randn(shape).to(BF16)
    weight, bias = torch.randn(shape[-1]), torch.randn(shape[-1])
    truth = normed(nn.LayerNorm, x.double(), grad, weight, bias)
    ours, theirs = (normed(kind, x, grad, weight, bias) for kind in (LayerNorm, nn.LayerNorm))
    for own, plain, expected in zip(ours, theirs, truth, strict=True):
        assert (own.dtype, own.shape) == (plain.dtype, plain.shape)
        bound = (plain.double() - expected).abs().max() * 1.01 + 1e-5
        assert (own.double() - expected).abs().max() <= bound
    norm = LayerNorm(shape[-1])
    assert type(norm(x).grad_fn).__name__ == "_LayerNormBackward"
    with torch.no_grad():
        assert torch.equal(norm(x), norm(x.clone()))


def test_the_gradients_of_a_map_and_of_its_norm_are_added_in_one_pass() -> None:
    norm, plain = LayerNorm(32), nn.LayerNorm(32)
    x, grads = torch.randn(7, 32).to(BF16), torch.randn(2, 7, 32).to(BF16)

    def gradient(x: Tensor, norm: nn.LayerNorm, branched: bool) -> Tensor:
        x = x.clone().requires_grad_()
        y, normed = with_norm(x, norm) if branched else (x * 1, norm(x))
        if branched:
            assert y.grad_fn is normed.grad_fn
        return torch.autograd.grad([y, normed], x, [grads[0].to(x.dtype), grads[1].to(x.dtype)])[0]

    ours, theirs, truth = (
        gradient(x, norm, True),
        gradient(x, plain, False),
        gradient(x.double(), plain.double(), False),
    )
    assert (ours.double() - truth).abs().max() <= (theirs.double() - truth).abs().max()
    x = x.requires_grad_()
    y, normed = with_norm(x, norm)
    assert torch.equal(torch.autograd.grad(y, x, grads[0], retain_graph=True)[0], grads[0])
    (first,) = torch.autograd.grad([y, normed], x, [*grads], create_graph=True)
    assert torch.isfinite(torch.autograd.grad(first.float().square().sum(), x)[0]).all()
    calls: list[int] = []
    norm.register_forward_hook(lambda *_: calls.append(1))
    assert with_norm(x, norm)[0] is x
    assert calls == [1]


def test_a_layer_norm_differentiates_twice_and_leaves_the_rest_to_torch() -> None:
    x, norm = torch.randn(4, 32).to(BF16).requires_grad_(), LayerNorm(32)
    plain = nn.LayerNorm(32)
    results = []
    for layer in (norm, plain):
        (first,) = torch.autograd.grad(layer(x).float().sin().sum(), x, create_graph=True)
        results.append((first, *torch.autograd.grad(first.float().square().sum(), [x, layer.weight])))
    torch.testing.assert_close(*results, rtol=0.05, atol=0.05)
    for value in (torch.randn(4, 32), torch.randn(32, 4).t().to(BF16)):
        assert torch.equal(norm(value), plain(value))
    assert list(norm.state_dict()) == list(plain.state_dict())
    assert isinstance(norm, nn.LayerNorm)


def test_counted_traced_and_recomputed() -> None:
    x, conv = torch.randn(2, 16, 6, 6).requires_grad_(), convolution(16, torch.randn(16, 1, 3, 3))
    layer, act = Linear(16, 16), nn.GELU()

    def block(x: Tensor) -> Tensor:
        with torch.autocast("cpu", BF16):
            return linear_then(layer, act, conv(x).permute(0, 2, 3, 1))

    with FlopCounterMode(display=False) as counter:
        block(x)
    assert counter.get_total_flops() == 2 * (2 * 16 * 9 * 9 + 2 * 9 * 16 * 16)
    expected = torch.autograd.grad(block(x).float().square().sum(), [x, conv.weight, layer.weight])
    again = checkpoint(block, x, use_reentrant=False).float().square().sum()
    assert all(
        torch.equal(one, other)
        for one, other in zip(expected, torch.autograd.grad(again, [x, conv.weight, layer.weight]), strict=True)
    )
