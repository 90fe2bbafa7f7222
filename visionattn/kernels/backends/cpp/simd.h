// Vectors of LANES numbers in the compilers' portable vector extension (GCC, Clang); the compiler maps them to what
// the CPU has.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

// A function that only prefetches is "pure" to GCC, which leaves out calls of such functions.
#define INLINED inline __attribute__((always_inline))

constexpr int LANES = 16;
using f32x = float __attribute__((vector_size(LANES * sizeof(float))));
using f64x = double __attribute__((vector_size(LANES * sizeof(double))));
using i32x = int32_t __attribute__((vector_size(LANES * sizeof(int32_t))));
using u32x = uint32_t __attribute__((vector_size(LANES * sizeof(uint32_t))));
using u16x = uint16_t __attribute__((vector_size(LANES * sizeof(uint16_t))));

// Vectors of sums that one product keeps in registers: half of what the CPU has, the rest is for operands. Fewer for
// double, whose vectors take two registers or more, and which need not be fast.
#if defined(__AVX512F__)
template <class C> constexpr int BLOCK = sizeof(C) == 4 ? 16 : 4;
#else
template <class C> constexpr int BLOCK = 4;
#endif

template <class C> struct Vector;
template <> struct Vector<float> { using type = f32x; };
template <> struct Vector<double> { using type = f64x; };
template <class C> using V = typename Vector<C>::type;
template <class X> using Element = std::decay_t<decltype(std::declval<X>()[0])>;

// Storage type -> type of arithmetic. bf16 is the upper half of a float.
struct bf16 { uint16_t bits; };
template <class S> struct Compute { using type = S; };
template <> struct Compute<bf16> { using type = float; };

inline float load(float x) { return x; }
inline double load(double x) { return x; }
inline float load(bf16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline void store(float& to, float x) { to = x; }
inline void store(double& to, double x) { to = x; }
inline void store(bf16& to, float x) {  // round to nearest even; a NaN stays one
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    to.bits = x != x ? 0x7fc0 : uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// LANES numbers of 16 bits, widened with zeros, alone and as pairs (`low` in the lower half).
INLINED u32x widened(const u16x& bits) {
#if defined(__AVX512F__)  // one instruction; GCC makes four of the conversion
    return (u32x)_mm512_cvtepu16_epi32((__m256i)bits);
#else
    return __builtin_convertvector(bits, u32x);
#endif
}
INLINED u32x paired(const u16x& low, const u16x& high) { return widened(low) | widened(high) << 16; }
INLINED f32x from_bf16(const u16x& bits) { return (f32x)(widened(bits) << 16); }
// Rounded to nearest even; a NaN stays one.
INLINED u16x to_bf16(const f32x& x) {
#if defined(__AVX512BF16__)  // numbers below 1.2e-38 become 0
    return (u16x)_mm512_cvtneps_pbh((__m512)x);
#else
    const u32x bits = (u32x)x, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return __builtin_convertvector(x != x ? rounded - rounded + 0x7fc0 : rounded, u16x);
#endif
}

// LANES numbers from and to memory that need not be aligned.
template <class C> inline V<C> load_vector(const C* from) {
    V<C> x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
INLINED u16x load_bits(const bf16* from) {
    u16x bits;
    std::memcpy(&bits, from, sizeof bits);
    return bits;
}
inline f32x load_vector(const bf16* from) { return from_bf16(load_bits(from)); }
template <class C> inline void store_vector(C* to, const V<C>& x) { std::memcpy(to, &x, sizeof x); }
inline void store_vector(bf16* to, const f32x& x) {
    const u16x bits = to_bf16(x);
    std::memcpy(to, &bits, sizeof bits);
}

// `depth` numbers times `factor`, between a row of a map and a row of numbers of arithmetic.
template <class S, class C> inline void read_row(const S* from, int depth, C factor, C* to) {
    int d = 0;
    for (; d + LANES <= depth; d += LANES) store_vector<C>(to + d, load_vector(from + d) * factor);
    for (; d < depth; ++d) to[d] = load(from[d]) * factor;
}
template <class S, class C> inline void write_row(const C* from, int depth, C factor, S* to) {
    int d = 0;
    for (; d + LANES <= depth; d += LANES) store_vector(to + d, load_vector(from + d) * factor);
    for (; d < depth; ++d) store(to[d], from[d] * factor);
}

// At most LANES numbers; as many may be read.
inline void copy_some(const double* from, int count, double* to) {
    for (int i = 0; i < count; ++i) to[i] = from[i];
}
inline void copy_some(const float* from, int count, float* to) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), _mm512_loadu_ps(from));
#else
    for (int i = 0; i < count; ++i) to[i] = from[i];
#endif
}

template <class T> inline T larger(const T& a, const T& b) { return a > b ? a : b; }

// exp of numbers <= 0, exactly 0 below -86; a NaN stays one. Polynomial of Cephes' expf: error below 1.5 units in the
// last place.
inline void exp_nonpositive(f32x& x) {
    const f32x zero = {}, least = zero - 86.0f, magic = zero + 12582912.0f;
    const f32x clamped = x < least ? least : x;
    const f32x shifted = clamped * 1.44269504088896341f + magic;
    const f32x n = shifted - magic;
    const f32x r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    f32x p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r) * r + r + 1.0f;
    const i32x power = ((i32x)shifted - (i32x)magic + 127) << 23;
    x = x < least ? zero : p * (f32x)power;
}
inline void exp_nonpositive(f64x& x) {
    for (int lane = 0; lane < LANES; ++lane) x[lane] = std::exp(x[lane]);
}

// One step of a 16 x 16 transposition: swaps the off-diagonal STEP x STEP blocks of rows i and i + STEP.
#define PICK(l) ((l) & STEP ? 16 + (l) - STEP : (l))
#define PICK_OTHER(l) ((l) & STEP ? 16 + (l) : (l) + STEP)
#define ALL16(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
template <class T, int STEP> inline void swap_blocks(T* rows) {
    for (int i = 0; i < LANES; ++i) {
        if (i & STEP) continue;
        const T a = rows[i], b = rows[i + STEP];
#if defined(__clang__)
        rows[i] = __builtin_shufflevector(a, b, ALL16(PICK));
        rows[i + STEP] = __builtin_shufflevector(a, b, ALL16(PICK_OTHER));
#else
        using Mask = decltype(a < b);
        rows[i] = __builtin_shuffle(a, b, Mask{ALL16(PICK)});
        rows[i + STEP] = __builtin_shuffle(a, b, Mask{ALL16(PICK_OTHER)});
#endif
    }
}
// rows[i][l] <-> rows[l][i]
template <class T> inline void transpose(T* rows) {
    swap_blocks<T, 8>(rows);
    swap_blocks<T, 4>(rows);
    swap_blocks<T, 2>(rows);
    swap_blocks<T, 1>(rows);
}
