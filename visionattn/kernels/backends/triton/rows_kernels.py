"""The kernels of layer norms and of GELU's gradient over rows of channels.

A map is ``rows`` rows of ``channels`` numbers, contiguous. All sums are float32. What a gradient sums over rows, each
program sums over some of them; the parts are added afterwards, in a fixed order.
"""

import triton
import triton.language as tl


@triton.jit
def norm_kernel(
    x, weight, bias, out, mean, rstd, rows, channels, eps, ROWS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """The norm of some rows, with their means and inverse deviations."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    column = tl.arange(0, CHANNELS)
    here, seen = row < rows, column < channels
    mask = here[:, None] & seen[None]
    at = row[:, None] * channels + column[None]
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    middle = tl.sum(value, 1) / channels
    centered = tl.where(mask, value - middle[:, None], 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centered * centered, 1) / channels + eps)
    factor = tl.load(weight + column, mask=seen, other=0.0).to(tl.float32)
    summand = tl.load(bias + column, mask=seen, other=0.0).to(tl.float32)
    result = centered * inverse[:, None] * factor[None] + summand[None]
    tl.store(out + at, result.to(out.dtype.element_ty), mask=mask)
    tl.store(mean + row, middle, mask=here)
    tl.store(rstd + row, inverse, mask=here)


@triton.jit
def norm_backward_kernel(
    grad, added, x, weight, mean, rstd, dx, partial, rows, channels, tiles, parts,
    ADD: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of x, to which ``added`` is added with ADD, and one part's sums for the weight and the bias.

    ``partial`` is ``(parts, 2 * channels)``.
    """
    part = tl.program_id(0)
    column = tl.arange(0, CHANNELS)
    seen = column < channels
    factor = tl.load(weight + column, mask=seen, other=0.0).to(tl.float32)[None]
    of_weight = tl.zeros([ROWS, CHANNELS], tl.float32)
    of_bias = tl.zeros([ROWS, CHANNELS], tl.float32)
    for tile in range(part, tiles, parts):
        row = tile * ROWS + tl.arange(0, ROWS).to(tl.int64)
        here = row < rows
        mask = here[:, None] & seen[None]
        at = row[:, None] * channels + column[None]
        g = tl.load(grad + at, mask=mask, other=0.0).to(tl.float32)
        value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
        middle, inverse = tl.load(mean + row, mask=here, other=0.0), tl.load(rstd + row, mask=here, other=0.0)
        normed = tl.where(mask, (value - middle[:, None]) * inverse[:, None], 0.0)
        of_weight += g * normed
        of_bias += g
        scaled = g * factor
        shift, slope = tl.sum(scaled, 1) / channels, tl.sum(scaled * normed, 1) / channels
        result = (scaled - shift[:, None] - normed * slope[:, None]) * inverse[:, None]
        if ADD:
            result += tl.load(added + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(dx + at, result.to(dx.dtype.element_ty), mask=mask)
    sums = partial + part.to(tl.int64) * 2 * channels + column
    tl.store(sums, tl.sum(of_weight, 0), mask=seen)
    tl.store(sums + channels, tl.sum(of_bias, 0), mask=seen)


@triton.jit
def gelu_slope(value, TANH: tl.constexpr):
    """The derivative of GELU, exact or, with TANH, of its approximation."""
    if TANH:
        bent = 1.5957691216057308 * (value + 0.044715 * value * value * value)
        share = tl.sigmoid(tl.maximum(bent, -60.0))
        slope = share + value * share * (1 - share) * 1.5957691216057308 * (1 + 0.134145 * value * value)
    else:
        share = 0.5 * (1 + tl.erf(value * 0.7071067811865476))
        slope = share + value * 0.3989422804014327 * tl.exp(-0.5 * value * value)
    return slope


@triton.jit
def gelu_backward_kernel(
    grad, x, dx, partial, rows, channels, blocks, tiles, parts,
    TANH: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of x under GELU for some of its channels, and one part's sum of it over rows.

    ``partial`` is ``(parts, channels)``.
    """
    program = tl.program_id(0)
    part = program // blocks
    column = program % blocks * CHANNELS + tl.arange(0, CHANNELS)
    seen = column < channels
    total = tl.zeros([ROWS, CHANNELS], tl.float32)
    for tile in range(part, tiles, parts):
        row = tile * ROWS + tl.arange(0, ROWS).to(tl.int64)
        mask = (row < rows)[:, None] & seen[None]
        at = row[:, None] * channels + column[None]
        value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
        slope = gelu_slope(value, TANH)
        result = tl.load(grad + at, mask=mask, other=0.0).to(tl.float32) * slope
        total += result
        tl.store(dx + at, result.to(dx.dtype.element_ty), mask=mask)
    tl.store(partial + part.to(tl.int64) * channels + column, tl.sum(total, 0), mask=seen)
