"""The kernels of a depthwise 3x3 convolution of maps with channels last, and of its gradients.

A program has some channels of a tile of points, one of its rows per point. All sums are float32. Maps are contiguous,
``(B, H, W, C)``; ``height`` and ``width`` are those of the input, ``rows`` and ``columns`` those of the output, and
input point ``STRIDE * y + u - front_y`` meets row u of the kernel at output row y. With ADD a map is added to its
convolution, which then has one size.
"""

import triton
import triton.language as tl


@triton.jit
def tile_of(tile, tiles_y, tiles_x, TILE_Y: tl.constexpr, TILE_X: tl.constexpr):
    """Image, and rows and columns of the points of a tile."""
    point = tl.arange(0, TILE_Y * TILE_X)
    row = tile // tiles_x % tiles_y * TILE_Y + point // TILE_X
    column = tile % tiles_x * TILE_X + point % TILE_X
    return tile // (tiles_x * tiles_y), row, column


@triton.jit
def load_points(pointer, row, column, channel, here, seen, width, channels):
    """Points of an image in float32, zero where they are not ``here``."""
    at = (row * width + column)[:, None] * channels + channel[None]
    return tl.load(pointer + at, mask=here[:, None] & seen[None], other=0.0).to(tl.float32)


@triton.jit
def depthwise_kernel(
    x, weight, bias, out, height, width, rows, columns, channels, front_y, front_x, tiles_y, tiles_x, blocks,
    STRIDE: tl.constexpr, ADD: tl.constexpr, BIASED: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The convolution."""
    program = tl.program_id(0)
    image, row, column = tile_of(program // blocks, tiles_y, tiles_x, TILE_Y, TILE_X)
    channel = program % blocks * CHANNELS + tl.arange(0, CHANNELS)
    inside, seen = (row < rows) & (column < columns), channel < channels
    x += image.to(tl.int64) * height * width * channels
    out += image.to(tl.int64) * rows * columns * channels
    total = tl.zeros([TILE_Y * TILE_X, CHANNELS], tl.float32)
    if BIASED:
        total += tl.load(bias + channel, mask=seen, other=0.0).to(tl.float32)[None]
    for u in tl.static_range(3):
        for v in tl.static_range(3):
            y, z = row * STRIDE + u - front_y, column * STRIDE + v - front_x
            here = inside & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            value = load_points(x, y, z, channel, here, seen, width, channels)
            total += value * tl.load(weight + channel * 9 + 3 * u + v, mask=seen, other=0.0).to(tl.float32)[None]
            if ADD and u == 1 and v == 1:
                total += value
    at = (row * columns + column)[:, None] * channels + channel[None]
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside[:, None] & seen[None])


@triton.jit
def depthwise_input_kernel(
    grad, weight, dx, height, width, rows, columns, channels, front_y, front_x, tiles_y, tiles_x, blocks,
    STRIDE: tl.constexpr, ADD: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of the input; tiles are those of the input."""
    program = tl.program_id(0)
    image, row, column = tile_of(program // blocks, tiles_y, tiles_x, TILE_Y, TILE_X)
    channel = program % blocks * CHANNELS + tl.arange(0, CHANNELS)
    inside, seen = (row < height) & (column < width), channel < channels
    grad += image.to(tl.int64) * rows * columns * channels
    dx += image.to(tl.int64) * height * width * channels
    total = tl.zeros([TILE_Y * TILE_X, CHANNELS], tl.float32)
    for u in tl.static_range(3):
        for v in tl.static_range(3):
            y, z = row + front_y - u, column + front_x - v
            here = inside & (y >= 0) & (z >= 0) & (y % STRIDE == 0) & (z % STRIDE == 0)
            y, z = y // STRIDE, z // STRIDE
            here &= (y < rows) & (z < columns)
            value = load_points(grad, y, z, channel, here, seen, columns, channels)
            total += value * tl.load(weight + channel * 9 + 3 * u + v, mask=seen, other=0.0).to(tl.float32)[None]
            if ADD and u == 1 and v == 1:
                total += value
    at = (row * width + column)[:, None] * channels + channel[None]
    tl.store(dx + at, total.to(dx.dtype.element_ty), mask=inside[:, None] & seen[None])


@triton.jit
def depthwise_weight_kernel(
    grad, x, partial, height, width, rows, columns, channels, front_y, front_x, tiles_y, tiles_x, blocks, tiles, parts,
    STRIDE: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One part's sums for a row of the kernel, and by the programs of row 0 for the bias.

    ``partial`` is ``(parts, 10 * channels)``: nine numbers of each channel, then the sums of ``grad``.
    """
    program = tl.program_id(0)
    u, part = program % 3, program // (3 * blocks)
    channel = program // 3 % blocks * CHANNELS + tl.arange(0, CHANNELS)
    seen = channel < channels
    left = tl.zeros([TILE_Y * TILE_X, CHANNELS], tl.float32)
    middle, right, whole = left, left, left
    for tile in range(part, tiles, parts):
        image, row, column = tile_of(tile, tiles_y, tiles_x, TILE_Y, TILE_X)
        inside = (row < rows) & (column < columns)
        source = x + image.to(tl.int64) * height * width * channels
        target = grad + image.to(tl.int64) * rows * columns * channels
        g = load_points(target, row, column, channel, inside, seen, columns, channels)
        y, z = row * STRIDE + u - front_y, column * STRIDE - front_x
        here = inside & (y >= 0) & (y < height)
        left += g * load_points(source, y, z, channel, here & (z >= 0) & (z < width), seen, width, channels)
        middle += g * load_points(source, y, z + 1, channel, here & (z + 1 < width), seen, width, channels)
        right += g * load_points(source, y, z + 2, channel, here & (z + 2 < width), seen, width, channels)
        whole += g
    sums = partial + part.to(tl.int64) * 10 * channels
    at = sums + channel * 9 + 3 * u
    tl.store(at, tl.sum(left, 0), mask=seen)
    tl.store(at + 1, tl.sum(middle, 0), mask=seen)
    tl.store(at + 2, tl.sum(right, 0), mask=seen)
    if u == 0:
        tl.store(sums + 9 * channels + channel, tl.sum(whole, 0), mask=seen)
