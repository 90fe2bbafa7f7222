// One tile of one image and head: where its queries and keys are, and what is left of them.
#pragma once
#include "gradients.h"

constexpr int TOGETHER = 4, FEW_KEYS = 80;  // most blocks of queries that are computed at once, and keys where it is so

template <class S> struct Place {
    using C = typename Compute<S>::type;
    explicit Place(const Problem& p)
        : p(p), b(0), wide(vectors(p.depth)), value_wide(vectors(p.value_depth)),
          most_keys(::most_keys(p.rows) * ::most_keys(p.cols)), place(most_keys) {}

    // Goes to a tile; calls visit(row of a key, row of its value) for its keys in turn.
    template <class F> INLINED void go(const Tile& rows, const Tile& cols, int of_head, F visit) {
        y = rows, x = cols, head = of_head;
        ys = p.rows.shape[y.shape], xs = p.cols.shape[x.shape];
        keys = ys.keys * xs.keys;
        queries = ys.queries * xs.queries;
        blocks = vectors(queries);
        int* to_place = place.data();
        for (int r = 0; r < ys.keys; ++r) {
            const int row = y.key + r * y.step;
            const S *from_key = at<S>(p.k, b, row, x.key, head), *from_value = at<S>(p.v, b, row, x.key, head);
            for (int c = 0; c < xs.keys; ++c) {
                *to_place++ = p.windows ? r * xs.keys + c : row * p.width + x.key + c * x.step;
                visit(from_key, from_value);
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

    C* stats(int lane) const {
        const size_t token = (size_t(b) * p.height + rows[lane]) * p.width + cols[lane];
        return static_cast<C*>(p.stats) + (token * p.heads + head) * 2;
    }

    // Positions of the queries of some blocks.
    void locate(int block, int count = 1) {
        const int first = block * LANES;
        lanes = queries - first < count * LANES ? queries - first : count * LANES;
        for (int lane = 0, i = first / xs.queries, j = first % xs.queries; lane < lanes; ++lane) {
            rows[lane] = y.query + i * y.step, cols[lane] = x.query + j * x.step;
            if (++j == xs.queries) j = 0, ++i;
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
    int head, keys, queries, blocks, lanes, rows[TOGETHER * LANES], cols[TOGETHER * LANES];
    std::vector<int> place;
};
