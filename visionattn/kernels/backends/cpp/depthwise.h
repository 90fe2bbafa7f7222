// Depthwise 3x3 convolution of stride 2 of channels-last maps, forward and backward, sums in float32. Channels lie in
// the lanes.
#pragma once
#include <cstddef>
#include <vector>

#include "parallel.h"

constexpr int STRIDE = 2, TAPS = 9, SIDE = 3, GROUP = 64;  // GROUP: channels of a job of the weights' gradient

// Token (i, j) of the output sees the tokens (2i + u - top, 2j + v - left) of x, 0 <= u, v < 3.
struct Depthwise {
    int32_t images, height, width, channels, rows, columns, top, left, threads, reserved;
    const void *x, *weight, *grad;  // bf16 (images, height, width, channels); float (9, channels); bf16, as out
    void *out, *dx, *dweight;       // bf16 (images, rows, columns, channels); as x; float (images, 9, channels)
};

template <int WIDE> struct Sums {
    f32x sum[WIDE] = {};
    INLINED void add(const bf16* x, const float* weight) {
        for (int k = 0; k < WIDE; ++k) sum[k] += load_vector(x + k * LANES) * load_vector(weight + k * LANES);
    }
    INLINED void write(bf16* to) const {
        for (int k = 0; k < WIDE; ++k) store_vector(to + k * LANES, sum[k]);
    }
};

// Calls wide(c) for two vectors of channels at a time, narrow(c) for one that is left.
template <class W, class N> INLINED void each_block(int first, int last, W wide, N narrow) {
    int c = first;
    for (; c + 2 * LANES <= last; c += 2 * LANES) wide(c);
    if (c < last) narrow(c);
}

// The sums of one token of the output, and of one token of the gradient of x, for WIDE vectors of channels from c on.
template <int WIDE> INLINED void forward_token(const Depthwise& p, int image, int i, int j, int c) {
    const int C = p.channels, y = i * STRIDE - p.top, x = j * STRIDE - p.left;
    const float* weight = static_cast<const float*>(p.weight) + c;
    const bf16* from = static_cast<const bf16*>(p.x) + ((std::ptrdiff_t(image) * p.height + y) * p.width + x) * C + c;
    Sums<WIDE> sums;
    const bool inside = x >= 0 && x + SIDE <= p.width;
    for (int u = 0; u < SIDE; ++u, from += std::ptrdiff_t(p.width) * C, weight += SIDE * C) {
        if (y + u < 0 || y + u >= p.height) continue;
#pragma GCC unroll 3
        for (int v = 0; v < SIDE; ++v)
            if (inside || (x + v >= 0 && x + v < p.width)) sums.add(from + v * C, weight + v * C);
    }
    sums.write(static_cast<bf16*>(p.out) + ((std::ptrdiff_t(image) * p.rows + i) * p.columns + j) * C + c);
}

template <int WIDE> INLINED void input_token(const Depthwise& p, int image, int y, int x, int c) {
    const int C = p.channels;
    const float* weight = static_cast<const float*>(p.weight) + c;
    const bf16* grad = static_cast<const bf16*>(p.grad) + std::ptrdiff_t(image) * p.rows * p.columns * C + c;
    Sums<WIDE> sums;
    for (int u = 0; u < SIDE; ++u) {
        const int down = y + p.top - u, i = down / STRIDE;
        if (down < 0 || down % STRIDE || i >= p.rows) continue;
        for (int v = 0; v < SIDE; ++v) {
            const int right = x + p.left - v, j = right / STRIDE;
            if (right < 0 || right % STRIDE || j >= p.columns) continue;
            sums.add(grad + std::ptrdiff_t(i * p.columns + j) * C, weight + (u * SIDE + v) * C);
        }
    }
    sums.write(static_cast<bf16*>(p.dx) + ((std::ptrdiff_t(image) * p.height + y) * p.width + x) * C + c);
}

// Adds one row of the output's gradient to the sums (9, GROUP) of a job. `above` are the rows of x that it saw; a row
// outside the map is one of zeros.
template <int WIDE>
static void weight_row(const Depthwise& p, const bf16* grad, const bf16* const* above, const bf16* next, int c,
                       float* sums) {
    const int C = p.channels;
    f32x sum[TAPS][WIDE] = {};
    for (int j = 0; j < p.columns; ++j) {
        const int q = j * STRIDE - p.left;
        f32x g[WIDE];
        for (int k = 0; k < WIDE; ++k) g[k] = load_vector(grad + std::ptrdiff_t(j) * C + k * LANES);
        const bool inside = q >= 0 && q + SIDE <= p.width;
        if (next && inside)  // what the next row sees anew; lines lie apart, so that the CPU does not foresee them
            for (int v = 0; v < STRIDE; ++v)
                for (int u = 0; u < STRIDE; ++u)
                    __builtin_prefetch(next + (std::ptrdiff_t(u) * p.width + q + v) * C);
#pragma GCC unroll 9
        for (int tap = 0; tap < TAPS; ++tap) {
            const int x = q + tap % SIDE;
            if (!inside && (x < 0 || x >= p.width)) continue;
            const bf16* from = above[tap / SIDE] + std::ptrdiff_t(x) * C;
            for (int k = 0; k < WIDE; ++k) sum[tap][k] += g[k] * load_vector(from + k * LANES);
        }
    }
    for (int tap = 0; tap < TAPS; ++tap)
        for (int k = 0; k < WIDE; ++k) {
            float* to = sums + tap * GROUP + c % GROUP + k * LANES;
            store_vector<float>(to, load_vector(to) + sum[tap][k]);
        }
}

static void weight_group(const Depthwise& p, int image, int first) {
    const int C = p.channels, last = first + GROUP < C ? first + GROUP : C;
    std::vector<bf16> zeros(size_t(p.width) * GROUP * ((C + GROUP - 1) / GROUP), bf16{0});
    std::vector<float> sums(TAPS * GROUP, 0.0f);
    for (int i = 0; i < p.rows; ++i) {
        const bf16* grad = static_cast<const bf16*>(p.grad) + (std::ptrdiff_t(image) * p.rows + i) * p.columns * C;
        const int y = i * STRIDE - p.top;
        const bf16* x = static_cast<const bf16*>(p.x) + (std::ptrdiff_t(image) * p.height + y) * p.width * C;
        auto row = [&](int u, int c) {
            return y + u >= 0 && y + u < p.height ? x + std::ptrdiff_t(u) * p.width * C + c : zeros.data();
        };
        auto work = [&](int c, auto visit) {
            const bf16* above[SIDE] = {row(0, c), row(1, c), row(2, c)};
            visit(p, grad + c, above, y + SIDE - 1 + STRIDE < p.height ? row(SIDE, c) : nullptr, c, sums.data());
        };
        each_block(first, last, [&](int c) { work(c, weight_row<2>); }, [&](int c) { work(c, weight_row<1>); });
    }
    float* to = static_cast<float*>(p.dweight) + std::ptrdiff_t(image) * TAPS * C;
    for (int tap = 0; tap < TAPS; ++tap)
        for (int c = first; c < last; ++c) to[std::ptrdiff_t(tap) * C + c] = sums[tap * GROUP + c - first];
}

static void depthwise_forward(const Depthwise& p) {
    parallel(p.images * p.rows, p.threads, [&](int job) {
        const int image = job / p.rows, i = job % p.rows;
        for (int j = 0; j < p.columns; ++j)
            each_block(0, p.channels, [&](int c) { forward_token<2>(p, image, i, j, c); },
                       [&](int c) { forward_token<1>(p, image, i, j, c); });
    });
}

static void depthwise_input(const Depthwise& p) {
    parallel(p.images * p.height, p.threads, [&](int job) {
        const int image = job / p.height, y = job % p.height;
        for (int x = 0; x < p.width; ++x)
            each_block(0, p.channels, [&](int c) { input_token<2>(p, image, y, x, c); },
                       [&](int c) { input_token<1>(p, image, y, x, c); });
    });
}

static void depthwise_weight(const Depthwise& p) {
    const int groups = (p.channels + GROUP - 1) / GROUP;
    parallel(p.images * groups, p.threads, [&](int job) { weight_group(p, job / groups, job % groups * GROUP); });
}
