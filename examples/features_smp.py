"""A visionattn backbone as encoder in segmentation_models.pytorch: `tu-va_<name>` works with any decoder."""

import sys

import segmentation_models_pytorch as smp
import torch

import visionattn

name = sys.argv[1] if len(sys.argv) > 1 else "va_dinat_tiny"
stages = len(visionattn.create_backbone(name.removeprefix("va_"), num_classes=0).feature_info)
model = smp.Unet(
    encoder_name=f"tu-{name}",
    encoder_weights=None,  # or "timm": the weights that timm publishes
    encoder_depth=stages + 1,  # the first map has stride 4, which counts as two levels
    decoder_channels=[256, 128, 64, 32, 16][: stages + 1],
    classes=19,
)
masks = model(torch.randn(2, 3, 128, 192))
masks.mean().backward()
print(tuple(masks.shape))
