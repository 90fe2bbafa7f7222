// Layer norm of rows of bf16, forward and backward, arithmetic in float32.
#pragma once
#include <cstddef>

#include "parallel.h"

constexpr int PART_ROWS = 16;  // at least so many rows go to one job of the forward

// x, grad, out and dx are bf16 (rows, channels), channels a multiple of LANES; the rest is float: weight and bias
// (channels), stats (rows, 2) with mean and 1 / deviation (null: not asked for), dweight (parts, 2, channels). `added`
// is another gradient of x, which dx then contains; null: none.
struct LayerNorm {
    int64_t rows;
    int32_t channels, threads, parts, reserved;
    double eps;
    const bf16 *x, *grad, *added;
    const float *weight, *bias;
    bf16 *out, *dx;
    float *stats, *dweight;
};

using f32x8 = float __attribute__((vector_size(8 * sizeof(float))));
using f32x4 = float __attribute__((vector_size(4 * sizeof(float))));
template <class Half, class T> INLINED Half folded(const T& x) {
    Half halves[2];
    std::memcpy(halves, &x, sizeof x);
    return halves[0] + halves[1];
}
INLINED float total(const f32x& x) {
    const f32x4 four = folded<f32x4>(folded<f32x8>(x));
    return (four[0] + four[2]) + (four[1] + four[3]);
}

static void norm_row(const LayerNorm& p, int64_t row) {
    const bf16* x = p.x + row * p.channels;
    bf16* out = p.out + row * p.channels;
    f32x sum = {}, square = {};
    for (int c = 0; c < p.channels; c += LANES) sum += load_vector(x + c);
    const float mean = total(sum) / float(p.channels);
    for (int c = 0; c < p.channels; c += LANES) {
        const f32x centered = load_vector(x + c) - mean;
        square += centered * centered;
    }
    const float inverse = 1.0f / std::sqrt(total(square) / float(p.channels) + float(p.eps));
    for (int c = 0; c < p.channels; c += LANES) {
        const f32x scale = load_vector(p.weight + c) * inverse;
        store_vector(out + c, (load_vector(x + c) - mean) * scale + load_vector(p.bias + c));
    }
    if (p.stats) p.stats[2 * row] = mean, p.stats[2 * row + 1] = inverse;
}

// Writes a row of dx and adds to the gradients of weight and bias.
static void norm_row_backward(const LayerNorm& p, int64_t row, float* dweight, float* dbias) {
    const bf16 *x = p.x + row * p.channels, *grad = p.grad + row * p.channels;
    const bf16* added = p.added ? p.added + row * p.channels : nullptr;
    bf16* dx = p.dx + row * p.channels;
    const float mean = p.stats[2 * row], inverse = p.stats[2 * row + 1];
    f32x sum = {}, product = {};
    for (int c = 0; c < p.channels; c += LANES) {
        const f32x g = load_vector(grad + c), normed = (load_vector(x + c) - mean) * inverse;
        const f32x scaled = g * load_vector(p.weight + c);
        sum += scaled, product += scaled * normed;
        store_vector<float>(dweight + c, load_vector(dweight + c) + g * normed);
        store_vector<float>(dbias + c, load_vector(dbias + c) + g);
    }
    const float shift = total(sum) / float(p.channels), slope = total(product) / float(p.channels);
    for (int c = 0; c < p.channels; c += LANES) {
        const f32x normed = (load_vector(x + c) - mean) * inverse;
        const f32x scaled = load_vector(grad + c) * load_vector(p.weight + c);
        const f32x own = (scaled - shift - normed * slope) * inverse;
        store_vector(dx + c, added ? own + load_vector(added + c) : own);
    }
}

static void layer_norm(const LayerNorm& p) {
    parallel(int((p.rows + PART_ROWS - 1) / PART_ROWS), p.threads, [&](int job) {
        const int64_t first = int64_t(job) * PART_ROWS, last = first + PART_ROWS;
        for (int64_t row = first; row < last && row < p.rows; ++row) norm_row(p, row);
    });
}

static void layer_norm_backward(const LayerNorm& p) {
    parallel(p.parts, p.threads, [&](int part) {
        float *dweight = p.dweight + std::ptrdiff_t(part) * 2 * p.channels, *dbias = dweight + p.channels;
        for (int c = 0; c < 2 * p.channels; ++c) dweight[c] = 0;
        for (int64_t row = p.rows * part / p.parts; row < p.rows * (part + 1) / p.parts; ++row)
            norm_row_backward(p, row, dweight, dbias);
    });
}
