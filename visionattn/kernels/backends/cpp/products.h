// The small matrix products of a tile. Queries lie in lanes: one vector holds one number of each of LANES queries.
#pragma once
#include <cstddef>

#include "simd.h"

// out[j] = start[j] + sum_i x[i] * m[i * across + j * along],  j < N: N sums in registers. start may be null (zero).
// ALONG is `along` where it is known to the compiler (it then needs one address for all j), else 0.
template <class C, int N, int ALONG>
inline void product_block(const V<C>* x, int count, const C* m, ptrdiff_t across, ptrdiff_t along,
                          const V<C>* start, V<C>* out) {
    const ptrdiff_t pace = ALONG ? ALONG : along;
    V<C> sum[N];
    for (int j = 0; j < N; ++j) sum[j] = V<C>{};
    for (int i = 0; i < count; ++i) {
        const V<C> xi = x[i];
        const C* row = m + i * across;
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) sum[j] += xi * row[j * pace];
    }
    for (int j = 0; j < N; ++j) out[j] = start ? sum[j] + start[j] : sum[j];  // last: the sums stay small and exact
}

template <class C, int N, int ALONG>
inline void product_of_size(int size, const V<C>* x, int count, const C* m, ptrdiff_t across, ptrdiff_t along,
                            const V<C>* start, V<C>* out) {
    if constexpr (N > 0) {
        if (size == N)
            product_block<C, N, ALONG>(x, count, m, across, along, start, out);
        else
            product_of_size<C, N - 1, ALONG>(size, x, count, m, across, along, start, out);
    }
}

// The same for any number of columns, in pieces of nearly equal size.
template <class C, int ALONG>
inline void product_pieces(const V<C>* x, int count, const C* m, ptrdiff_t across, ptrdiff_t along, int columns,
                           const V<C>* start, V<C>* out) {
    const int pieces = (columns + BLOCK<C> - 1) / BLOCK<C>;
    for (int piece = 0; piece < pieces; ++piece) {
        const int first = columns * piece / pieces, last = columns * (piece + 1) / pieces;
        product_of_size<C, BLOCK<C>, ALONG>(last - first, x, count, m + first * along, across, along,
                                         start ? start + first : nullptr, out + first);
    }
}

// Sum of term(0) .. term(count - 1) in four interleaved parts: a shorter chain, and a smaller error.
template <class C, class F> inline V<C> sum_of(int count, F term) {
    V<C> part[4] = {};
    int i = 0;
    for (; i + 4 <= count; i += 4)
        for (int j = 0; j < 4; ++j) part[j] += term(i + j);
    for (; i < count; ++i) part[0] += term(i);
    return (part[0] + part[1]) + (part[2] + part[3]);
}

// out[key] = start[key] + sum_d x[d] * m[key][d]: logits from queries and keys, rows of `depth` numbers.
template <class C>
inline void times_rows(const V<C>* x, const C* m, int depth, int keys, const V<C>* start, V<C>* out) {
    if (depth == 32)  // by far the commonest width
        product_pieces<C, 32>(x, 32, m, 1, 32, keys, start, out);
    else
        product_pieces<C, 0>(x, depth, m, 1, depth, keys, start, out);
}

// out[d] = sum_key x[key] * m[key][d]: outputs from weights and values, rows of `depth` numbers.
template <class C>
inline void times_columns(const V<C>* x, const C* m, int depth, int keys, V<C>* out) {
    product_pieces<C, 1>(x, keys, m, depth, 1, depth, nullptr, out);
}

// rows[key] += sum_lane w[key][lane] * x[lane], KEYS keys and WIDE vectors of a row at once. rows are given by their
// places in `map`.
template <class C, int KEYS, int WIDE>
inline void scatter_block(const V<C>* w, const V<C>* x, int lanes, int pitch, const int* place, C* map, int column) {
    V<C> sum[KEYS][WIDE] = {};
    const C* weight = reinterpret_cast<const C*>(w);
    for (int lane = 0; lane < lanes; ++lane) {
        const V<C>* row = x + lane * pitch + column;
#pragma GCC unroll 8
        for (int key = 0; key < KEYS; ++key)
#pragma GCC unroll 2
            for (int wide = 0; wide < WIDE; ++wide) sum[key][wide] += row[wide] * weight[key * LANES + lane];
    }
    for (int key = 0; key < KEYS; ++key) {
        V<C>* to = reinterpret_cast<V<C>*>(map) + ptrdiff_t(place[key]) * pitch + column;
        for (int wide = 0; wide < WIDE; ++wide) to[wide] += sum[key][wide];
    }
}

template <class C, int WIDE>
inline void scatter_columns(const V<C>* w, const V<C>* x, int keys, int lanes, int pitch, const int* place, C* map,
                            int column) {
    constexpr int GROUP = BLOCK<C> == 16 ? 6 : 2 / WIDE;
    int key = 0;
    for (; key + GROUP <= keys; key += GROUP)
        scatter_block<C, GROUP, WIDE>(w + key, x, lanes, pitch, place + key, map, column);
    for (; key < keys; ++key)
        scatter_block<C, 1, WIDE>(w + key, x, lanes, pitch, place + key, map, column);
}

// For every key: row `place[key]` of `map` (pitch vectors wide) += sum over lanes of w[key][lane] * x[lane] (pitch
// vectors wide).
template <class C>
inline void scatter(const V<C>* w, const V<C>* x, int keys, int lanes, int pitch, const int* place, C* map) {
    int column = 0;
    for (; column + 2 <= pitch; column += 2) scatter_columns<C, 2>(w, x, keys, lanes, pitch, place, map, column);
    if (column < pitch) scatter_columns<C, 1>(w, x, keys, lanes, pitch, place, map, column);
}
