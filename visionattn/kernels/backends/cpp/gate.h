// Squeeze-and-excitation of channels-last maps in bf16: means of all channels, and a factor for each.
#pragma once
#include <cstddef>
#include <vector>

#include "parallel.h"

constexpr int PART_TOKENS = 256, MOST_PARTS = 16, STEP_TOKENS = 64;

// x and out (images, tokens, channels) bf16; means and factors float (images, channels); channels a multiple of LANES.
struct Gate {
    int32_t images, tokens, channels, threads;
    const bf16* x;
    float* means;
    const float* factors;
    bf16* out;
};

static void channel_means(const Gate& p) {
    const int C = p.channels, parts = larger(1, p.tokens / PART_TOKENS < MOST_PARTS ? p.tokens / PART_TOKENS : MOST_PARTS);
    std::vector<float> sums(size_t(p.images) * parts * C, 0.0f);
    parallel(p.images * parts, p.threads, [&](int job) {
        const int part = job % parts, begin = int64_t(p.tokens) * part / parts, end = int64_t(p.tokens) * (part + 1) / parts;
        float* to = sums.data() + size_t(job) * C;
        for (int token = begin; token < end; token += STEP_TOKENS)
            for (int c = 0, last = end < token + STEP_TOKENS ? end : token + STEP_TOKENS; c < C; c += LANES) {
                f32x sum = load_vector(to + c);
                for (int t = token; t < last; ++t) sum += load_vector(p.x + (std::ptrdiff_t(job / parts) * p.tokens + t) * C + c);
                store_vector<float>(to + c, sum);
            }
    });
    for (int image = 0; image < p.images; ++image)
        for (int c = 0; c < C; c += LANES) {
            f32x sum = {};
            for (int part = 0; part < parts; ++part) sum += load_vector(sums.data() + (size_t(image) * parts + part) * C + c);
            store_vector<float>(p.means + std::ptrdiff_t(image) * C + c, sum / float(p.tokens));
        }
}

static void scale_channels(const Gate& p) {
    const int C = p.channels, pieces = (p.tokens + STEP_TOKENS - 1) / STEP_TOKENS;
    parallel(p.images * pieces, p.threads, [&](int job) {
        const int image = job / pieces, begin = job % pieces * STEP_TOKENS;
        const int end = p.tokens < begin + STEP_TOKENS ? p.tokens : begin + STEP_TOKENS;
        const float* factors = p.factors + std::ptrdiff_t(image) * C;
        for (int token = begin; token < end; ++token) {
            const std::ptrdiff_t at = (std::ptrdiff_t(image) * p.tokens + token) * C;
            for (int c = 0; c < C; c += LANES) store_vector(p.out + at + c, load_vector(p.x + at + c) * load_vector(factors + c));
        }
    });
}
