"""The kernels of a batch norm's gradient, with that of a GELU after it.

A map is ``rows`` rows of ``channels`` numbers, contiguous: a point of an image is a row. With GELU 1 an exact GELU
comes after the norm, with 2 its approximation. All sums are float32.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.rows_kernels import gelu_slope


@triton.jit
def gradient_and_normed(grad, x, at, mask, middle, inverse, factor, summand, GELU: tl.constexpr):
    """The gradient of what the norm gave, and the norm before its factor and summand."""
    normed = (tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - middle) * inverse
    g = tl.load(grad + at, mask=mask, other=0.0).to(tl.float32)
    if GELU:
        g *= gelu_slope(normed * factor + summand, GELU == 2)
    return g, normed


@triton.jit
def batch_norm_sums_kernel(
    grad, x, mean, rstd, weight, bias, partial, rows, channels, blocks, tiles, parts,
    GELU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One part's sums for the bias and the weight, for some channels; ``partial`` is ``(parts, 2 * channels)``."""
    program = tl.program_id(0)
    part = program // blocks
    column = program % blocks * CHANNELS + tl.arange(0, CHANNELS)
    seen = column < channels
    middle, inverse = tl.load(mean + column, mask=seen)[None], tl.load(rstd + column, mask=seen)[None]
    factor, summand = tl.load(weight + column, mask=seen)[None], tl.load(bias + column, mask=seen)[None]
    of_bias = tl.zeros([ROWS, CHANNELS], tl.float32)
    of_weight = tl.zeros([ROWS, CHANNELS], tl.float32)
    for tile in range(part, tiles, parts):
        row = tile * ROWS + tl.arange(0, ROWS).to(tl.int64)
        mask = (row < rows)[:, None] & seen[None]
        at = row[:, None] * channels + column[None]
        g, normed = gradient_and_normed(grad, x, at, mask, middle, inverse, factor, summand, GELU)
        of_bias += g
        of_weight += g * normed
    sums = partial + part.to(tl.int64) * 2 * channels + column
    tl.store(sums, tl.sum(of_bias, 0), mask=seen)
    tl.store(sums + channels, tl.sum(of_weight, 0), mask=seen)


@triton.jit
def batch_norm_input_kernel(
    grad, x, mean, rstd, weight, bias, sums, dx, rows, channels, blocks, share,
    GELU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of x; ``sums`` are those of all parts, ``share`` is one row's of the mean."""
    program = tl.program_id(0)
    row = program // blocks * ROWS + tl.arange(0, ROWS).to(tl.int64)
    column = program % blocks * CHANNELS + tl.arange(0, CHANNELS)
    seen = column < channels
    mask = (row < rows)[:, None] & seen[None]
    at = row[:, None] * channels + column[None]
    middle, inverse = tl.load(mean + column, mask=seen)[None], tl.load(rstd + column, mask=seen)[None]
    factor, summand = tl.load(weight + column, mask=seen)[None], tl.load(bias + column, mask=seen)[None]
    shift = tl.load(sums + column, mask=seen)[None] * share
    slope = tl.load(sums + channels + column, mask=seen)[None] * share
    g, normed = gradient_and_normed(grad, x, at, mask, middle, inverse, factor, summand, GELU)
    result = factor * inverse * (g - shift - normed * slope)
    tl.store(dx + at, result.to(dx.dtype.element_ty), mask=mask)
