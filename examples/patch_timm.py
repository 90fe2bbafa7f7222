"""timm's own Swin on visionattn's window attention: equal logits, and how much faster a pass is.

    model = timm.create_model("swin_tiny_patch4_window7_224", pretrained=True)
    patch(model)
    logits = model(images)

The weights stay timm's, in timm's places: only the way from normalized tokens to attended tokens changes. Images whose
maps the windows do not divide are refused: timm lets opposite edges of such maps see each other, so that no faithful
change of the kernel would give its numbers.
"""

import sys
import time
from types import MethodType
from typing import Any

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
    attn, (_, height, width, _), (rows, columns) = block.attn, x.shape, block.window_size
    if height % rows or width % columns:
        raise ValueError(f"windows of {rows} x {columns} do not divide a map of {height} x {width}")
    refuse_dropout(block.training, attn.attn_drop.p)
    return attn.proj_drop(windowed(attn, x, (rows, columns), tuple(block.shift_size)))


def windowed(attn: Any, x: Tensor, window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """Attention within windows by the weights of a module that names them as the authors of Swin do.

    Args:
        attn: has ``qkv``, ``proj``, ``num_heads`` and ``relative_position_bias_table``.
        x: ``(B, H, W, C)``, H and W whole numbers of windows.
        window: rows and columns of a window.
        shift: of the windows.
    """
    qkv = attn.qkv(x).view(*x.shape[:3], 3, attn.num_heads, -1)
    table = attn.relative_position_bias_table.T.unflatten(1, (2 * window[0] - 1, 2 * window[1] - 1)).flip(1, 2)
    return attn.proj(window_attention.packed(qkv, window=window, shift=shift, bias=table).flatten(3))


def refuse_dropout(training: bool, share: float) -> None:
    """Raise ValueError where attention weights would be dropped."""
    if training and share:
        raise ValueError("visionattn's operators do not drop attention weights: build the model without that dropout")


def compare(theirs: nn.Module, ours: nn.Module, images: Tensor, project: str) -> None:
    """Print the relative error of a patched model's outputs and both speeds."""
    with torch.inference_mode():
        expected, found = theirs(images), ours(images)
        error = float((found - expected).norm() / expected.norm())
        slow, fast = seconds(theirs, images), seconds(ours, images)
    print(f"relative error of the outputs {error:.1e}")
    print(
        f"{project} {len(images) / slow:.1f} images/s, with visionattn's window attention {len(images) / fast:.1f} "
        f"images/s: {slow / fast:.2f} times as fast"
    )


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
    print(f"{patch(ours)} blocks of {name}")
    compare(theirs, ours, torch.randn(int(batch), *theirs.pretrained_cfg["input_size"]), "timm")
