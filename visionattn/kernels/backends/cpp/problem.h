// What Python hands over, and what every tile of it needs. The structures mirror library.py field by field.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "parallel.h"
#include "simd.h"

// First query's and key's position on the axis, distance between neighbors, index of the shape.
struct Tile { int32_t query, key, step, shape; };
// Key j lies j + lead - i coordinates after query i, which sees the keys span[spans + 2i] <= j < span[spans + 2i + 1].
struct Shape { int32_t queries, keys, lead, spans; };
struct Axis { int32_t tiles, shapes; const Tile* tile; const Shape* shape; const int32_t* span; };
struct Map { void* data; int64_t batch, row, col, head; };  // strides in elements; channels are contiguous

struct Problem {
    int32_t batch, height, width, heads, depth, value_depth, table_rows, table_cols;
    int32_t threads, units, windows, decay;  // units: of a backward job; decay: channels at the end that hold a place
    double scale;
    Axis rows, cols;
    Map q, k, v, out, grad, dq, dk, dv;
    // windows: whether tiles' keys do not overlap
    void *bias, *stats, *dbias;  // (N, rows, cols); (B, H, W, N, 2): largest logit and 1 / sum; (jobs, N, rows, cols)
};

template <class T> struct Aligned {  // where vectors may lie
    explicit Aligned(size_t count) : bytes(new char[count * sizeof(T) + 128]), data(align(bytes.get())) {}
    static T* align(char* raw) { return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(raw) + 127) & ~uintptr_t(127)); }
    std::unique_ptr<char[]> bytes;
    T* data;
};
// Memory that is kept from one call to the next: it is in the caches still.
template <class T> struct Kept {
    T* room(size_t count) {
        if (count > size) memory.reset(new Aligned<T>(size = count));
        return memory->data;
    }
    std::unique_ptr<Aligned<T>> memory;
    size_t size = 0;
};
template <class T> struct Zeros : Aligned<T> {
    explicit Zeros(size_t count) : Aligned<T>(count) { clear(count); }
    void clear(size_t count) { std::memset(static_cast<void*>(this->data), 0, count * sizeof(T)); }
};

template <class S> inline S* at(const Map& map, int b, int y, int x, int head) {
    return static_cast<S*>(map.data) + b * map.batch + y * map.row + x * map.col + head * map.head;
}

inline int most_keys(const Axis& axis) {
    int keys = 0;
    for (int s = 0; s < axis.shapes; ++s) keys = larger(keys, int(axis.shape[s].keys));
    return keys;
}

inline int vectors(int width) { return (width + LANES - 1) / LANES; }

// What is added to logits before softmax: per pair of tile shapes, block of LANES queries and key, one vector. Empty
// if nothing is added.
struct Offsets {
    explicit Offsets(const Problem& p) : cols(p.cols.shapes), first(p.rows.shapes * p.cols.shapes + 1) {
        for (int pair = 0; pair < p.rows.shapes * cols; ++pair) {
            const Shape &y = p.rows.shape[pair / cols], &x = p.cols.shape[pair % cols];
            first[pair + 1] = first[pair] + size_t(vectors(y.queries * x.queries)) * y.keys * x.keys;
        }
    }
    size_t of(const Tile& y, const Tile& x) const { return first[y.shape * cols + x.shape]; }
    size_t total() const { return first.back(); }
    int cols;
    std::vector<size_t> first;
};

// Calls visit(position in a shape pair's vectors, lane, bias table row and column, visible) for every query and key
// of the pair.
template <class F> inline void each_pair(const Problem& p, const Shape& y, const Shape& x, F visit) {
    const int keys = y.keys * x.keys;
    for (int query = 0; query < y.queries * x.queries; ++query) {
        const int i = query / x.queries, j = query % x.queries;
        const int32_t *rows = p.rows.span + y.spans + 2 * i, *cols = p.cols.span + x.spans + 2 * j;
        for (int r = 0; r < y.keys; ++r)
            for (int c = 0; c < x.keys; ++c) {
                const bool visible = r >= rows[0] && r < rows[1] && c >= cols[0] && c < cols[1];
                const int row = r + y.lead - i + p.table_rows / 2, col = c + x.lead - j + p.table_cols / 2;
                visit(size_t(query / LANES) * keys + r * x.keys + c, query % LANES, row, col, visible);
            }
    }
}

// Where in the bias table that lies which is added to a logit, laid out as the offsets say; HIDDEN: the query does not
// see the key; MISSING: there is no such query. Empty unless `needed`.
struct Places : Offsets {
    static constexpr int32_t HIDDEN = -1, MISSING = -2;
    Places(const Problem& p, bool needed) : Offsets(p), index(needed ? total() * LANES : 0) {
        std::fill(index.begin(), index.end(), MISSING);
        for (int pair = 0; needed && pair < p.rows.shapes * p.cols.shapes; ++pair)
            each_pair(p, p.rows.shape[pair / cols], p.cols.shape[pair % cols],
                      [&](size_t place, int lane, int row, int col, bool visible) {
                          index[(first[pair] + place) * LANES + lane] = visible ? row * p.table_cols + col : HIDDEN;
                      });
    }
    // Calls visit(position, index) for all numbers of a pair of shapes.
    template <class F> INLINED void each(int pair, F visit) const {
        const int32_t* from = index.data() + first[pair] * LANES;
        for (size_t i = 0, count = (first[pair + 1] - first[pair]) * LANES; i < count; ++i) visit(i, from[i]);
    }
    std::vector<int32_t> index;
};
