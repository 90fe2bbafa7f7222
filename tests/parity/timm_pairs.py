"""Our model beside timm's: random values in every tensor, loaded from timm's state dict, outputs compared."""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn

import visionattn

CLASSES = 10


def meta(build, *args, **kwargs) -> nn.Module:
    """A model without memory, for counting."""
    with torch.device("meta"):
        return build(*args, **kwargs)


def count(model: nn.Module) -> int:
    return sum(param.numel() for param in model.parameters())


@torch.no_grad()
def excite(model: nn.Module) -> nn.Module:
    """Random values everywhere: biases, tables, scales and running statistics too; signals stay of order one."""
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif tensor.is_floating_point():
            is_weight = tensor.ndim > 1 and "table" not in name
            tensor.normal_(0.0, tensor[0].numel() ** -0.5 if is_weight else 0.5)
            if tensor.ndim == 1 and name.endswith("weight"):
                tensor.add_(1.0)  # the factors of norms
    return model


def pair(name: str, timm_name: str, overrides: Sequence[str] = (), **timm_kwargs) -> tuple[nn.Module, nn.Module]:
    """Ours and timm's with the same weights, through ``load_weights``; both in eval mode."""
    return beside(name, timm.create_model(timm_name, num_classes=CLASSES, **timm_kwargs), overrides)


def beside(name: str, theirs: nn.Module, overrides: Sequence[str] = ()) -> tuple[nn.Module, nn.Module]:
    """As :func:`pair`, for a model of timm's that is built already."""
    excite(theirs).eval()
    ours = visionattn.create_backbone(name, num_classes=CLASSES, overrides=overrides).eval()
    visionattn.load_weights(ours, theirs.state_dict())
    return ours, theirs


@torch.no_grad()
def largest_error(ours: nn.Module, theirs: nn.Module, size: tuple[int, int], norm: bool = False) -> float:
    """Largest deviation of the logits and of the four maps, each relative to the largest value of timm's.

    In the models' own precision: at reduced depth and with random weights the widest models cancel so much in float32
    that timm's own rounding reaches 1e-5; those are compared in float64.
    ``norm``: timm's last map has been through the final norm.
    """
    image = torch.randn(1, 3, *size).to(next(theirs.parameters()))
    (last, maps), (expected_last, expected) = (
        model.forward_intermediates(image, norm=norm) for model in (ours, theirs)
    )
    assert [m.shape for m in maps] == [m.shape for m in expected[-4:]]
    logits, expected_logits = ours.forward_head(last), theirs.forward_head(expected_last)
    return max(map(relative, [logits, *maps], [expected_logits, *expected[-4:]]))


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@torch.no_grad()
def leak(model: nn.Module, size: tuple[int, int]) -> float:
    """How much an image's logits depend on the other images of the batch, relative to the largest."""
    images = torch.randn(3, 3, *size).to(next(model.parameters()).dtype)
    return relative(torch.cat([model(image[None]) for image in images]), model(images))
