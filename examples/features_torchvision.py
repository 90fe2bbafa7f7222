"""The feature maps of a visionattn backbone in torchvision's feature pyramid."""

import sys
from collections import OrderedDict

import timm
import torch
from torchvision.ops import FeaturePyramidNetwork

import visionattn  # noqa: F401 - registers va_* with timm

name = sys.argv[1] if len(sys.argv) > 1 else "va_dinat_tiny"
backbone = timm.create_model(name, features_only=True, out_indices=(0, 1, 2))
pyramid = FeaturePyramidNetwork(backbone.feature_info.channels(), out_channels=64)
maps = backbone(torch.randn(2, 3, 128, 192))
levels = pyramid(
    OrderedDict((str(stride), x) for stride, x in zip(backbone.feature_info.reduction(), maps, strict=True))
)
sum(level.mean() for level in levels.values()).backward()
print({stride: tuple(level.shape) for stride, level in levels.items()})
