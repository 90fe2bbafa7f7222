"""A visionattn backbone in Hugging Face transformers, as the TimmBackbone that its detectors use."""

import sys

import torch
from transformers import TimmBackbone, TimmBackboneConfig

import visionattn  # noqa: F401 - registers va_* with timm

name = sys.argv[1] if len(sys.argv) > 1 else "va_dinat_tiny"
backbone = TimmBackbone(TimmBackboneConfig(backbone=name, use_pretrained_backbone=False, out_indices=[0, 1, 2]))
maps = backbone(torch.randn(2, 3, 128, 192)).feature_maps
sum(x.mean() for x in maps).backward()
print(list(zip(backbone.channels, [tuple(x.shape) for x in maps], strict=True)))
