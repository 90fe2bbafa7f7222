"""Calls that the GPU tests share: named ones, and random ones from a seed."""

import random

import torch

from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.op import Call

# name: (batch, height, width, heads, D, E), the op's arguments
WINDOWS = {
    "swin": ((2, 28, 28, 3, 32, 32), {"window": 7}),
    "swin shifted": ((2, 28, 28, 3, 32, 32), {"window": 7, "shift": 3}),
    "cut at the border": ((1, 30, 25, 2, 32, 32), {"window": (7, 8), "shift": (3, 0)}),
    "several blocks": ((2, 24, 26, 2, 32, 32), {"window": 12, "shift": 6}),
    "strips": ((2, 28, 28, 2, 24, 32), {"window": (28, 3)}),
    "grid": ((2, 28, 21, 2, 32, 32), {"window": 7, "dilation": (4, 3)}),
    "window 24": ((1, 50, 48, 2, 32, 32), {"window": 24, "shift": 11}),
    "window 48": ((1, 48, 96, 1, 64, 64), {"window": 48}),
    "wide heads": ((1, 14, 14, 2, 128, 128), {"window": 7, "shift": 3}),
}
NEIGHBORHOODS = {
    "nat": ((2, 28, 28, 2, 32, 32), {"kernel_size": 7}),
    "dilated": ((2, 30, 29, 2, 32, 32), {"kernel_size": 7, "dilation": (4, 3)}),
    "even": ((1, 20, 33, 2, 48, 48), {"kernel_size": (4, 6)}),
    "strided": ((1, 26, 31, 2, 32, 16), {"kernel_size": (7, 5), "stride": (2, 3)}),
    "large kernel": ((1, 28, 28, 1, 96, 96), {"kernel_size": 13}),
    "many tiles": ((2, 56, 70, 2, 32, 32), {"kernel_size": 7}),
    "many strided tiles": ((1, 61, 70, 2, 32, 32), {"kernel_size": (9, 7), "stride": (9, 3)}),
    "large kernel, wide heads": ((1, 56, 56, 1, 128, 128), {"kernel_size": 40}),
    "the whole map": ((2, 7, 7, 4, 32, 32), {"kernel_size": 7}),
}
NAMED = WINDOWS | NEIGHBORHOODS


def make(shape, arguments, dtype, device, biased=True) -> Call:
    batch, height, width, heads, depth, depth_v = shape
    packed = torch.randn(batch, height, width, heads, 2 * depth + depth_v, device=device).to(dtype)
    q, k, v = packed.split((depth, depth, depth_v), -1)
    size = arguments.get("window", arguments.get("kernel_size"))
    rows, columns = (size, size) if isinstance(size, int) else size
    bias = torch.randn(heads, 2 * rows - 1, 2 * columns - 1, device=device) if biased else None
    if "window" in arguments:
        return window_attention.prepare(q, k, v, **arguments, bias=bias)
    return neighborhood_attention.prepare(q, k, v, **arguments, bias=bias)


def draw(seed: int):
    """A random small shape and legal arguments: partial tiles, kernels up to the map, dilation up to its limit."""
    chance = random.Random(seed)
    height, width, heads = chance.randint(2, 40), chance.randint(2, 40), chance.randint(1, 3)
    depth, depth_v = chance.choice((16, 24, 32, 64)), chance.choice((16, 32, 40))
    shape = (chance.randint(1, 2), height, width, heads, depth, depth_v)
    if chance.random() < 0.5:
        window = chance.randint(1, 12), chance.randint(1, 12)
        shift = chance.randrange(window[0]), chance.randrange(window[1])
        return shape, {"window": window, "shift": shift, "dilation": (chance.randint(1, 3), chance.randint(1, 3))}
    size = tuple(chance.randint(2, min(side, 11)) for side in (height, width))
    dilation = tuple(chance.randint(1, side // k) for side, k in zip((height, width), size, strict=True))
    return shape, {"kernel_size": size, "dilation": dilation, "stride": tuple(chance.randint(1, k) for k in size)}
