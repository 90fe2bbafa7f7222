"""Training in bfloat16 on the CPU: own code errs no more than torch's own operators under autocast."""

import pytest
import torch
from torch import Tensor, nn

from visionattn.backbones.zoo import create_backbone
from visionattn.kernels import activation, depthwise, linear, norm
from visionattn.kernels.backends.cpp import build


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
@pytest.mark.parametrize("name", [pytest.param("maxvit_tiny", marks=pytest.mark.heavy), "swin_tiny"])
def test_a_training_step_errs_no_more_than_torchs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "SMALLEST", 0)
    monkeypatch.setattr(linear, "SMALLEST", 0)
    monkeypatch.setattr(norm, "SMALLEST", 0)
    model = create_backbone(name, 5, overrides=["dims=[16,32,32,32]", "num_heads=[1,2,2,2]", "depths=[1,1,1,1]"])
    image = torch.randn(4, 3, 64, 64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # the statistics stay as they are
    ours = gradients(model, image, torch.bfloat16)
    for module in (activation, depthwise, norm):
        monkeypatch.setattr(module, "runs_own_code", lambda *tensors: False)
    monkeypatch.setattr(linear, "_supports_onednn", lambda *tensors: False)
    monkeypatch.setattr(linear, "convolution_layout", lambda module, image: image)
    plain = gradients(model, image, torch.bfloat16)
    truth = gradients(model.double(), image, torch.float64)
    assert error(ours, truth) <= 1.1 * error(plain, truth) < 0.2
