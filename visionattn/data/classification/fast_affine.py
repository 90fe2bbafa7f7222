"""Faster shears and translations for timm's automatic augmentations, computed row by row.

A shear or a translation moves every row (or column) as a whole, so interpolation in one dimension suffices where Pillow
interpolates in two. The result is Pillow's, except for single values that differ by one level, because it is computed
in float32 instead of float64.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment

_ALMOST = 2e-3
"""Pillow truncates; a sum of weights that should be a whole number must not fall below it."""


def use_fast_affine(transform: Any) -> None:
    """Replace timm's shears and translations inside a composed transform, in place."""
    for step in transform.transforms:
        groups = [getattr(step, "ops", []), *getattr(step, "policy", [])]
        for op in (op for group in groups for op in group):
            op.aug_fn = _FAST.get(op.aug_fn, op.aug_fn)


def shift_rows(image: Image.Image, slope: float, shift: float, columns: bool, fill: Sequence[int]) -> Image.Image:
    """Move every row of an image by ``slope * (y + 1/2) + shift`` pixels to the left, with bicubic interpolation.

    Args:
        image: RGB.
        slope: pixels per row.
        shift: pixels of every row.
        columns: move columns up instead of rows to the left.
        fill: color of pixels that come from outside the image.
    """
    if columns:
        turned = shift_rows(image.transpose(Image.Transpose.TRANSPOSE), slope, shift, False, fill)
        return turned.transpose(Image.Transpose.TRANSPOSE)
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    moved = slope * (np.arange(height) + 0.5) + shift
    whole = np.floor(moved)
    near = _neighbors(pixels, np.clip(whole, -width - 2, width + 2).astype(np.int64))
    fraction = torch.from_numpy((moved - whole).astype(np.float32))[:, None]
    total = torch.full((height, 3 * width), _ALMOST)
    for tap, weight in enumerate(_weights(fraction)):
        total.addcmul_(near[:, 3 * tap : 3 * (tap + width)], weight)
    made = total.clamp_(0, 255).to(torch.uint8).view(height, width, 3).numpy()
    first, end = np.ceil(-0.5 - moved)[:, None], np.ceil(width - 0.5 - moved)[:, None]
    column = np.arange(width, dtype=np.int32)
    reach = 2 * width + 2
    seen_from, seen_to = (np.clip(edge, -reach, reach).astype(np.int32) for edge in (first, end))
    made[(column < seen_from) | (column >= seen_to)] = np.array(fill, dtype=np.uint8)
    return Image.fromarray(made)


def _neighbors(pixels: np.ndarray, starts: np.ndarray) -> torch.Tensor:
    """float32 ``(H, 3 * (W + 3))``: each row from one pixel before its start on, with repeated edges."""
    height, width = pixels.shape[:2]
    reach = int(np.abs(starts).max()) + 3
    wide = np.empty((height, width + 2 * reach, 3), np.uint8)
    wide[:, reach : reach + width] = pixels
    wide[:, :reach] = pixels[:, :1]
    wide[:, reach + width :] = pixels[:, -1:]
    windows = np.lib.stride_tricks.sliding_window_view(wide.reshape(height, -1), 3 * (width + 3), axis=1)
    return torch.from_numpy(windows[np.arange(height), 3 * (starts + reach - 1)]).float()


def _weights(d: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Weights of the pixels at -1, 0, 1 and 2: Keys' kernel with a = -1, Pillow's choice for affine transforms."""
    return d * (-1 + d * (2 - d)), 1 + d * d * (d - 2), d * (1 + d * (1 - d)), d * d * (d - 1)


def _faster(original: Callable[..., Image.Image], columns: bool, sheared: bool) -> Callable[..., Image.Image]:
    """A faster version of one of timm's functions; it calls timm's own where the case is another one."""

    def augment(image: Image.Image, amount: float, **options: Any) -> Image.Image:
        kinds = options.get("resample", Image.Resampling.NEAREST)
        kind = random.choice(kinds) if isinstance(kinds, (tuple, list)) else kinds  # the same draw as timm's
        fill = options.get("fillcolor")
        if image.mode != "RGB" or kind != Image.Resampling.BICUBIC or not isinstance(fill, (tuple, list)):
            return original(image, amount, **{**options, "resample": kind})  # bilinear: Pillow is as fast
        slope, shift = (amount, 0.0) if sheared else (0.0, amount * image.size[columns])
        return shift_rows(image, slope, shift, columns, fill)

    return augment


_FAST: dict[Callable[..., Any], Callable[..., Any]] = {
    auto_augment.shear_x: _faster(auto_augment.shear_x, columns=False, sheared=True),
    auto_augment.shear_y: _faster(auto_augment.shear_y, columns=True, sheared=True),
    auto_augment.translate_x_rel: _faster(auto_augment.translate_x_rel, columns=False, sheared=False),
    auto_augment.translate_y_rel: _faster(auto_augment.translate_y_rel, columns=True, sheared=False),
}
