// Matrix products of bf16 with sums in float32, for CPUs that multiply pairs of bf16 (AVX512-BF16) and have no matrix
// registers (AMX), with which oneDNN is far ahead.
#pragma once
#include <algorithm>
#include <cstddef>

#include "parallel.h"
#include "products.h"

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
constexpr bool HAS_PRODUCTS = true;
#else
constexpr bool HAS_PRODUCTS = false;
#endif

// Tiles of 8 x 48 or of 6 x 64 sums fill the registers; which of them, the number of columns says.
template <int VECTORS> constexpr int TILE_ROWS = VECTORS == 3 ? 8 : 6;
inline int divided(int64_t size, int64_t by) { return int((size + by - 1) / by); }
inline int padded(int columns, int width) { return (columns + width - 1) / width * width; }
inline bool fits_48(int columns) { return padded(columns, 48) <= padded(columns, 64); }

// What is asked for while a product is computed, since it comes next: a line every `step` bytes of each step's.
struct Ahead {
    const char* from;
    std::ptrdiff_t step;
    INLINED void ask() { __builtin_prefetch(from), from += step; }
};
struct Nothing {
    INLINED void ask() {}
};

// sums[m][n] = sum_k of the pairs a[m * pitch + k * step] * b[k * pace + n].
template <int ROWS, int VECTORS, class A = Nothing>
INLINED void multiply_tile(f32x (&sums)[ROWS][VECTORS], const uint32_t* a, std::ptrdiff_t pitch, std::ptrdiff_t step,
                           const u32x* b, int count, std::ptrdiff_t pace = VECTORS, A ahead = {}) {
    f32x sum[ROWS][VECTORS];  // in registers; `sums` is in memory
#pragma GCC unroll 16
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 16
        for (int n = 0; n < VECTORS; ++n) sum[m][n] = f32x{};
    for (int k = 0; k < count; ++k, a += step, b += pace) {
        ahead.ask();
#pragma GCC unroll 16
        for (int m = 0; m < ROWS; ++m) {
            const uint32_t pair = a[m * pitch];
#pragma GCC unroll 16
            for (int n = 0; n < VECTORS; ++n) multiply_add(sum[m][n], b[n], pair);
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 16
        for (int n = 0; n < VECTORS; ++n) sums[m][n] = sum[m][n];
}

// Calls work(rows) with the number of rows of a tile, at most MOST, as a constant.
template <int MOST, class F> INLINED void of_rows(int rows, F work) {
    if constexpr (MOST > 1) {
        if (rows < MOST) return of_rows<MOST - 1>(rows, work);
    }
    work(std::integral_constant<int, MOST>{});
}

// Calls leave(row, its sums) for all rows of a product of any number of rows and VECTORS vectors, as in multiply_tile.
template <int VECTORS, class F>
INLINED void multiply_rows(int rows, const uint32_t* a, std::ptrdiff_t pitch, std::ptrdiff_t step, const u32x* b,
                           int count, std::ptrdiff_t pace, F leave) {
    constexpr int MOST = VECTORS == 1 ? 16 : VECTORS == 2 ? 12 : VECTORS == 3 ? 8 : 6;
    for (int first = 0, pieces = divided(rows, MOST), piece = 0; piece < pieces; ++piece) {  // of nearly one size
        const int last = rows * (piece + 1) / pieces;
        of_rows<MOST>(last - first, [&](auto size) {
            f32x sums[size][VECTORS];
            multiply_tile<size, VECTORS>(sums, a + first * pitch, pitch, step, b, count, pace);
#pragma GCC unroll 16
            for (int m = 0; m < size; ++m) leave(first + m, sums[m]);
        });
        first = last;
    }
}

// Calls visit(c, the numbers c .. c + LANES - 1 of two rows as pairs) for c = 0, LANES, .. below `count`; `high` may be
// null (zeros).
template <class F> INLINED void each_pairs(const bf16* low, const bf16* high, int count, F visit) {
    int c = 0;
#if defined(__AVX512BW__)  // two vectors at once
    i32x places;
    for (int lane = 0; lane < LANES; ++lane) places[lane] = lane | (32 + lane) << 16;
    const __m512i first = (__m512i)places, second = (__m512i)(places + (LANES | LANES << 16));
    for (; high && c + 2 * LANES <= count; c += 2 * LANES) {
        const __m512i lower = _mm512_loadu_si512(low + c), upper = _mm512_loadu_si512(high + c);
        visit(c, (u32x)_mm512_permutex2var_epi16(lower, first, upper));
        visit(c + LANES, (u32x)_mm512_permutex2var_epi16(lower, second, upper));
    }
#endif
    for (; c < count; c += LANES)
        visit(c, high ? paired(load_bits(low + c), load_bits(high + c)) : widened(load_bits(low + c)));
}
