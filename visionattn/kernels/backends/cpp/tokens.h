// Attention of tokens that lie on no common map: every query sees every key. LANES queries at a time against PIECE
// keys; where there are more keys, their pieces are joined as they come, so that logits never leave the cache.
#pragma once
#include "parallel.h"
#include "products.h"
#include "problem.h"

struct Rows { void* data; int64_t batch, token, head; };  // strides in elements; channels are contiguous

struct Tokens {
    int32_t batch, queries, keys, heads, depth, value_depth, threads, parts;  // parts: jobs a head, of a backward
    double scale;
    Rows q, k, v, out, grad, dq, dk, dv;
    void *bias, *stats, *dbias;  // (N, T, S); (B, T, N, 2): largest logit and 1 / sum; (parts, N, T, S)
};

constexpr int PIECE = 256, BLOCKS = 16;  // keys at a time; blocks of LANES queries of a forward job

template <class S> inline S* row_of(const Rows& rows, int b, int token, int head) {
    return static_cast<S*>(rows.data) + b * rows.batch + token * rows.token + head * rows.head;
}

// Keys or values of an image and head from `first` on, side by side as numbers of arithmetic.
template <class S, class C> void pack(const Rows& rows, int b, int head, int first, int count, int depth, C* to) {
    for (int i = 0; i < count; ++i, to += depth) read_row(row_of<S>(rows, b, first + i, head), depth, C(1), to);
}

template <class S> struct TokenWork {
    using C = typename Compute<S>::type;
    explicit TokenWork(const Tokens& p)
        : p(p), wide(vectors(p.depth)), value_wide(vectors(p.value_depth)), added(PIECE + LANES), logits(PIECE),
          weights(PIECE), x_rows(LANES * wide), x(LANES * wide), g_rows(LANES * value_wide), g(LANES * value_wide),
          o(LANES * value_wide), place(PIECE) {
        for (int i = 0; i < PIECE; ++i) place[i] = i;
    }
    static const C* numbers(const V<C>* from) { return reinterpret_cast<const C*>(from); }

    void at_block(int image, int of_head, int block) {
        b = image, head = of_head, first = block * LANES;
        lanes = p.queries - first < LANES ? p.queries - first : LANES;
    }
    C* stats(int lane) const {
        return static_cast<C*>(p.stats) + ((int64_t(b) * p.queries + first + lane) * p.heads + head) * 2;
    }

    // The block's rows times factor: as rows padded with zeros, and across lanes. Missing lanes are zero.
    void read(const Rows& rows, int depth, C factor, Aligned<V<C>>& by_row, V<C>* by_lane) {
        const int pitch = vectors(depth);
        for (int i = depth % LANES ? 0 : lanes * pitch; i < LANES * pitch; ++i) by_row.data[i] = V<C>{};
        for (int lane = 0; lane < lanes; ++lane)
            read_row(row_of<S>(rows, b, first + lane, head), depth, factor,
                     reinterpret_cast<C*>(by_row.data + lane * pitch));
        for (int part = 0; part < pitch; ++part) {
            for (int lane = 0; lane < LANES; ++lane) by_lane[part * LANES + lane] = by_row.data[lane * pitch + part];
            transpose(by_lane + part * LANES);
        }
    }
    // Numbers across lanes times factor to the block's rows. Overwrites them.
    void write(const Rows& rows, int depth, V<C>* by_lane, C factor) {
        for (int part = 0; part < vectors(depth); ++part) {
            V<C>* from = by_lane + part * LANES;
            transpose(from);
            const int count = depth - part * LANES < LANES ? depth - part * LANES : LANES;
            for (int lane = 0; lane < lanes; ++lane)
                write_row(numbers(from + lane), count, factor, row_of<S>(rows, b, first + lane, head) + part * LANES);
        }
    }

    C* bias_row(void* bias, int lane, int key) const {
        return static_cast<C*>(bias) + (int64_t(head) * p.queries + first + lane) * p.keys + key;
    }
    // The bias of the block and of `count` keys, across lanes; null if there is none.
    const V<C>* bias_of(int key, int count) {
        if (!p.bias) return nullptr;
        for (int part = 0; part < count; part += LANES) {
            V<C>* to = added.data + part;
            const int here = count - part < LANES ? count - part : LANES;
            for (int lane = 0; lane < LANES; ++lane) {
                to[lane] = V<C>{};
                if (lane < lanes) std::memcpy(to + lane, bias_row(p.bias, lane, key + part), here * sizeof(C));
            }
            transpose(to);
        }
        return added.data;
    }
    // Adds weights across lanes to the gradient of the bias.
    void add_bias(C* dbias, int key, int count) {
        for (int part = 0; part < count; part += LANES) {
            V<C> turned[LANES];
            const int here = count - part < LANES ? count - part : LANES;
            for (int i = 0; i < LANES; ++i) turned[i] = i < here ? weights.data[part + i] : V<C>{};
            transpose(turned);
            for (int lane = 0; lane < lanes; ++lane) {
                C* to = bias_row(dbias, lane, key + part);
                for (int i = 0; i < here; ++i) to[i] += turned[lane][i];
            }
        }
    }

    // Adds `count` keys from `key` on to what the block has seen: output, sum and largest logit.
    void meet(const V<C>* q, const C* keys, const C* values, int key, int count, V<C>* out, V<C>& sum, V<C>& most) {
        times_rows<V<C>, 32>(q, keys, p.depth, count, bias_of(key, count), logits.data);
        V<C> largest = key ? most : logits.data[0];
        for (int i = 0; i < count; ++i) largest = larger(largest, logits.data[i]);
        const V<C> lowest = V<C>{} - std::numeric_limits<C>::max(), base = largest < lowest ? V<C>{} : largest;
        for (int i = 0; i < count; ++i) {
            logits.data[i] -= base;
            exp_nonpositive(logits.data[i]);
        }
        const V<C> part = sum_of<C>(count, [&](int i) { return logits.data[i]; });
        if (!key) {
            times_columns<V<C>>(logits.data, values, p.value_depth, count, out);
            sum = part;
        } else {
            V<C> before = most - base;  // what was summed so far was relative to another largest logit
            exp_nonpositive(before);
            times_columns<V<C>>(logits.data, values, p.value_depth, count, o.data);
            for (int e = 0; e < p.value_depth; ++e) out[e] = out[e] * before + o.data[e];
            sum = sum * before + part;
        }
        most = largest;
    }

    void finish(V<C>* out, const V<C>& sum, const V<C>& most) {
        const V<C> inverse = C(1) / sum;
        for (int e = 0; e < p.value_depth; ++e) out[e] *= inverse;
        write(p.out, p.value_depth, out, C(1));
        for (int lane = 0; lane < lanes; ++lane) stats(lane)[0] = most[lane], stats(lane)[1] = inverse[lane];
    }

    const Tokens& p;
    int b, head, first, lanes, wide, value_wide;
    Aligned<V<C>> added, logits, weights, x_rows, x, g_rows, g, o;
    std::vector<int> place;
};
