"""Training in bfloat16 on the CPU: own code errs no more than torch's own operators under autocast."""

import pytest
import torch
from torch import Tensor, nn

from visionattn.backbones import squeeze_excite
from visionattn.backbones.squeeze_excite import SqueezeExcite
from visionattn.backbones.zoo import create_backbone
from visionattn.kernels import activation, depthwise, linear, norm
from visionattn.kernels.backends.cpp import build, products
from visionattn.kernels.folding import pointwise

HEAVY = [pytest.param(name, marks=pytest.mark.heavy) for name in ("maxvit_tiny", "gcvit_tiny")]


def gradients(model: nn.Module, image: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """The logits, and the gradient of each parameter."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model(image.to(next(model.parameters()).dtype))
    logits.square().sum().backward()
    found = [logits.detach(), *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]
    return [tensor.double() for tensor in found]


def error(found: list[Tensor], expected: list[Tensor]) -> float:
    """The error of all numbers, relative to their Euclidean norm."""
    one, other = (torch.cat([tensor.flatten() for tensor in tensors]) for tensors in (found, expected))
    return float((one - other).norm() / other.norm())


@pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("name", [*HEAVY, "swin_tiny"])
def test_a_training_step_errs_no_more_than_torchs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "SMALLEST", 0)
    monkeypatch.setattr(linear, "SMALLEST", 0)
    monkeypatch.setattr(norm, "SMALLEST", 0)
    monkeypatch.setattr(products, "available", lambda: True)
    model = create_backbone(name, 5, overrides=["dims=[16,32,32,32]", "num_heads=[1,2,2,2]", "depths=[1,1,1,1]"])
    image = torch.randn(4, 3, 64, 64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # the statistics stay as they are
    ours = gradients(model, image, torch.bfloat16)
    for module in (activation, depthwise, norm, squeeze_excite):
        monkeypatch.setattr(module, "runs_own_code", lambda *tensors: False)
    monkeypatch.setattr(linear, "_supports_onednn", lambda *tensors: False)
    monkeypatch.setattr(linear, "convolution_layout", lambda module, image: image)
    plain = gradients(model, image, torch.bfloat16)
    truth = gradients(model.double(), image, torch.float64)
    assert error(ours, truth) <= 1.1 * error(plain, truth) < 0.2


@pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler on this machine")
def test_a_pointwise_convolution_in_training_is_a_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "SMALLEST", 0)
    monkeypatch.setattr(products, "available", lambda: True)
    layer, norm_after = nn.Conv2d(16, 48, 1), nn.BatchNorm2d(48)
    x = torch.randn(2, 16, 5, 7).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        y = pointwise(layer, x, norm=norm_after)
        torch.testing.assert_close(y, norm_after(layer(x)), rtol=0.05, atol=0.05)
        assert y.shape == (2, 48, 5, 7)
        assert "_LinearBackward" in str(pointwise(layer, x).grad_fn.next_functions)
        assert "_LinearBackward" not in str(pointwise(layer, x.contiguous()).grad_fn.next_functions)


def test_means_for_squeeze_and_excitation_are_those_of_torch() -> None:
    gate = SqueezeExcite(16, rd_channels=4)
    x = torch.randn(2, 16, 9, 6).to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = gate(x), super(SqueezeExcite, gate).forward(x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(y.float().sum(), x) for y in (ours, theirs)), rtol=0.02, atol=1e-3)
    torch.testing.assert_close(gate(x.float()), super(SqueezeExcite, gate).forward(x.float()), rtol=0, atol=0)
