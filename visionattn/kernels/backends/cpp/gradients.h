// Where a backward job sums.
#pragma once
#include "problem.h"

// Gradients of a job: keys and values of one image or one window, as padded rows, one head at a time; the bias, as
// Additive lays it out, of `group` heads from `first` on, summed over the job's images.
template <class C> struct Gradients {
    Gradients(const Problem& p, const Offsets& offsets, int first, int group)
        : p(p), offsets(offsets), first(first), group(group), k(rows(p) * vectors(p.depth)),
          v(rows(p) * vectors(p.value_depth)), bias(p.bias ? offsets.total() * group : 0),
          met(p.rows.shapes * p.cols.shapes) {}
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
    // Writes the rows of a rectangle of keys and leaves zeros behind.
    template <class S> void write(int y, int dy, int ny, int x, int dx, int nx, int b, int head) {
        const int wide = vectors(p.depth), value_wide = vectors(p.value_depth);
        const V<C>*from_k = k.data, *from_v = v.data;
        for (int r = 0; r < ny; ++r) {
            S *to_k = at<S>(p.dk, b, y + r * dy, x, head), *to_v = at<S>(p.dv, b, y + r * dy, x, head);
            for (int c = 0; c < nx; ++c) {
                write_row(reinterpret_cast<const C*>(from_k), p.depth, C(1), to_k);
                write_row(reinterpret_cast<const C*>(from_v), p.value_depth, C(1), to_v);
                from_k += wide, from_v += value_wide;
                to_k += p.dk.col * dx, to_v += p.dv.col * dx;
            }
        }
        k.clear(size_t(ny) * nx * wide);
        v.clear(size_t(ny) * nx * value_wide);
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
            std::fill_n(table, size, C(0));
            const V<C>* from = bias.data + head * offsets.total();
            for (int pair = 0; pair < p.rows.shapes * p.cols.shapes; ++pair) {
                const C* of_pair = reinterpret_cast<const C*>(from + offsets.first[pair]);
                if (met[pair])
                    each_run(p, pair, [&](size_t number, int count, int place) {
                        for (int i = 0; i < count; ++i) table[place - i] += of_pair[number + i];
                    });
            }
        }
    }
    const Problem& p;
    const Offsets& offsets;
    int first, group;
    Zeros<V<C>> k, v, bias;
    std::vector<char> met;  // pairs of shapes that occurred
};
