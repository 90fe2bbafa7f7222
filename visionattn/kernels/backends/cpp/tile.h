// One tile of one image and head: up to LANES queries at a time against the tile's keys.
#pragma once
#include "gradients.h"
#include "products.h"

template <class S> struct TileWork {
    using C = typename Compute<S>::type;
    explicit TileWork(const Problem& p)
        : p(p), b(0), wide(vectors(p.depth)), value_wide(vectors(p.value_depth)),
          most_keys(::most_keys(p.rows) * ::most_keys(p.cols)), place(most_keys), key(vectors(most_keys * p.depth) + 1),
          value(vectors(most_keys * p.value_depth) + 1), logits(most_keys), weights(most_keys),
          q_rows(LANES * wide), q(LANES * wide), o(LANES * value_wide),
          g_rows(LANES * value_wide), g(LANES * value_wide) {}

    // Packs the tile's keys and values.
    void enter(const Tile& rows, const Tile& cols, int of_head) {
        y = rows, x = cols, head = of_head;
        ys = p.rows.shape[y.shape], xs = p.cols.shape[x.shape];
        keys = ys.keys * xs.keys;
        queries = ys.queries * xs.queries;
        blocks = vectors(queries);
        C *to_key = reinterpret_cast<C*>(key.data), *to_value = reinterpret_cast<C*>(value.data);
        int* to_place = place.data();
        for (int r = 0; r < ys.keys; ++r) {
            const int row = y.key + r * y.step;
            const S *from_key = at<S>(p.k, b, row, x.key, head), *from_value = at<S>(p.v, b, row, x.key, head);
            for (int c = 0; c < xs.keys; ++c) {
                *to_place++ = p.windows ? r * xs.keys + c : row * p.width + x.key + c * x.step;
                read_row(from_key, p.depth, C(1), to_key);
                read_row(from_value, p.value_depth, C(1), to_value);
                to_key += p.depth, to_value += p.value_depth;
                from_key += p.k.col * x.step, from_value += p.v.col * x.step;
            }
        }
    }

    // Asks for the rows of a tile that comes next, to be read and to be written: they lie apart in memory, and waiting
    // for them would take longer than the arithmetic.
    INLINED void expect(const Tile& rows, const Tile& cols, int head, bool back) const {
        const Shape &high = p.rows.shape[rows.shape], &wide = p.cols.shape[cols.shape];
        for (int r = 0; r < high.keys; ++r) {
            const int row = rows.key + r * rows.step;
            ask<0>(p.k, p.depth, row, cols.key, cols.step, wide.keys, head);
            ask<0>(p.v, p.value_depth, row, cols.key, cols.step, wide.keys, head);
            if (back && p.windows) {
                ask<1>(p.dk, p.depth, row, cols.key, cols.step, wide.keys, head);
                ask<1>(p.dv, p.value_depth, row, cols.key, cols.step, wide.keys, head);
            }
        }
        for (int r = 0; r < high.queries; ++r) {
            const int row = rows.query + r * rows.step;
            ask<0>(p.q, p.depth, row, cols.query, cols.step, wide.queries, head);
            if (back) {
                ask<0>(p.grad, p.value_depth, row, cols.query, cols.step, wide.queries, head);
                ask<1>(p.dq, p.depth, row, cols.query, cols.step, wide.queries, head);
            } else {
                ask<1>(p.out, p.value_depth, row, cols.query, cols.step, wide.queries, head);
            }
        }
    }
    template <int WRITE>
    INLINED void ask(const Map& map, int depth, int row, int col, int step, int count, int head) const {
        const S* from = at<S>(map, b, row, col, head);
        for (int i = 0; i < count; ++i, from += map.col * step)
            for (int d = 0; d < depth; d += 64 / int(sizeof(S))) __builtin_prefetch(from + d, WRITE);
    }

    void forward(int block, const V<C>* added) {
        locate(block);
        read(p.q, p.depth, C(p.scale), q_rows, q);
        times_rows<C>(q.data, as_keys(), p.depth, keys, added, logits.data);
        V<C> most = logits.data[0];
        for (int i = 1; i < keys; ++i) most = larger(most, logits.data[i]);
        for (int i = 0; i < keys; ++i) {
            logits.data[i] -= most;
            exp_nonpositive(logits.data[i]);
        }
        const V<C> inverse = C(1) / sum_of<C>(keys, [&](int i) { return logits.data[i]; });
        times_columns<C>(logits.data, as_values(), p.value_depth, keys, o.data);
        for (int e = 0; e < p.value_depth; ++e) o.data[e] *= inverse;
        write(p.out, p.value_depth, o, C(1));
        for (int lane = 0; lane < lanes; ++lane) {
            C* to = stats(lane);
            to[0] = most[lane], to[1] = inverse[lane];
        }
    }

    void backward(int block, const V<C>* added, Gradients<C>& grads, V<C>* bias) {
        locate(block);
        read(p.q, p.depth, C(p.scale), q_rows, q);
        read(p.grad, p.value_depth, C(1), g_rows, g);
        V<C> most = {}, inverse = {};
        for (int lane = 0; lane < lanes; ++lane) most[lane] = stats(lane)[0], inverse[lane] = stats(lane)[1];
        times_rows<C>(q.data, as_keys(), p.depth, keys, added, logits.data);
        for (int i = 0; i < keys; ++i) {
            logits.data[i] -= most;
            exp_nonpositive(logits.data[i]);
            logits.data[i] *= inverse;
        }
        scatter<C>(logits.data, g_rows.data, keys, lanes, value_wide, place.data(), reinterpret_cast<C*>(grads.v.data));
        times_rows<C>(g.data, as_values(), p.value_depth, keys, nullptr, weights.data);
        const V<C> delta = sum_of<C>(keys, [&](int i) { return logits.data[i] * weights.data[i]; });
        for (int i = 0; i < keys; ++i) weights.data[i] = logits.data[i] * (weights.data[i] - delta);
        if (bias)
            for (int i = 0; i < keys; ++i) bias[i] += weights.data[i];
        scatter<C>(weights.data, q_rows.data, keys, lanes, wide, place.data(), reinterpret_cast<C*>(grads.k.data));
        times_columns<C>(weights.data, as_keys(), p.depth, keys, q.data);
        write(p.dq, p.depth, q, C(p.scale));
    }

    const C* as_keys() const { return reinterpret_cast<const C*>(key.data); }
    const C* as_values() const { return reinterpret_cast<const C*>(value.data); }
    C* stats(int lane) const {
        const size_t token = (size_t(b) * p.height + rows[lane]) * p.width + cols[lane];
        return static_cast<C*>(p.stats) + (token * p.heads + head) * 2;
    }

    // Positions of the block's queries.
    void locate(int block) {
        lanes = queries - block * LANES < LANES ? queries - block * LANES : LANES;
        for (int lane = 0; lane < lanes; ++lane) {
            const int query = block * LANES + lane;
            rows[lane] = y.query + query / xs.queries * y.step;
            cols[lane] = x.query + query % xs.queries * x.step;
        }
    }

    // The block's queries times factor: as rows padded with zeros, and across lanes. Missing lanes are zero.
    void read(const Map& map, int depth, C factor, Aligned<V<C>>& by_row, Aligned<V<C>>& by_lane) {
        const int pitch = vectors(depth);
        for (int i = depth % LANES ? 0 : lanes * pitch; i < LANES * pitch; ++i) by_row.data[i] = V<C>{};
        for (int lane = 0; lane < lanes; ++lane)
            read_row(at<S>(map, b, rows[lane], cols[lane], head), depth, factor,
                     reinterpret_cast<C*>(by_row.data + lane * pitch));
        for (int part = 0; part < pitch; ++part) {
            V<C>* to = by_lane.data + part * LANES;
            for (int lane = 0; lane < LANES; ++lane) to[lane] = by_row.data[lane * pitch + part];
            transpose(to);
        }
    }

    // Numbers across lanes, times factor, to the block's places in a map. Overwrites them.
    void write(const Map& map, int depth, Aligned<V<C>>& by_lane, C factor) {
        for (int part = 0; part < vectors(depth); ++part) {
            V<C>* from = by_lane.data + part * LANES;
            transpose(from);
            const int count = depth - part * LANES < LANES ? depth - part * LANES : LANES;
            for (int lane = 0; lane < lanes; ++lane)
                write_row(reinterpret_cast<const C*>(from + lane), count, factor,
                          at<S>(map, b, rows[lane], cols[lane], head) + part * LANES);
        }
    }

    const Problem& p;
    int b, wide, value_wide, most_keys;
    Tile y, x;
    Shape ys, xs;
    int head, keys, queries, blocks, lanes, rows[LANES], cols[LANES];
    std::vector<int> place;
    Aligned<V<C>> key, value, logits, weights, q_rows, q, o, g_rows, g;
};
