"""The kernels of a selective scan. A program goes through the map in one direction, with some channels of one image.

A tile is some tokens of the direction and, as columns, the states of the program's channels: column n is state
``n % STATES`` of channel ``n // STATES``. Inside a tile the recurrence is an associative scan of pairs (decay, state);
from tile to tile a row of states is carried on. Where the direction ends, tokens decay nothing and add nothing.
"""

import triton
import triton.language as tl


@triton.jit
def join(decay, state, next_decay, next_state):
    """Two stretches of tokens as one."""
    return decay * next_decay, state * next_decay + next_state


@triton.jit
def softplus(x):
    """Softplus and its slope; from 20 on, softplus is the number itself."""
    z = tl.exp(-tl.abs(x))
    s = z / (z + 2.0)
    q = s * s  # log(1 + z) = 2 artanh(s), s up to a third
    p = q * (1.0 / 13) + (1.0 / 11)
    p = p * q + (1.0 / 9)
    p = p * q + (1.0 / 7)
    p = p * q + (1.0 / 5)
    p = p * q + (1.0 / 3)
    p = p * q + 1.0
    value = tl.where(x > 20.0, x, tl.maximum(x, 0.0) + (s + s) * p)
    return value, tl.where(x > 20.0, 1.0, tl.where(x < 0.0, z, 1.0) / (1.0 + z))


@triton.jit
def place_of(token, height, width, way):
    """Row and column of tokens of a direction: rows, columns, and both from the end."""
    token = tl.where(way >= 2, height * width - 1 - token, token)
    turned = way % 2 == 1
    along = tl.where(turned, height, width)
    inner, outer = token % along, token // along
    return tl.where(turned, inner, outer), tl.where(turned, outer, inner)


@triton.jit
def load_step(delta, row, col, channel, seen, by_row, by_col):
    """Steps and the slopes of softplus; a token that is not seen has a step of nothing."""
    at = row[:, None].to(tl.int64) * by_row + col[:, None] * by_col + channel[None]
    step, slope = softplus(tl.load(delta + at, mask=seen, other=0.0).to(tl.float32))
    return tl.where(seen, step, 0.0), slope


@triton.jit
def load_map(pointer, row, col, column, seen, by_row, by_col):
    """A tile of a map in float32, zero where it is not seen."""
    at = row[:, None].to(tl.int64) * by_row + col[:, None] * by_col + column[None]
    return tl.load(pointer + at, mask=seen, other=0.0).to(tl.float32)


@triton.jit
def row_of(tile, index, TOKENS: tl.constexpr):
    """One row of a tile."""
    return tl.sum(tl.where(tl.arange(0, TOKENS)[:, None] == index, tile, 0.0), 0)


@triton.jit
def columns_of(a, block, way, channels, states, CHANNELS: tl.constexpr, STATES: tl.constexpr):
    """Channel and state of each column, whether there are such, and how fast that state decays."""
    column = tl.arange(0, CHANNELS * STATES)
    channel, state = block * CHANNELS + column // STATES, column % STATES
    inside = (channel < channels) & (state < states)
    rate = tl.load(a + (way * channels + channel) * states + state, mask=inside, other=0.0)
    return channel, state, inside, rate


@triton.jit
def scan_forward_kernel(
    x, delta, a, b, c, out, kept, height, width, channels, states, ways,
    x_b, x_r, x_c, d_b, d_r, d_c, d_w, b_b, b_r, b_c, b_w, c_b, c_r, c_c, c_w,
    TOKENS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """The output of each direction, (B, K, H, W, C), and the states before each tile, (B, K, tiles, C, S)."""
    block, way, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    channel, state, inside, rate = columns_of(a, block, way, channels, states, CHANNELS, STATES)
    own = block * CHANNELS + tl.arange(0, CHANNELS)
    line, tokens = image * ways + way, height * width
    tiles = tl.cdiv(tokens, TOKENS)
    carry = tl.zeros((CHANNELS * STATES,), tl.float32)
    for tile in range(tiles):
        token = tile * TOKENS + tl.arange(0, TOKENS)
        row, col = place_of(token, height, width, way)
        seen = (token < tokens)[:, None] & inside[None]
        tl.store(kept + ((line * tiles + tile) * channels + channel) * states + state, carry, mask=inside)
        step, _ = load_step(delta + image * d_b + way * d_w, row, col, channel, seen, d_r, d_c)
        value = load_map(x + image * x_b, row, col, channel, seen, x_r, x_c)
        entry = load_map(b + image * b_b + way * b_w, row, col, state, seen, b_r, b_c)
        reading = load_map(c + image * c_b + way * c_w, row, col, state, seen, c_r, c_c)
        kept_share, h = tl.associative_scan((tl.exp(step * rate[None]), step * value * entry), 0, join)
        h += kept_share * carry[None]
        y = tl.sum(tl.reshape(h * reading, (TOKENS, CHANNELS, STATES)), 2)
        at = (line * tokens + row * width + col)[:, None] * channels + own[None]
        tl.store(out + at, y, mask=(token < tokens)[:, None] & (own < channels)[None])
        carry = row_of(h, TOKENS - 1, TOKENS)


@triton.jit
def store_gradients(
    of_x, of_delta, of_entry, of_reading, dx, ddelta, db, dc, place, line, tokens, token, block, channels, partial, way,
    ways, states, TOKENS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Sum over states what belongs to channels, and over channels what belongs to states, and write it."""
    on_map, own = (token < tokens)[:, None], block * CHANNELS + tl.arange(0, CHANNELS)
    mask = on_map & (own < channels)[None]
    at = (line * tokens + place)[:, None] * channels + own[None]
    tl.store(dx + at, tl.sum(tl.reshape(of_x, (TOKENS, CHANNELS, STATES)), 2), mask=mask)
    at = ((line // ways * tokens + place) * ways + way)[:, None] * channels + own[None]
    tl.store(ddelta + at, tl.sum(tl.reshape(of_delta, (TOKENS, CHANNELS, STATES)), 2), mask=mask)
    state = tl.arange(0, STATES)
    mask = on_map & (state < states)[None]
    at = ((partial * tokens + place) * ways + way)[:, None] * states + state[None]
    tl.store(db + at, tl.sum(tl.reshape(of_entry, (TOKENS, CHANNELS, STATES)), 1), mask=mask)
    tl.store(dc + at, tl.sum(tl.reshape(of_reading, (TOKENS, CHANNELS, STATES)), 1), mask=mask)


@triton.jit
def scan_backward_kernel(
    grad, x, delta, a, b, c, kept, dx, ddelta, da, db, dc, height, width, channels, states, ways,
    x_b, x_r, x_c, d_b, d_r, d_c, d_w, b_b, b_r, b_c, b_w, c_b, c_r, c_c, c_w,
    TOKENS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Gradients: of x per direction, (B, K, H, W, C), of b and c per block of channels, of a per image."""
    block, way, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    channel, state, inside, rate = columns_of(a, block, way, channels, states, CHANNELS, STATES)
    line, tokens, partial = image * ways + way, height * width, block * tl.num_programs(2) + image
    tiles, steps = tl.cdiv(tokens, TOKENS), delta + image * d_b + way * d_w
    carry, of_rate = tl.zeros((CHANNELS * STATES,), tl.float32), tl.zeros((CHANNELS * STATES,), tl.float32)
    for before in range(tiles):
        tile = tiles - 1 - before
        token = tile * TOKENS + tl.arange(0, TOKENS)
        row, col = place_of(token, height, width, way)
        seen = (token < tokens)[:, None] & inside[None]
        start = tl.load(kept + ((line * tiles + tile) * channels + channel) * states + state, mask=inside, other=0.0)
        step, slope = load_step(steps, row, col, channel, seen, d_r, d_c)
        value = load_map(x + image * x_b, row, col, channel, seen, x_r, x_c)
        entry = load_map(b + image * b_b + way * b_w, row, col, state, seen, b_r, b_c)
        reading = load_map(c + image * c_b + way * c_w, row, col, state, seen, c_r, c_c)
        g = load_map(grad + image * tokens * channels, row, col, channel, seen, width * channels, channels)
        share, h = tl.associative_scan((tl.exp(step * rate[None]), step * value * entry), 0, join)
        h += share * start[None]
        next_row, next_col = place_of(token + 1, height, width, way)
        next_seen = (token + 1 < tokens)[:, None] & inside[None]
        next_step, _ = load_step(steps, next_row, next_col, channel, next_seen, d_r, d_c)
        share, dh = tl.associative_scan((tl.exp(next_step * rate[None]), reading * g), 0, join, reverse=True)
        dh += share * carry[None]
        of_log = dh * (h - step * value * entry)  # of the logarithm of the decay
        of_rate += tl.sum(of_log * step, 0)
        of_step = (of_log * rate[None] + dh * value * entry) * slope
        store_gradients(
            dh * step * entry, of_step, dh * step * value, h * g, dx, ddelta, db, dc, row * width + col, line, tokens,
            token, block, channels, partial, way, ways, states, TOKENS, CHANNELS, STATES,
        )  # fmt: skip
        carry = row_of(dh, 0, TOKENS)
    tl.store(da + (line * channels + channel) * states + state, of_rate, mask=inside)
