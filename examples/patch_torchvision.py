"""torchvision's own Swin on visionattn's window attention: equal logits for images of any size, and both speeds.

    model = torchvision.models.swin_t(weights="DEFAULT")
    patch(model)
    logits = model(images)

torchvision fills the last windows of a map up with zeros; the same is done here. Swin V2 (``swin_v2_t``), whose
attention takes cosines, is left as it is.
"""

import sys
from types import MethodType

import torch
import torchvision
from patch_timm import compare, refuse_dropout, windowed
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import ShiftedWindowAttention


def patch(model: nn.Module) -> int:
    """Let every block of torchvision's Swin attend through visionattn; returns the number of blocks."""
    blocks = [module for module in model.modules() if type(module) is ShiftedWindowAttention]
    for block in blocks:
        block.forward = MethodType(attend, block)
    return len(blocks)


def attend(attn: ShiftedWindowAttention, x: Tensor) -> Tensor:
    """What ``ShiftedWindowAttention`` computes, ``(B, H, W, C) -> (B, H, W, C)``."""
    refuse_dropout(attn.training, attn.attention_dropout)
    (height, width), window = x.shape[1:3], attn.window_size
    down, across = (-edge % size for edge, size in zip((height, width), window, strict=True))
    padded = F.pad(x, (0, 0, 0, across, 0, down))
    shift = [
        0 if size >= edge else by for by, size, edge in zip(attn.shift_size, window, padded.shape[1:3], strict=True)
    ]
    out = windowed(attn, padded, tuple(window), tuple(shift))
    return F.dropout(out, attn.dropout, attn.training)[:, :height, :width].contiguous()


if __name__ == "__main__":
    name, batch = (sys.argv[1:] + ["swin_t", "8"][len(sys.argv) - 1 :])[:2]
    torch.manual_seed(0)
    theirs, ours = (torchvision.models.get_model(name).eval() for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    print(f"{patch(ours)} blocks of {name}")
    compare(theirs, ours, torch.randn(int(batch), 3, 224, 224), "torchvision")
