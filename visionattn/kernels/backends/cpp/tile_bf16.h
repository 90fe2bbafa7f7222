// The attention of one tile where the CPU multiplies pairs of bf16: half as many steps as in float32, sums in float32.
// What a product takes in that is not a bf16 already, the weights and their gradients, is rounded to one.
#pragma once
#include "gemm.h"
#include "place.h"

#if defined(__AVX512BF16__)
// 2^x of numbers <= 0, exactly 0 below -126; error below 5e-6, a thousandth of what rounding to bf16 adds.
INLINED f32x power_of_two(const f32x& x) {
    const f32x zero = {}, least = zero - 126.0f, magic = zero + 12582912.0f;
    const f32x clamped = x < least ? least : x, shifted = clamped + magic;
    const f32x r = clamped - (shifted - magic);
    f32x p = r * 9.6004e-3f + 5.591689e-2f;
    p = p * r + 2.4023718e-1f;
    p = p * r + 6.9312199e-1f;
    p = p * r + 1.0f;
    const f32x power = (f32x)((i32x)p + ((i32x)shifted << 23));
    return x < least ? zero : power;
}

// Two vectors of numbers as bf16 one behind the other, and as pairs of the numbers in the same lane.
INLINED __m512i narrowed(const f32x& low, const f32x& high) {
    return (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
}
INLINED u32x interleaved(const __m512i& halves) {
    alignas(64) static constexpr uint16_t PLACES[2 * LANES] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                               8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return (u32x)_mm512_permutexvar_epi16(_mm512_load_si512(PLACES), halves);
}
// Sums times factor as bf16, of which there is room for `room`.
template <int VECTORS> INLINED void write_sums(const f32x (&sums)[VECTORS], float factor, bf16* to, int room) {
    static_assert(VECTORS <= 2);
    const __m512i bits = narrowed(sums[0] * factor, VECTORS > 1 ? sums[VECTORS - 1] * factor : f32x{});
    if (room >= 2 * LANES) _mm512_storeu_si512(to, bits);
    else _mm512_mask_storeu_epi16(to, (1u << room) - 1, bits);
}

// Rows of bf16 filled up with zeros; pairs of neighbouring rows; pairs of channels with the rows of some blocks in lanes.
struct PackedRows {
    PackedRows(int depth, int most)
        : depth(depth), half((depth + 1) / 2), wide(vectors(depth)), pitch(vectors(half)), rows(size_t(most) * pitch),
          pairs(size_t(most + 1) / 2 * wide), lanes(size_t(vectors(most)) * half) {}
    bf16* row(int i) { return reinterpret_cast<bf16*>(rows.data + i * pitch); }
    INLINED void take(int i, const bf16* from) {
        for (int part = 0, left = depth; part < pitch; ++part, left -= 2 * LANES) {
            const bf16* own = from + part * 2 * LANES;
            rows.data[i * pitch + part] = (u32x)(left >= 2 * LANES ? _mm512_loadu_si512(own)
                                                                   : _mm512_maskz_loadu_epi16((1u << left) - 1, own));
        }
    }
    void clear(int first, int last) {
        for (int i = first * pitch; i < last * pitch; ++i) rows.data[i] = u32x{};
    }
    void pair(int count) {
        for (int i = 0; i < count; i += 2)
            each_pairs(row(i), i + 1 < count ? row(i + 1) : nullptr, wide * LANES,
                       [&](int c, const u32x& both) { pairs.data[i / 2 * wide + c / LANES] = both; });
    }
    void spread(int blocks) {
        u32x block[LANES];
        for (int b = 0; b < blocks; ++b)
            for (int part = 0; part < pitch; ++part) {
                for (int lane = 0; lane < LANES; ++lane) block[lane] = rows.data[(b * LANES + lane) * pitch + part];
                transpose(block);
                for (int k = part * LANES; k < half && k < (part + 1) * LANES; ++k)
                    lanes.data[k * blocks + b] = block[k - part * LANES];
            }
    }
    const uint32_t* numbers() const { return reinterpret_cast<const uint32_t*>(rows.data); }
    int depth, half, wide, pitch;
    Aligned<u32x> rows, pairs, lanes;
};

template <> struct TileWork<bf16> : Place<bf16> {
    static constexpr float UNIT = 1.44269504088896341f;  // logits are to the base 2
    explicit TileWork(const Problem& p)
        : Place(p), together(most_keys <= FEW_KEYS ? TOGETHER : 2), key(p.depth, most_keys), value(p.value_depth, most_keys),
          q(p.depth, TOGETHER * LANES), g(p.value_depth, TOGETHER * LANES), logits(size_t(most_keys + 1) * together),
          weights(size_t(most_keys + 1) * together), weight_pairs(size_t(most_keys + 1) / 2 * together),
          narrow(size_t(most_keys + 1) * together), to_key(most_keys), to_value(most_keys) {}

    void enter(const Tile& rows, const Tile& cols, int of_head, bool back) {
        int index = 0;
        go(rows, cols, of_head, [&](const bf16* from_key, const bf16* from_value) {
            key.take(index, from_key);
            value.take(index++, from_value);
        });
        (back ? key : value).pair(keys);
        complete = p.windows && blocks <= together;
        if (back && complete) each_key(p.dk, to_key.data()), each_key(p.dv, to_value.data());
    }
    void each_key(const Map& map, bf16** to) const {
        for (int r = 0; r < ys.keys; ++r) {
            bf16* row = at<bf16>(map, b, y.key + r * y.step, x.key, head);
            for (int c = 0; c < xs.keys; ++c, row += map.col * x.step) *to++ = row;
        }
    }

    // As many blocks from this one on as are computed together.
    void forward(int block, const f32x* added) {
        of_rows<TOGETHER>(larger(1, blocks - block < together ? blocks - block : together),
                          [&](auto count) { forward_of<count>(block, added); });
    }
    void backward(int block, const f32x* added, Gradients<float>& grads, f32x* bias) {
        of_rows<TOGETHER>(larger(1, blocks - block < together ? blocks - block : together),
                          [&](auto count) { backward_of<count>(block, added, grads, bias); });
    }

    template <int COUNT> void forward_of(int block, const f32x* added) {
        locate(block, COUNT);
        read(p.q, q, COUNT);
        f32x most[COUNT], sum[COUNT] = {}, inverse[COUNT];
        find_logits<COUNT>(added, most);
        for (int j = 0; j < (keys + 1) / 2; ++j)
            for (int n = 0; n < COUNT; ++n) {
                const f32x low = power_of_two(logits.data[2 * j * COUNT + n] - most[n]);
                const f32x high = power_of_two(logits.data[(2 * j + 1) * COUNT + n] - most[n]);
                sum[n] += low + high;
                weight_pairs.data[j * COUNT + n] = interleaved(narrowed(low, high));
            }
        for (int n = 0; n < COUNT; ++n) inverse[n] = 1.0f / sum[n];
        const float *largest = reinterpret_cast<float*>(most), *factors = reinterpret_cast<float*>(inverse);
        for (int lane = 0; lane < lanes; ++lane) {
            float* to = stats(lane);
            to[0] = largest[lane], to[1] = factors[lane];
        }
        write_queries(p.out, value, COUNT, factors);
    }

    template <int COUNT> void backward_of(int block, const f32x* added, Gradients<float>& grads, f32x* bias) {
        locate(block, COUNT);
        read(p.q, q, COUNT), read(p.grad, g, COUNT);
        q.pair(lanes), g.pair(lanes);
        f32x delta[COUNT] = {};
        find_weights<COUNT>(added);
        write_keys(g, COUNT, to_value.data(), grads.v.data);
        find_weight_gradients<COUNT>(delta);
        const float scale = float(p.scale);
        for (int j = 0; j < (keys + 1) / 2; ++j)
            for (int n = 0; n < COUNT; ++n) {
                const int at_low = 2 * j * COUNT + n, at_high = at_low + COUNT;
                const f32x low = logits.data[at_low] * (weights.data[at_low] - delta[n]);
                const f32x high = logits.data[at_high] * (weights.data[at_high] - delta[n]);
                if (bias) {
                    f32x* to = bias + n * keys + 2 * j;
                    to[0] += low;
                    if (2 * j + 1 < keys) to[1] += high;
                }
                const __m512i halves = narrowed(low * scale, high * scale);
                narrow_keys(j, n, COUNT, halves);
                weight_pairs.data[j * COUNT + n] = interleaved(halves);
            }
        write_keys(q, COUNT, to_key.data(), grads.k.data);
        write_queries(p.dq, key, COUNT, nullptr);
    }
    // The weights of keys, also in `narrow`, in place of the logits. Missing lanes weigh nothing.
    template <int COUNT> INLINED void find_weights(const f32x* added) {
        f32x most[COUNT], inverse[COUNT];
        find_logits<COUNT>(added, most);
        for (int lane = 0; lane < COUNT * LANES; ++lane) {
            reinterpret_cast<float*>(most)[lane] = lane < lanes ? stats(lane)[0] : std::numeric_limits<float>::infinity();
            reinterpret_cast<float*>(inverse)[lane] = lane < lanes ? stats(lane)[1] : 0.0f;
        }
        for (int j = 0; j < (keys + 1) / 2; ++j)
            for (int n = 0; n < COUNT; ++n) {
                f32x &low = logits.data[2 * j * COUNT + n], &high = logits.data[(2 * j + 1) * COUNT + n];
                low = power_of_two(low - most[n]) * inverse[n], high = power_of_two(high - most[n]) * inverse[n];
                narrow_keys(j, n, COUNT, narrowed(low, high));
            }
    }
    // The weights' gradients, and for each query the sum of those times the weights.
    template <int COUNT> INLINED void find_weight_gradients(f32x (&delta)[COUNT]) {
        multiply_rows<COUNT>(keys, value.numbers(), value.pitch * LANES, 1, g.lanes.data, value.half, COUNT,
                             [&](int i, const f32x(&sums)[COUNT]) {
                                 for (int n = 0; n < COUNT; ++n) {
                                     weights.data[i * COUNT + n] = sums[n];
                                     delta[n] += logits.data[i * COUNT + n] * sums[n];
                                 }
                             });
        for (int n = 0; n < COUNT; ++n) weights.data[keys * COUNT + n] = f32x{};
    }

    // The blocks' rows, also across lanes. Missing lanes are zero.
    void read(const Map& map, PackedRows& to, int count) {
        for (int lane = 0; lane < lanes; ++lane) to.take(lane, at<bf16>(map, b, rows[lane], cols[lane], head));
        to.clear(lanes, count * LANES);
        to.spread(count);
    }
    // The blocks' logits, of (keys, blocks), and the largest of each lane. A missing last key of a pair weighs nothing.
    template <int COUNT> __attribute__((noinline)) void find_logits(const f32x* added, f32x (&most)[COUNT]) {
        const float scale = float(p.scale) * UNIT;
        const f32x least = f32x{} - std::numeric_limits<float>::infinity();
        for (int n = 0; n < COUNT; ++n) most[n] = logits.data[keys * COUNT + n] = least;
        multiply_rows<COUNT>(keys, key.numbers(), key.pitch * LANES, 1, q.lanes.data, key.half, COUNT,
                             [&](int i, const f32x(&sums)[COUNT]) {
                                 for (int n = 0; n < COUNT; ++n) {
                                     const f32x scaled = sums[n] * scale, logit = added ? scaled + added[n * keys + i] : scaled;
                                     logits.data[i * COUNT + n] = logit;
                                     most[n] = larger(most[n], logit);
                                 }
                             });
    }
    INLINED void narrow_keys(int j, int n, int count, const __m512i& halves) {
        u16x both[2];
        std::memcpy(both, &halves, sizeof both);
        narrow.data[2 * j * count + n] = both[0], narrow.data[(2 * j + 1) * count + n] = both[1];
    }
    // Sums over keys of weights and rows of those, times factors (null: 1), to the queries' places in a map.
    __attribute__((noinline)) void write_queries(const Map& map, const PackedRows& of_keys, int count, const float* factors) {
        by_columns(of_keys.wide, [&](int column, auto width) {
            multiply_rows<width>(lanes, reinterpret_cast<uint32_t*>(weight_pairs.data), 1, count * LANES,
                                 of_keys.pairs.data + column, (keys + 1) / 2, of_keys.wide,
                                 [&](int lane, const f32x(&sums)[width]) {
                                     bf16* to = at<bf16>(map, b, rows[lane], cols[lane], head) + column * LANES;
                                     write_sums(sums, factors ? factors[lane] : 1.0f, to, of_keys.depth - column * LANES);
                                 });
        });
    }
    // Sums over queries of weights and rows of those: where all queries are here written, else added to `sums`.
    __attribute__((noinline)) void write_keys(const PackedRows& of_queries, int count, bf16* const* to, f32x* map) {
        by_columns(of_queries.wide, [&](int column, auto width) {
            multiply_rows<width>(keys, reinterpret_cast<uint32_t*>(narrow.data), count * LANES / 2, 1,
                                 of_queries.pairs.data + column, (lanes + 1) / 2, of_queries.wide,
                                 [&](int i, const f32x(&sums)[width]) {
                                     f32x* row = map + std::ptrdiff_t(place[i]) * of_queries.wide + column;
                                     if (complete) write_sums(sums, 1.0f, to[i] + column * LANES, of_queries.depth - column * LANES);
                                     else
                                         for (int n = 0; n < width; ++n) row[n] += sums[n];
                                 });
        });
    }
    template <class F> INLINED static void by_columns(int wide, F work) {
        int column = 0;
        for (; column + 2 <= wide; column += 2) work(column, std::integral_constant<int, 2>{});
        if (column < wide) work(column, std::integral_constant<int, 1>{});
    }

    int together;           // blocks of queries
    bool complete = false;  // whether they are all queries that see the tile's keys
    PackedRows key, value, q, g;
    Aligned<f32x> logits, weights;
    Aligned<u32x> weight_pairs;
    Aligned<u16x> narrow;
    std::vector<bf16*> to_key, to_value;
};
#endif
