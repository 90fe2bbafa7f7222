// One direction of a selective scan over a map: LANES channels side by side, one token after another.
#pragma once
#include "parallel.h"
#include "problem.h"

struct Field { void* data; int64_t batch, row, col, way; };  // strides in elements; channels or states are contiguous

struct Scan {
    int32_t batch, height, width, channels, ways, states, threads, chunk;  // chunk: tokens from one kept state to the next
    Field x, delta, b, c, out, grad, dx, ddelta;
    void *a, *starts, *da, *db, *dc;  // (K, S, C); (B, K, chunks, S, C); (B, K, S, C); (blocks, B, H, W, K, S) twice
    int tokens() const { return height * width; }
    int chunks() const { return (tokens() + chunk - 1) / chunk; }
    int blocks() const { return (channels + LANES - 1) / LANES; }
    bool apart() const {  // whether jobs of all directions would leave more than a tenth of the threads' time unused
        const int64_t whole = int64_t(batch) * blocks(), team = larger(1, threads);
        return 10 * ((whole + team - 1) / team * team) > 11 * whole;
    }
};

// The tokens of a direction in its order, or back from there: rows, columns, and both from the end.
struct Walk {
    Walk(const Scan& p, int way, int t) : along(way % 2 ? p.height : p.width), columns(way % 2), back(way >= 2) {
        const int place = back ? p.tokens() - 1 - t : t;
        outer = place / along, inner = place % along;
    }
    int64_t pace(const Field& field) const {  // to the next token of the same line, in elements
        const int64_t stride = columns ? field.row : field.col;
        return back ? -stride : stride;
    }
    int row() const { return columns ? inner : outer; }
    int col() const { return columns ? outer : inner; }
    void step(bool forward) {
        if (forward != back) {
            if (++inner == along) inner = 0, ++outer;
        } else if (--inner < 0) {
            inner = along - 1, --outer;
        }
    }
    int along, columns, back, outer, inner;
};

constexpr double LOG2_E = 1.44269504088896341;

// 2 to the power of number * factor <= 0, of which those below -126 count as that; a NaN stays one. Two factors, so that
// no digit is lost before the whole part is taken off. Relative error below 2e-7, and none for 0.
INLINED f32x exp2_nonpositive(const f32x& number, float factor) {
    const f32x zero = {}, least = zero - 126.0f / factor, magic = zero + 12583039.0f;  // 1.5 * 2^23 + 127
    const f32x x = number < least ? least : number;
    const f32x shifted = x * factor + magic;  // its last bits are the exponent of the result
    const f32x rest = x * factor - (shifted - magic);
    f32x p = rest * 0.0001534581f + 0.0013399931f;
    p = p * rest + 0.0096184891f;
    p = p * rest + 0.0555032864f;
    p = p * rest + 0.2402264625f;
    p = p * rest + 0.6931471825f;
    p = p * rest + 1.0f;
    return p * (f32x)((i32x)shifted << 23);
}
INLINED f64x exp2_nonpositive(const f64x& number, float) {
    f64x x;
    for (int lane = 0; lane < LANES; ++lane) x[lane] = std::exp2(number[lane]);
    return x;
}

// softplus and exp(-|x|), which its slope needs. log(1 + z) = z * polynomial, to 3e-8 for z from 0 to 1; from x =
// 20 on, softplus is x: what is added to it is less than its last place.
INLINED void softplus(const f32x& x, f32x& value, f32x& z) {
    const f32x zero = {};
    z = exp2_nonpositive(x < zero ? x : -x, float(LOG2_E));
    f32x p = z * 0.0052326931f - 0.0295052398f;
    p = p * z + 0.0782259554f;
    p = p * z - 0.1366324574f;
    p = p * z + 0.1910600662f;
    p = p * z - 0.2484298199f;
    p = p * z + 0.3331909776f;
    p = p * z - 0.4999949336f;
    p = p * z + 0.9999999404f;
    const f32x positive = x > zero ? x : zero;
    value = positive + z * p;
}
INLINED f32x slope_of_softplus(const f32x& x, const f32x& z) {
    const f32x zero = {}, one = zero + 1.0f;
    return (x < zero ? z : one) / (one + z);
}
INLINED void softplus(const f64x& x, f64x& value, f64x& z) {
    for (int lane = 0; lane < LANES; ++lane) {
        z[lane] = std::exp(x[lane] < 0 ? x[lane] : -x[lane]);
        value[lane] = x[lane] > 20 ? x[lane] : (x[lane] > 0 ? x[lane] : 0) + std::log1p(z[lane]);
    }
}
INLINED f64x slope_of_softplus(const f64x& x, const f64x& z) {
    const f64x zero = {}, one = zero + 1.0;
    return x > zero + 20.0 ? one : (x < zero ? z : one) / (one + z);
}

// Some channels of one image and direction. STATES is the number of states where the compiler knows it, else 0.
template <class S, int STATES> struct Line {
    using C = typename Compute<S>::type;
    Line(const Scan& p, int image, int block)
        : p(p), image(image), block(block), first(block * LANES), states(STATES ? STATES : p.states),
          lanes(p.channels - first < LANES ? p.channels - first : LANES), a(states), binary(states) {}

    void enter(int of_way) {
        way = of_way;
        for (int s = 0; s < states; ++s) {
            a.data[s] = numbers(static_cast<const C*>(p.a) + (int64_t(way) * states + s) * p.channels);
            binary.data[s] = a.data[s] * C(LOG2_E);
        }
    }
    // The block's channels of a row that starts at channel 0. Missing lanes are zero.
    template <class T> V<C> numbers(const T* row) const {
        if (lanes == LANES) return V<C>(load_vector(row + first));
        V<C> x = {};
        for (int lane = 0; lane < lanes; ++lane) x[lane] = load(row[first + lane]);
        return x;
    }
    template <class T> void put(T* row, const V<C>& x) const {
        if (lanes == LANES) return store_vector(row + first, x);
        for (int lane = 0; lane < lanes; ++lane) store(row[first + lane], x[lane]);
    }
    // The sums of `parts` vectors per token, those of a part side by side, to a map.
    void put_map(const Field& to, const V<C>* sums, int parts) const {
        for (int row = 0, token = 0; row < p.height; ++row)
            for (int col = 0; col < p.width; ++col, ++token) {
                V<C> sum = sums[token];
                for (int part = 1; part < parts; ++part) sum += sums[int64_t(part) * p.tokens() + token];
                put(static_cast<S*>(to.data) + image * to.batch + row * to.row + col * to.col, sum);
            }
    }
    S* at(const Field& field, int row, int col) const {
        return static_cast<S*>(field.data) + image * field.batch + row * field.row + col * field.col + way * field.way;
    }
    C* start(int chunk, int s) const {
        const int64_t line = int64_t(image) * p.ways + way;
        return static_cast<C*>(p.starts) + ((line * p.chunks() + chunk) * states + s) * p.channels;
    }
    C* of_states(void* sums, int row, int col) const {  // of b or c, of this block of channels
        const int64_t place = ((int64_t(block) * p.batch + image) * p.height + row) * p.width + col;
        return static_cast<C*>(sums) + (place * p.ways + way) * states;
    }
    const Scan& p;
    const int image, block, first, states, lanes;
    int way = 0;
    Aligned<V<C>> a, binary;  // what states decay by, to the bases e and 2
};
