// One tile of one image and head: up to LANES queries at a time against the tile's keys.
#pragma once
#include "problem.h"
#include "products.h"

// Bias and -inf masks laid out as the tiles' logits are: one copy per head with a bias, one for all without.
template <class C> struct Additive {
    explicit Additive(const Problem& p) : offsets(p), heads(p.bias ? p.heads : needed(p) ? 1 : 0), data(offsets.total() * heads) {
        const int pairs = p.rows.shapes * p.cols.shapes;
        parallel(heads * pairs, p.threads, [&](int job) { fill(p, job / pairs, job % pairs); });
    }
    static bool needed(const Problem& p) { return hides(p.rows) || hides(p.cols); }
    static bool hides(const Axis& axis) {
        for (int s = 0; s < axis.shapes; ++s)
            for (int i = 0; i < axis.shape[s].queries; ++i) {
                const int32_t* span = axis.span + axis.shape[s].spans + 2 * i;
                if (span[0] > 0 || span[1] < axis.shape[s].keys) return true;
            }
        return false;
    }
    void fill(const Problem& p, int head, int pair) {
        const Shape &y = p.rows.shape[pair / p.cols.shapes], &x = p.cols.shape[pair % p.cols.shapes];
        V<C>* to = data.data + head * offsets.total() + offsets.first[pair];
        const C* table = static_cast<const C*>(p.bias) + size_t(p.bias ? head : 0) * p.table_rows * p.table_cols;
        each_pair(p, y, x, [&](size_t place, int lane, int row, int col, bool visible) {
            to[place][lane] = !visible ? -std::numeric_limits<C>::infinity() : p.bias ? table[row * p.table_cols + col] : C(0);
        });
    }
    template <class W> const V<C>* of(const W& work, int head, int block) const {
        if (!heads) return nullptr;
        return data.data + (heads > 1 ? head : 0) * offsets.total() + offsets.of(work.y, work.x) + size_t(block) * work.keys;
    }
    Offsets offsets;
    int heads;
    Aligned<V<C>> data;
};

// Gradients of a job: keys and values of one image or one window, as padded rows, one head at a time; the bias, as Additive lays it
// out, of `group` heads from `first` on, summed over the job's images.
template <class C> struct Gradients {
    Gradients(const Problem& p, const Offsets& offsets, int first, int group)
        : p(p), offsets(offsets), first(first), group(group), k(rows(p) * vectors(p.depth)), v(rows(p) * vectors(p.value_depth)),
          bias(p.bias ? offsets.total() * group : 0), met(p.rows.shapes * p.cols.shapes) {}
    static size_t rows(const Problem& p) {
        return p.windows ? size_t(most_keys(p.rows)) * most_keys(p.cols) : size_t(p.height) * p.width;
    }

    // A window's keys are in no other tile: their gradients are complete when it is left.
    template <class S> void leave(const Tile& y, const Tile& x, int b, int head) {
        const Shape &ys = p.rows.shape[y.shape], &xs = p.cols.shape[x.shape];
        if (p.windows) write<S>(y.key, y.step, ys.keys, x.key, x.step, xs.keys, b, head);
    }
    template <class S> void leave_image(int b, int head) {
        if (!p.windows) write<S>(0, 1, p.height, 0, 1, p.width, b, head);
    }
    template <class S> void write(int y, int dy, int ny, int x, int dx, int nx, int b, int head) {
        V<C>*from_k = k.data, *from_v = v.data;
        for (int r = 0; r < ny; ++r)
            for (int c = 0; c < nx; ++c) {
                from_k = write_row(from_k, at<S>(p.dk, b, y + r * dy, x + c * dx, head), p.depth);
                from_v = write_row(from_v, at<S>(p.dv, b, y + r * dy, x + c * dx, head), p.value_depth);
            }
    }
    // Writes one row and leaves zeros behind.
    template <class S> static V<C>* write_row(V<C>* from, S* to, int depth) {
        const C* number = reinterpret_cast<const C*>(from);
        for (int d = 0; d < depth; ++d) store(to[d], number[d]);
        for (int i = 0; i < vectors(depth); ++i) from[i] = V<C>{};
        return from + vectors(depth);
    }
    // Where the bias gradient of a block is summed, or null.
    V<C>* of_bias(const Tile& y, const Tile& x, int head, int block) {
        if (!p.bias) return nullptr;
        const Shape &ys = p.rows.shape[y.shape], &xs = p.cols.shape[x.shape];
        met[y.shape * p.cols.shapes + x.shape] = true;
        return bias.data + (head - first) * offsets.total() + offsets.of(y, x) + size_t(block) * ys.keys * xs.keys;
    }
    void write_bias(int part) {
        const size_t size = size_t(p.table_rows) * p.table_cols;
        for (int head = 0; head < group; ++head) {
            C* table = static_cast<C*>(p.dbias) + (size_t(part) * p.heads + first + head) * size;
            for (size_t i = 0; i < size; ++i) table[i] = 0;
            for (int pair = 0; pair < p.rows.shapes * p.cols.shapes; ++pair)
                if (met[pair]) add_pair(reinterpret_cast<const C*>(bias.data + head * offsets.total() + offsets.first[pair]), pair, table);
        }
    }
    void add_pair(const C* from, int pair, C* table) {
        each_pair(p, p.rows.shape[pair / p.cols.shapes], p.cols.shape[pair % p.cols.shapes],
                  [&](size_t place, int lane, int row, int col, bool visible) {
                      if (visible) table[row * p.table_cols + col] += from[place * LANES + lane];
                  });
    }
    const Problem& p;
    const Offsets& offsets;
    int first, group;
    Aligned<V<C>> k, v, bias;
    std::vector<char> met;  // pairs of shapes that occurred
};

template <class S> struct TileWork {
    using C = typename Compute<S>::type;
    TileWork(const Problem& p, int b)
        : p(p), b(b), wide(vectors(p.depth)), value_wide(vectors(p.value_depth)), most_keys(::most_keys(p.rows) * ::most_keys(p.cols)),
          place(most_keys), key(vectors(most_keys * p.depth) + 1), value(vectors(most_keys * p.value_depth) + 1), logits(most_keys),
          weights(most_keys), q_rows(LANES * wide), q(LANES * wide), o(LANES * value_wide),
          g_rows(LANES * value_wide), g(LANES * value_wide) {}

    // Packs the tile's keys and values.
    void enter(const Tile& rows, const Tile& cols, int of_head) {
        y = rows, x = cols, head = of_head;
        ys = p.rows.shape[y.shape], xs = p.cols.shape[x.shape];
        keys = ys.keys * xs.keys;
        queries = ys.queries * xs.queries;
        blocks = vectors(queries);
        C *to_key = reinterpret_cast<C*>(key.data), *to_value = reinterpret_cast<C*>(value.data);
        for (int r = 0, i = 0; r < ys.keys; ++r)
            for (int c = 0; c < xs.keys; ++c, ++i) {
                const int row = y.key + r * y.step, col = x.key + c * x.step;
                place[i] = p.windows ? i : row * p.width + col;
                copy(at<S>(p.k, b, row, col, head), p.depth, C(1), to_key + size_t(i) * p.depth);
                copy(at<S>(p.v, b, row, col, head), p.value_depth, C(1), to_value + size_t(i) * p.value_depth);
            }
    }

    // Asks for the memory of a tile that will be entered soon: its rows lie far apart, and the CPU cannot guess them.
    void expect(const Tile& rows, const Tile& cols, int head, bool grads) const {
        const Shape &ys = p.rows.shape[rows.shape], &xs = p.cols.shape[cols.shape];
        expect_rows(p.k, p.depth, rows.key, rows.step, ys.keys, cols.key, cols.step, xs.keys, head);
        expect_rows(p.v, p.value_depth, rows.key, rows.step, ys.keys, cols.key, cols.step, xs.keys, head);
        expect_rows(p.q, p.depth, rows.query, rows.step, ys.queries, cols.query, cols.step, xs.queries, head);
        if (grads) expect_rows(p.grad, p.value_depth, rows.query, rows.step, ys.queries, cols.query, cols.step, xs.queries, head);
    }
    void expect_rows(const Map& map, int depth, int y, int dy, int ny, int x, int dx, int nx, int head) const {
        for (int r = 0; r < ny; ++r)
            for (int c = 0; c < nx; ++c) {
                const char* row = reinterpret_cast<const char*>(at<S>(map, b, y + r * dy, x + c * dx, head));
                for (size_t byte = 0; byte < depth * sizeof(S); byte += 64) __builtin_prefetch(row + byte);
            }
    }

    void forward(int block, const V<C>* added) {
        locate(block);
        read(p.q, p.depth, C(p.scale), q_rows, q);
        times_rows<C>(q.data, as_keys(), p.depth, keys, added, logits.data);
        V<C> most = logits.data[0], sum = {};
        for (int i = 1; i < keys; ++i) most = larger(most, logits.data[i]);
        for (int i = 0; i < keys; ++i) {
            logits.data[i] -= most;
            exp_nonpositive(logits.data[i]);
            sum += logits.data[i];
        }
        const V<C> inverse = C(1) / sum;
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
        V<C> most = {}, inverse = {}, delta = {};
        for (int lane = 0; lane < lanes; ++lane) most[lane] = stats(lane)[0], inverse[lane] = stats(lane)[1];
        times_rows<C>(q.data, as_keys(), p.depth, keys, added, logits.data);
        for (int i = 0; i < keys; ++i) {
            logits.data[i] -= most;
            exp_nonpositive(logits.data[i]);
            logits.data[i] *= inverse;
        }
        scatter<C>(logits.data, g_rows.data, keys, lanes, value_wide, place.data(), reinterpret_cast<C*>(grads.v.data));
        times_rows<C>(g.data, as_values(), p.value_depth, keys, nullptr, weights.data);
        for (int i = 0; i < keys; ++i) delta += logits.data[i] * weights.data[i];
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
        return static_cast<C*>(p.stats) + ((size_t(b * p.height + rows[lane]) * p.width + cols[lane]) * p.heads + head) * 2;
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

    static void copy(const S* from, int depth, C factor, C* to) {
        for (int d = 0; d < depth; ++d) to[d] = load(from[d]) * factor;
    }

    // The block's queries times factor: as rows padded with zeros, and across lanes. Missing lanes are zero.
    void read(const Map& map, int depth, C factor, Aligned<V<C>>& by_row, Aligned<V<C>>& by_lane) {
        const int pitch = vectors(depth);
        for (int i = 0; i < LANES * pitch; ++i) by_row.data[i] = V<C>{};
        for (int lane = 0; lane < lanes; ++lane)
            copy(at<S>(map, b, rows[lane], cols[lane], head), depth, factor, reinterpret_cast<C*>(by_row.data + lane * pitch));
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
            for (int lane = 0; lane < lanes; ++lane) {
                S* to = at<S>(map, b, rows[lane], cols[lane], head) + part * LANES;
                const C* row = reinterpret_cast<const C*>(from + lane);
                for (int d = 0; d < count; ++d) store(to[d], row[d] * factor);
            }
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
