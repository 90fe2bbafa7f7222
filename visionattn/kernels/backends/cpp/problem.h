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
// unless `needed`.
struct Offsets {
    Offsets(const Problem& p, bool needed) : cols(p.cols.shapes), first(p.rows.shapes * p.cols.shapes + 1) {
        for (int pair = 0; needed && pair < p.rows.shapes * cols; ++pair) {
            const Shape &y = p.rows.shape[pair / cols], &x = p.cols.shape[pair % cols];
            first[pair + 1] = first[pair] + size_t(vectors(y.queries * x.queries)) * y.keys * x.keys;
        }
    }
    size_t of(const Tile& y, const Tile& x) const { return first[y.shape * cols + x.shape]; }
    size_t total() const { return first.back(); }
    int cols;
    std::vector<size_t> first;
};

// Calls visit(number, count, place) for queries of a pair of shapes that lie side by side and see a key. `number` is
// that of the first among the numbers of the pair's vectors; `count` of them follow. The first has its entry of the bias
// table at `place`, each next one a place before that. Of one entry, calls come in the order of the numbers.
template <class F> INLINED void each_run(const Problem& p, int pair, F visit) {
    const Shape &y = p.rows.shape[pair / p.cols.shapes], &x = p.cols.shape[pair % p.cols.shapes];
    const int32_t *rows = p.rows.span + y.spans, *cols = p.cols.span + x.spans;
    std::vector<int> begin(x.keys), end(x.keys);  // the columns of queries that see a key
    for (int c = 0; c < x.keys; ++c) {
        while (begin[c] < x.queries && cols[2 * begin[c] + 1] <= c) ++begin[c];
        for (end[c] = begin[c]; end[c] < x.queries && cols[2 * end[c]] <= c;) ++end[c];
    }
    for (int query = 0, stop, queries = y.queries * x.queries; query < queries; query = stop) {  // those of one row and block
        const int i = query / x.queries, j = query % x.queries, block = query / LANES, lane = query % LANES;
        stop = std::min({queries, query - j + x.queries, (block + 1) * LANES});
        for (int r = rows[2 * i]; r < rows[2 * i + 1]; ++r) {
            const size_t key = (size_t(block) * y.keys + r) * x.keys;
            const int place = (r + y.lead - i + p.table_rows / 2) * p.table_cols + x.lead + p.table_cols / 2;
            for (int c = 0; c < x.keys; ++c) {
                const int low = std::max(j, begin[c]), high = std::min(j + stop - query, end[c]);
                if (low < high) visit((key + c) * LANES + lane + low - j, high - low, place + c - low);
            }
        }
    }
}
