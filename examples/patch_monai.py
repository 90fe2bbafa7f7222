"""MONAI's Swin for images (2-D ``SwinUNETR``) on visionattn's window attention: equal outputs, and both speeds.

    model = monai.networks.nets.SwinUNETR(in_channels=1, out_channels=2, spatial_dims=2)
    patch(model)
    maps = model(slices)

Volumes are refused, for the operators work on maps; so are maps smaller than a window, for which MONAI takes rows of
the bias that belong to other distances.
"""

import sys
from types import MethodType

import torch
from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import SwinTransformerBlock
from patch_timm import compare, refuse_dropout, windowed
from torch import Tensor, nn
from torch.nn import functional as F


def patch(model: nn.Module) -> int:
    """Let every block of MONAI's Swin attend through visionattn; returns the number of blocks."""
    blocks = [module for module in model.modules() if isinstance(module, SwinTransformerBlock)]
    for block in blocks:
        block.forward_part1 = MethodType(attend, block)
    return len(blocks)


def attend(block: SwinTransformerBlock, x: Tensor, mask: Tensor | None) -> Tensor:
    """What ``SwinTransformerBlock.forward_part1`` computes, ``(B, H, W, C) -> (B, H, W, C)``; the mask is not used."""
    if x.ndim != 4:
        raise ValueError(f"visionattn attends on maps (B, H, W, C), got {tuple(x.shape)}")
    (height, width), window = x.shape[1:3], tuple(block.window_size)
    if height < window[0] or width < window[1]:
        raise ValueError(f"a map of {height} x {width} is smaller than the window of {window[0]} x {window[1]}")
    refuse_dropout(block.training, block.attn.attn_drop.p)
    padded = F.pad(block.norm1(x), (0, 0, 0, -width % window[1], 0, -height % window[0]))
    shift = [
        0 if edge == size else by for by, edge, size in zip(block.shift_size, (height, width), window, strict=True)
    ]
    out = windowed(block.attn, padded, window, tuple(shift))
    return block.attn.proj_drop(out)[:, :height, :width].contiguous()


if __name__ == "__main__":
    batch = int((sys.argv[1:] or ["2"])[0])
    torch.manual_seed(0)
    theirs, ours = (SwinUNETR(1, 2, feature_size=24, spatial_dims=2).eval() for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    print(f"{patch(ours)} blocks of SwinUNETR")
    compare(theirs, ours, torch.randn(batch, 1, 256, 256), "MONAI")
