"""Functions and numbers that all Triton kernels share.

Every kernel works inside one dilation group of one head: coordinates (y, x) count the group's own points, and the
map's point is group + coordinate * dilation. Positions are read straight from the channels-last map through strides;
nothing is rolled, partitioned or padded in memory.
"""

import triton
import triton.language as tl

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN2: tl.constexpr = tl.constexpr(0.6931471805599453)


@triton.jit
def group_length(length, group, dilation):
    """Number of points of a dilation group on an axis."""
    return (length - group + dilation - 1) // dilation


@triton.jit
def first_key(query, length, SIZE: tl.constexpr, STEP: tl.constexpr):
    """First key of a neighborhood: centered on the leader of the query's stride group, moved inward at the border."""
    leader = tl.minimum(query // STEP * STEP + STEP // 2, length - 1)
    return tl.minimum(tl.maximum(leader - SIZE // 2, 0), length - SIZE)


@triton.jit
def load_rows(ptr, offset, inside, DEPTH: tl.constexpr, BLOCK_D: tl.constexpr):
    """Channels of the points at ``offset``, zeros outside."""
    channel = tl.arange(0, BLOCK_D)
    mask = inside[:, None]
    if DEPTH < BLOCK_D:
        mask = mask & (channel < DEPTH)[None, :]
    return tl.load(ptr + offset[:, None] + channel[None, :], mask=mask, other=0.0)


@triton.jit
def load_places(ptr, offset, inside, DEPTH: tl.constexpr, DECAY: tl.constexpr):
    """Places of the points at ``offset``, which the DECAY channels after the others add up to; zeros outside."""
    place = tl.zeros(inside.shape, tl.float32)
    for channel in tl.static_range(DECAY):
        place += tl.load(ptr + offset + (DEPTH + channel), mask=inside, other=0.0).to(tl.float32)
    return place


@triton.jit
def store_places(ptr, offset, gradient, inside, DEPTH: tl.constexpr, DECAY: tl.constexpr):
    """Write the gradient of places to each of their channels."""
    for channel in tl.static_range(DECAY):
        tl.store(ptr + offset + (DEPTH + channel), gradient.to(ptr.dtype.element_ty), mask=inside)


@triton.jit
def place_slopes(apart, slope):
    """Gradient of the places of rows, from the distances to those of columns and the gradients of logits."""
    return -tl.sum(tl.where(apart > 0.0, slope, tl.where(apart < 0.0, -slope, 0.0)), 1)


@triton.jit
def store_rows(ptr, offset, value, inside, DEPTH: tl.constexpr, BLOCK_D: tl.constexpr):
    """Write the channels of the points at ``offset``, where ``inside``."""
    channel = tl.arange(0, BLOCK_D)
    mask = inside[:, None]
    if DEPTH < BLOCK_D:
        mask = mask & (channel < DEPTH)[None, :]
    tl.store(ptr + offset[:, None] + channel[None, :], value.to(ptr.dtype.element_ty), mask=mask)
