"""timm's own Swin on visionattn's window attention: equal logits, and how much faster a pass is.

    model = timm.create_model("swin_tiny_patch4_window7_224", pretrained=True)
    patch(model)
    logits = model(images)

The weights stay timm's, in timm's places: only the way from normalized tokens to attended tokens changes. Images whose maps
the windows do not divide are refused: timm lets opposite edges of such maps see each other, so that no faithful change of
the kernel would give its numbers.
"""

import sys
import time
from types import MethodType

import timm
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from visionattn.kernels import window_attention


def patch(model: nn.Module) -> int:
    """Let every block of timm's Swin attend through visionattn; returns the number of blocks."""
    blocks = [module for module in model.modules() if isinstance(module, SwinTransformerBlock)]
    for block in blocks:
        block._attn = MethodType(attend, block)
    return len(blocks)


def attend(block: SwinTransformerBlock, x: Tensor) -> Tensor:
    """What ``SwinTransformerBlock._attn`` computes, ``(B, H, W, C) -> (B, H, W, C)``."""
    attn, (batch, height, width, _), (rows, columns) = block.attn, x.shape, block.window_size
    if height % rows or width % columns:
        raise ValueError(f"windows of {rows} x {columns} do not divide a map of {height} x {width}")
    if block.training and attn.attn_drop.p:
        raise ValueError("visionattn's operators do not drop attention weights: build the model with attn_drop_rate=0")
    qkv = attn.qkv(x).view(batch, height, width, 3, attn.num_heads, -1)
    table = attn.relative_position_bias_table.T.unflatten(1, (2 * rows - 1, 2 * columns - 1)).flip(1, 2)
    out = window_attention.packed(qkv, window=(rows, columns), shift=tuple(block.shift_size), bias=table)
    return attn.proj_drop(attn.proj(out.flatten(3)))


def seconds(model: nn.Module, images: Tensor, passes: int = 3) -> float:
    """The fastest of some passes."""
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        model(images)
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    name, batch = (sys.argv[1:] + ["swin_tiny_patch4_window7_224", "8"][len(sys.argv) - 1 :])[:2]
    torch.manual_seed(0)
    theirs, ours = (timm.create_model(name).eval() for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    count = patch(ours)
    images = torch.randn(int(batch), *theirs.pretrained_cfg["input_size"])
    with torch.inference_mode():
        expected, found = theirs(images), ours(images)
        error = float((found - expected).norm() / expected.norm())
        slow, fast = seconds(theirs, images), seconds(ours, images)
    print(f"{count} blocks of {name}: relative error of the logits {error:.1e}")
    print(
        f"timm {len(images) / slow:.1f} images/s, with visionattn's window attention {len(images) / fast:.1f} images/s"
    )
