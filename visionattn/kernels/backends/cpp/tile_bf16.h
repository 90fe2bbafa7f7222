// The attention of one tile where the CPU multiplies pairs of bf16: half as many steps as in float32, sums in float32.
// What a product takes in that is not a bf16 already, the weights and their gradients, is rounded to one.
#pragma once
#include "place.h"
#include "products.h"

#if defined(__AVX512BF16__)
// The pairs (low[i], high[i]) of two rows of `depth` numbers, for all i; high may be null (zeros).
inline void pair_rows(const bf16* low, const bf16* high, int depth, uint32_t* to) {
    int d = 0;
    for (; d + LANES <= depth; d += LANES) {
        const u32x both = high ? paired(load_bits(low + d), load_bits(high + d)) : widened(load_bits(low + d));
        std::memcpy(to + d, &both, sizeof both);
    }
    for (; d < depth; ++d) to[d] = low[d].bits | (high ? uint32_t(high[d].bits) << 16 : 0);
}
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
// `count` bf16, in whole vectors where they fill them.
INLINED void copy(void* to, const bf16* from, int count) {
    int i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) std::memcpy(static_cast<bf16*>(to) + i, from + i, sizeof(u32x));
    if (i < count) std::memcpy(static_cast<bf16*>(to) + i, from + i, (count - i) * sizeof(bf16));
}

template <> struct TileWork<bf16> : Place<bf16> {
    static constexpr float UNIT = 1.44269504088896341f;  // logits are to the base 2
    explicit TileWork(const Problem& p)
        : Place(p), half((p.depth + 1) / 2), value_half((p.value_depth + 1) / 2), key(vectors(most_keys * half) + 1),
          value(vectors(most_keys * value_half) + 1), key_pairs(vectors((most_keys + 1) / 2 * p.depth) + 1),
          value_pairs(vectors((most_keys + 1) / 2 * p.value_depth) + 1), q(LANES * vectors(half)),
          q_rows(LANES / 2 * wide), g(LANES * vectors(value_half)), g_rows(LANES / 2 * value_wide),
          weight_pairs((most_keys + 1) / 2), logits(most_keys), weights(most_keys), o(LANES * larger(wide, value_wide)),
          narrow(most_keys) {}

    // Packs the tile's keys and values: each as rows, and in pairs of neighbours where a product sums over keys.
    void enter(const Tile& rows, const Tile& cols, int of_head, bool back) {
        const bf16 *last_key = nullptr, *last_value = nullptr;
        uint32_t *to_key = numbers(key), *to_value = numbers(value);
        uint32_t* to_pairs = numbers(back ? key_pairs : value_pairs);
        const int depth = back ? p.depth : p.value_depth;
        int index = 0;
        go(rows, cols, of_head, [&](const bf16* from_key, const bf16* from_value) {
            copy_row(from_key, p.depth, to_key + index * half);
            if (back) copy_row(from_value, p.value_depth, to_value + index * value_half);
            const bf16 *from = back ? from_key : from_value, *last = back ? last_key : last_value;
            if (index % 2) pair_rows(last, from, depth, to_pairs + index / 2 * depth);
            last_key = from_key, last_value = from_value, ++index;
        });
        if (keys % 2) pair_rows(back ? last_key : last_value, nullptr, depth, to_pairs + keys / 2 * depth);
    }
    static void copy_row(const bf16* from, int depth, uint32_t* to) {
        if (depth % 2) to[depth / 2] = 0;
        copy(to, from, depth);
    }

    void forward(int block, const f32x* added) {
        locate(block);
        read_lanes(p.q, p.depth, half, q.data);
        const f32x most = find_logits(added);
        for (int i = 0; i < keys; ++i) logits.data[i] = power_of_two(logits.data[i] - most);
        const f32x inverse = 1.0f / sum_of<float>(keys, [&](int i) { return logits.data[i]; });
        pair_keys(logits.data);
        times_columns(weight_pairs.data, numbers(value_pairs), p.value_depth, (keys + 1) / 2, o.data);
        for (int e = 0; e < p.value_depth; ++e) o.data[e] *= inverse;
        write(p.out, p.value_depth, o, 1.0f);
        for (int lane = 0; lane < lanes; ++lane) {
            float* to = stats(lane);
            to[0] = most[lane], to[1] = inverse[lane];
        }
    }

    void backward(int block, const f32x* added, Gradients<float>& grads, f32x* bias) {
        locate(block);
        read_lanes(p.q, p.depth, half, q.data);
        read_lanes(p.grad, p.value_depth, value_half, g.data);
        read_rows(p.q, p.depth, wide, q_rows.data);
        read_rows(p.grad, p.value_depth, value_wide, g_rows.data);
        f32x most = f32x{} + std::numeric_limits<float>::infinity(), inverse = {};  // missing lanes weigh nothing
        for (int lane = 0; lane < lanes; ++lane) most[lane] = stats(lane)[0], inverse[lane] = stats(lane)[1];
        find_logits(added);
        for (int i = 0; i < keys; ++i) {
            logits.data[i] = power_of_two(logits.data[i] - most) * inverse;
            narrow.data[i] = to_bf16(logits.data[i]);
        }
        scatter(numbers(narrow), LANES / 2, g_rows.data, keys, (lanes + 1) / 2, value_wide, place.data(), grads.v.data);
        times_rows<u32x, 16>(g.data, numbers(value), value_half, keys, nullptr, weights.data);
        const f32x delta = sum_of<float>(keys, [&](int i) { return logits.data[i] * weights.data[i]; });
        for (int i = 0; i < keys; ++i) weights.data[i] = logits.data[i] * (weights.data[i] - delta);
        if (bias)
            for (int i = 0; i < keys; ++i) bias[i] += weights.data[i];
        for (int i = 0; i < keys; ++i) {
            weights.data[i] *= float(p.scale);
            narrow.data[i] = to_bf16(weights.data[i]);
        }
        scatter(numbers(narrow), LANES / 2, q_rows.data, keys, (lanes + 1) / 2, wide, place.data(), grads.k.data);
        pair_keys(weights.data);
        times_columns(weight_pairs.data, numbers(key_pairs), p.depth, (keys + 1) / 2, o.data);
        write(p.dq, p.depth, o, 1.0f);
    }

    // The logits of the block; returns the largest of each lane.
    f32x find_logits(const f32x* added) {
        times_rows<u32x, 16>(q.data, numbers(key), half, keys, nullptr, logits.data);
        const float scale = float(p.scale) * UNIT;
        f32x most = f32x{} - std::numeric_limits<float>::infinity();
        for (int i = 0; i < keys; ++i) {
            logits.data[i] = added ? logits.data[i] * scale + added[i] : logits.data[i] * scale;
            most = larger(most, logits.data[i]);
        }
        return most;
    }
    void pair_keys(const f32x* from) {
        for (int i = 0; i + 1 < keys; i += 2) weight_pairs.data[i / 2] = paired(to_bf16(from[i]), to_bf16(from[i + 1]));
        if (keys % 2) weight_pairs.data[keys / 2] = widened(to_bf16(from[keys - 1]));
    }

    // The block's rows, pairs of channels across lanes: to[i] has channels 2i and 2i + 1. Missing lanes are zero.
    void read_lanes(const Map& map, int depth, int pairs, u32x* to) {
        for (int part = 0; part < vectors(pairs); ++part, to += LANES) {
            const int first = part * 2 * LANES, count = depth - first < 2 * LANES ? depth - first : 2 * LANES;
            for (int lane = 0; lane < LANES; ++lane) {
                to[lane] = u32x{};
                if (lane < lanes) copy(to + lane, at<bf16>(map, b, rows[lane], cols[lane], head) + first, count);
            }
            transpose(to);
        }
    }
    // The block's rows in pairs of neighbours, padded to `pitch` vectors.
    void read_rows(const Map& map, int depth, int pitch, u32x* to) {
        for (int lane = 0; lane < lanes; lane += 2) {
            const bf16* low = at<bf16>(map, b, rows[lane], cols[lane], head);
            const bool two = lane + 1 < lanes;
            if (depth % LANES) to[lane / 2 * pitch + pitch - 1] = u32x{};
            pair_rows(low, two ? at<bf16>(map, b, rows[lane + 1], cols[lane + 1], head) : nullptr, depth,
                      reinterpret_cast<uint32_t*>(to + lane / 2 * pitch));
        }
    }
    template <class T> static uint32_t* numbers(const Aligned<T>& from) {
        return reinterpret_cast<uint32_t*>(from.data);
    }

    int half, value_half;  // pairs of a row
    Aligned<u32x> key, value, key_pairs, value_pairs, q, q_rows, g, g_rows, weight_pairs;
    Aligned<f32x> logits, weights, o;
    Aligned<u16x> narrow;
};
#endif
