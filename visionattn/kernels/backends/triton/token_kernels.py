"""The kernels of ``token_attention``: every query of an image sees every key of it, with a bias for each pair.

Queries and keys are numbered; a block of one side meets the other side block by block. Logits never leave the program.
No kernel uses atomics: each sum has one owner and one order. That of the bias, over images, walks over a fixed range of
them with the sum of a block of pairs in registers.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import LOG2E, load_rows, store_rows


@triton.jit
def token_program(heads, tiles):
    """The program's own place: (image, head, tile), heads fastest."""
    rest = tl.program_id(0) // heads
    return (rest // tiles).to(tl.int64), tl.program_id(0) % heads, rest % tiles


@triton.jit
def pair_logits(
    q, k, bias_ptr, query, key, queries, keys, scale_log2, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """Base-2 logits (queries, keys) of a block, -inf for numbers beyond the last."""
    logits = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2
    inside = (query < queries)[:, None] & (key < keys)[None, :]
    if HAS_BIAS:
        bias = tl.load(bias_ptr + query[:, None] * keys + key[None, :], mask=inside, other=0.0)
        logits += bias.to(tl.float32) * LOG2E
    return tl.where(inside, logits, float("-inf"))


@triton.jit
def token_forward_kernel(
    q_ptr, k_ptr, v_ptr, bias_ptr, out_ptr, lse_ptr,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    heads, queries, keys, tiles, scale_log2, HAS_BIAS: tl.constexpr, DEPTH: tl.constexpr, DEPTH_V: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: a block of queries of one head. Writes the output and the base-2 log-sum-exp."""
    image, head, tile = token_program(heads, tiles)
    query = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    q_ptr, k_ptr = q_ptr + image * q_batch + head * q_head, k_ptr + image * k_batch + head * k_head
    v_ptr += image * v_batch + head * v_head
    bias_ptr += head.to(tl.int64) * queries * keys
    q = load_rows(q_ptr, query * q_token, query < queries, DEPTH, BLOCK_D)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    mixed = tl.zeros([BLOCK_M, BLOCK_V], tl.float32)
    for begin in range(0, keys, BLOCK_N):
        key = begin + tl.arange(0, BLOCK_N)
        k = load_rows(k_ptr, key * k_token, key < keys, DEPTH, BLOCK_D)
        v = load_rows(v_ptr, key * v_token, key < keys, DEPTH_V, BLOCK_V)
        logits = pair_logits(q, k, bias_ptr, query, key, queries, keys, scale_log2, HAS_BIAS, PRECISION)
        new_top = tl.maximum(top, tl.max(logits, 1))
        anchor = tl.where(new_top == float("-inf"), 0.0, new_top)  # a row that is no query
        weights = tl.exp2(logits - anchor[:, None])
        fade = tl.exp2(top - anchor)
        total = total * fade + tl.sum(weights, 1)
        mixed = mixed * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        top = new_top
    total = tl.where(query < queries, total, 1.0)
    out_ptr += image * (queries * heads * DEPTH_V) + head * DEPTH_V
    store_rows(out_ptr, query * (heads * DEPTH_V), mixed * (1.0 / total)[:, None], query < queries, DEPTH_V, BLOCK_V)
    tl.store(lse_ptr + (image * heads + head) * queries + query, top + tl.log2(total), mask=query < queries)


@triton.jit
def token_query_kernel(
    q_ptr, k_ptr, v_ptr, bias_ptr, grad_ptr, out_ptr, lse_ptr, delta_ptr, dq_ptr,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    heads, queries, keys, tiles, scale, scale_log2,
    HAS_BIAS: tl.constexpr, DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: a block of queries of one head. Writes dq, and delta, the softmax's row term."""
    image, head, tile = token_program(heads, tiles)
    query = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    q_ptr, k_ptr = q_ptr + image * q_batch + head * q_head, k_ptr + image * k_batch + head * k_head
    v_ptr += image * v_batch + head * v_head
    bias_ptr += head.to(tl.int64) * queries * keys
    base, rows = image * (queries * heads * DEPTH_V) + head * DEPTH_V, query * (heads * DEPTH_V)
    q = load_rows(q_ptr, query * q_token, query < queries, DEPTH, BLOCK_D)
    out = load_rows(out_ptr + base, rows, query < queries, DEPTH_V, BLOCK_V)
    grad = load_rows(grad_ptr + base, rows, query < queries, DEPTH_V, BLOCK_V)
    delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)
    row = (image * heads + head) * queries + query
    tl.store(delta_ptr + row, delta, mask=query < queries)
    lse = tl.load(lse_ptr + row, mask=query < queries, other=0.0)
    dq = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for begin in range(0, keys, BLOCK_N):
        key = begin + tl.arange(0, BLOCK_N)
        k = load_rows(k_ptr, key * k_token, key < keys, DEPTH, BLOCK_D)
        v = load_rows(v_ptr, key * v_token, key < keys, DEPTH_V, BLOCK_V)
        logits = pair_logits(q, k, bias_ptr, query, key, queries, keys, scale_log2, HAS_BIAS, PRECISION)
        slope = tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None]
        slope *= tl.exp2(logits - lse[:, None])
        dq += tl.dot(slope.to(k.dtype), k, input_precision=PRECISION)
    dq_ptr += image * (queries * heads * DEPTH) + head * DEPTH
    store_rows(dq_ptr, query * (heads * DEPTH), dq * scale, query < queries, DEPTH, BLOCK_D)


@triton.jit
def token_key_kernel(
    q_ptr, k_ptr, v_ptr, bias_ptr, grad_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    heads, queries, keys, tiles, scale, scale_log2,
    HAS_BIAS: tl.constexpr, DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: a block of BLOCK_N keys of one head; queries come BLOCK_M at a time."""
    image, head, tile = token_program(heads, tiles)
    key = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    q_ptr, k_ptr = q_ptr + image * q_batch + head * q_head, k_ptr + image * k_batch + head * k_head
    v_ptr += image * v_batch + head * v_head
    bias_ptr += head.to(tl.int64) * queries * keys
    grad_ptr += image * (queries * heads * DEPTH_V) + head * DEPTH_V
    k = load_rows(k_ptr, key * k_token, key < keys, DEPTH, BLOCK_D)
    v = load_rows(v_ptr, key * v_token, key < keys, DEPTH_V, BLOCK_V)
    dk = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_N, BLOCK_V], tl.float32)
    for begin in range(0, queries, BLOCK_M):
        query = begin + tl.arange(0, BLOCK_M)
        q = load_rows(q_ptr, query * q_token, query < queries, DEPTH, BLOCK_D)
        grad = load_rows(grad_ptr, query * (heads * DEPTH_V), query < queries, DEPTH_V, BLOCK_V)
        row = (image * heads + head) * queries + query
        lse = tl.load(lse_ptr + row, mask=query < queries, other=0.0)
        delta = tl.load(delta_ptr + row, mask=query < queries, other=0.0)
        logits = pair_logits(q, k, bias_ptr, query, key, queries, keys, scale_log2, HAS_BIAS, PRECISION)
        weights = tl.exp2(logits - lse[:, None])
        slope = weights * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        dv += tl.dot(tl.trans(weights.to(grad.dtype)), grad, input_precision=PRECISION)
        dk += tl.dot(tl.trans(slope.to(q.dtype)), q, input_precision=PRECISION)
    dk_ptr += image * (keys * heads * DEPTH) + head * DEPTH
    dv_ptr += image * (keys * heads * DEPTH_V) + head * DEPTH_V
    store_rows(dk_ptr, key * (heads * DEPTH), dk * scale, key < keys, DEPTH, BLOCK_D)
    store_rows(dv_ptr, key * (heads * DEPTH_V), dv, key < keys, DEPTH_V, BLOCK_V)


@triton.jit
def token_bias_kernel(
    q_ptr, k_ptr, v_ptr, bias_ptr, grad_ptr, lse_ptr, delta_ptr, partial_ptr,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    heads, queries, keys, tiles, images, share, scale_log2,
    HAS_BIAS: tl.constexpr, DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: a block of pairs of one head in ``share`` images; their sums go to partial (parts, N, T, S)."""
    part, head, tile = token_program(heads, tiles)
    wide = (keys + BLOCK_N - 1) // BLOCK_N
    query = tile // wide * BLOCK_M + tl.arange(0, BLOCK_M)
    key = tile % wide * BLOCK_N + tl.arange(0, BLOCK_N)
    bias_ptr += head.to(tl.int64) * queries * keys
    slopes = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    begin, image = part.to(tl.int32) * share, part * share
    for _ in range(begin, tl.minimum(begin + share, images)):
        q = load_rows(q_ptr + image * q_batch + head * q_head, query * q_token, query < queries, DEPTH, BLOCK_D)
        k = load_rows(k_ptr + image * k_batch + head * k_head, key * k_token, key < keys, DEPTH, BLOCK_D)
        v = load_rows(v_ptr + image * v_batch + head * v_head, key * v_token, key < keys, DEPTH_V, BLOCK_V)
        at = grad_ptr + image * (queries * heads * DEPTH_V) + head * DEPTH_V
        grad = load_rows(at, query * (heads * DEPTH_V), query < queries, DEPTH_V, BLOCK_V)
        row = (image * heads + head) * queries + query
        lse = tl.load(lse_ptr + row, mask=query < queries, other=0.0)
        delta = tl.load(delta_ptr + row, mask=query < queries, other=0.0)
        logits = pair_logits(q, k, bias_ptr, query, key, queries, keys, scale_log2, HAS_BIAS, PRECISION)
        slope = tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None]
        slopes += slope * tl.exp2(logits - lse[:, None])
        image += 1
    partial_ptr += (part * heads + head) * queries * keys
    inside = (query < queries)[:, None] & (key < keys)[None, :]
    tl.store(partial_ptr + query[:, None] * keys + key[None, :], slopes, mask=inside)
