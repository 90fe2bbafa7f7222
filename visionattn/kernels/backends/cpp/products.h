// The small matrix products of a tile. Queries lie in lanes: one vector holds one number of each of LANES queries.
#pragma once
#include <cstddef>

#include "simd.h"

// A product's operands: X is a vector across lanes, `Number` what it is multiplied by, `Sum` what the products add to.
template <class X> struct Operand { using Number = Element<X>; using Sum = X; };
template <class X> using Number = typename Operand<X>::Number;
template <class X> using Sum = typename Operand<X>::Sum;
INLINED void multiply_add(f32x& sum, const f32x& x, float m) { sum += x * m; }
INLINED void multiply_add(f64x& sum, const f64x& x, double m) { sum += x * m; }

#if defined(__AVX512BF16__)
// A pair is two bf16 in 32 bits, the first in the lower half; the product of two pairs is the sum of both products.
template <> struct Operand<u32x> { using Number = uint32_t; using Sum = f32x; };
INLINED void multiply_add(f32x& sum, const u32x& x, uint32_t m) {
    sum = (f32x)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)_mm512_set1_epi32(int(m)));
}
#else
INLINED void multiply_add(f32x& sum, const u32x& x, uint32_t m) {
    const u32x low = u32x{} + (m << 16), high = u32x{} + (m >> 16 << 16);
    sum += (f32x)(x << 16) * (f32x)low + (f32x)(x >> 16 << 16) * (f32x)high;
}
#endif

// out[j] = start[j] + sum_i x[i] * m[i * across + j * along],  j < N: N sums in registers. start may be null (zero).
// ALONG is `along` where it is known to the compiler (it then needs one address for all j), else 0.
template <class X, int N, int ALONG>
inline void product_block(const X* x, int count, const Number<X>* m, std::ptrdiff_t across, std::ptrdiff_t along,
                          const Sum<X>* start, Sum<X>* out) {
    const std::ptrdiff_t pace = ALONG ? ALONG : along;
    Sum<X> sum[N];
    for (int j = 0; j < N; ++j) sum[j] = Sum<X>{};
    for (int i = 0; i < count; ++i) {
        const X xi = x[i];
        const Number<X>* row = m + i * across;
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) multiply_add(sum[j], xi, row[j * pace]);
    }
    for (int j = 0; j < N; ++j) out[j] = start ? sum[j] + start[j] : sum[j];  // last: the sums stay small and exact
}

template <class X, int N, int ALONG>
inline void product_of_size(int size, const X* x, int count, const Number<X>* m, std::ptrdiff_t across,
                            std::ptrdiff_t along, const Sum<X>* start, Sum<X>* out) {
    if constexpr (N > 0) {
        if (size == N)
            product_block<X, N, ALONG>(x, count, m, across, along, start, out);
        else
            product_of_size<X, N - 1, ALONG>(size, x, count, m, across, along, start, out);
    }
}

// The same for any number of columns, in pieces of nearly equal size.
template <class X, int ALONG>
inline void product_pieces(const X* x, int count, const Number<X>* m, std::ptrdiff_t across, std::ptrdiff_t along,
                           int columns, const Sum<X>* start, Sum<X>* out) {
    constexpr int MOST = BLOCK<Number<X>>;
    const int pieces = (columns + MOST - 1) / MOST;
    for (int piece = 0; piece < pieces; ++piece) {
        const int first = columns * piece / pieces, last = columns * (piece + 1) / pieces;
        product_of_size<X, MOST, ALONG>(last - first, x, count, m + first * along, across, along,
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

// out[key] = start[key] + sum_d x[d] * m[key][d], d < count: logits from queries and keys.
template <class X, int COUNT>
inline void times_rows(const X* x, const Number<X>* m, int count, int keys, const Sum<X>* start, Sum<X>* out) {
    if (count == COUNT)  // by far the commonest width
        product_pieces<X, COUNT>(x, COUNT, m, 1, COUNT, keys, start, out);
    else
        product_pieces<X, 0>(x, count, m, 1, count, keys, start, out);
}

// out[d] = sum_key x[key] * m[key][d]: outputs from weights and values, rows of `depth` numbers.
template <class X>
inline void times_columns(const X* x, const Number<X>* m, int depth, int keys, Sum<X>* out) {
    product_pieces<X, 1>(x, keys, m, depth, 1, depth, nullptr, out);
}

// rows[key] += sum_i w[key][i] * x[i], i < count, KEYS keys and WIDE vectors of a row at once; w has `pace` numbers a
// key. rows are given by their places in `map`.
template <class X, int KEYS, int WIDE>
inline void scatter_block(const Number<X>* w, int pace, const X* x, int count, int pitch, const int* place, Sum<X>* map,
                          int column) {
    Sum<X> sum[KEYS][WIDE] = {};
    for (int i = 0; i < count; ++i) {
        const X* row = x + i * pitch + column;
#pragma GCC unroll 8
        for (int key = 0; key < KEYS; ++key)
#pragma GCC unroll 2
            for (int wide = 0; wide < WIDE; ++wide) multiply_add(sum[key][wide], row[wide], w[key * pace + i]);
    }
    for (int key = 0; key < KEYS; ++key) {
        Sum<X>* to = map + std::ptrdiff_t(place[key]) * pitch + column;
        for (int wide = 0; wide < WIDE; ++wide) to[wide] += sum[key][wide];
    }
}

template <class X, int WIDE>
inline void scatter_columns(const Number<X>* w, int pace, const X* x, int keys, int count, int pitch, const int* place,
                            Sum<X>* map, int column) {
    constexpr int GROUP = BLOCK<Number<X>> == 16 ? 6 : 2 / WIDE;
    int key = 0;
    for (; key + GROUP <= keys; key += GROUP)
        scatter_block<X, GROUP, WIDE>(w + key * pace, pace, x, count, pitch, place + key, map, column);
    for (; key < keys; ++key)
        scatter_block<X, 1, WIDE>(w + key * pace, pace, x, count, pitch, place + key, map, column);
}

// For every key: row `place[key]` of `map` (pitch vectors wide) += sum_i w[key][i] * x[i] (pitch vectors wide).
template <class X>
inline void scatter(const Number<X>* w, int pace, const X* x, int keys, int count, int pitch, const int* place,
                    Sum<X>* map) {
    int column = 0;
    for (; column + 2 <= pitch; column += 2)
        scatter_columns<X, 2>(w, pace, x, keys, count, pitch, place, map, column);
    if (column < pitch) scatter_columns<X, 1>(w, pace, x, keys, count, pitch, place, map, column);
}
