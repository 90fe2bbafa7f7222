// GELU and its slope.
#pragma once
#include "simd.h"

// GELU(x) = x / 2 + |x| f(|x|), its slope 1/2 + f(|x|) + |x| f'(|x|) with the last two of the sign of x. Of f a table has
// the coefficients (DEGREE + 1, PIECES), the constant first, of polynomials in the distance from the places 0, 1, 2, ..
// that a unit of x has PER_UNIT of; f is 1/2 from the last place on.
constexpr int PIECES = 32, DEGREE = 4;
constexpr float PER_UNIT = 5.5f;

// The smaller number; the second where one is a NaN.
INLINED f32x smaller(const f32x& a, const f32x& b) {
#if defined(__AVX512F__)  // GCC makes a comparison and a choice of it
    return (f32x)_mm512_min_ps((__m512)a, (__m512)b);
#else
    return a < b ? a : b;
#endif
}

struct Gelu {
    f32x low[DEGREE + 1], high[DEGREE + 1];  // in registers where the code is unrolled
    explicit INLINED Gelu(const float* table) {
#pragma GCC unroll 8
        for (int power = 0; power <= DEGREE; ++power) {
            low[power] = load_vector(table + power * PIECES);
            high[power] = load_vector(table + power * PIECES + LANES);
        }
    }
    INLINED f32x coefficient(int power, const i32x& index) const {
#if defined(__AVX512F__)  // it takes the lowest five bits of an index
        return (f32x)_mm512_permutex2var_ps((__m512)low[power], (__m512i)index, (__m512)high[power]);
#else
        f32x found;
        for (int lane = 0; lane < LANES; ++lane) {
            const int piece = index[lane] & (PIECES - 1);
            found[lane] = piece < LANES ? low[power][piece] : high[power][piece - LANES];
        }
        return found;
#endif
    }
    // GELU of x; `slope` receives its slope, if that is asked for. A NaN stays one.
    template <bool SLOPE> INLINED f32x of(const f32x& x, f32x& slope) const {
        const f32x magnitude = (f32x)((u32x)x & 0x7fffffff), last = f32x{} + float(PIECES - 1), magic = f32x{} + 12582912.0f;
        const f32x place = magnitude * PER_UNIT, within = smaller(last, place);
        const f32x rounded = within + magic, t = within - (rounded - magic);
        const i32x index = (i32x)rounded;
        f32x f = coefficient(DEGREE, index), rise = f;
#pragma GCC unroll 8
        for (int power = DEGREE - 1; power >= 0; --power) {
            f = f * t + coefficient(power, index);
            if (SLOPE && power) rise = rise * t + f;
        }
        if (SLOPE) slope = 0.5f + (f32x)((u32x)(within * rise + f) ^ ((u32x)x & 0x80000000));
        return x * 0.5f + magnitude * f;
    }
};
