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

// softplus and its slope; from 20 on, softplus is the number itself.
INLINED void softplus(const f32x& x, f32x& value, f32x& slope) {
    const f32x zero = {}, one = zero + 1.0f;
    f32x z = x < zero ? x : -x;
    exp_nonpositive(z);
    const f32x s = z / (z + 2.0f), q = s * s;  // log(1 + z) = 2 artanh(s), s up to a third
    f32x p = q * (1.0f / 13) + (1.0f / 11);
    p = p * q + (1.0f / 9);
    p = p * q + (1.0f / 7);
    p = p * q + (1.0f / 5);
    p = p * q + (1.0f / 3);
    p = p * q + one;
    const f32x positive = x > zero ? x : zero;
    value = x > zero + 20.0f ? x : positive + (s + s) * p;
    slope = x > zero + 20.0f ? one : (x < zero ? z : one) / (one + z);
}
INLINED void softplus(const f64x& x, f64x& value, f64x& slope) {
    for (int lane = 0; lane < LANES; ++lane) {
        value[lane] = x[lane] > 20 ? x[lane] : std::log1p(std::exp(x[lane]));
        slope[lane] = x[lane] > 20 ? 1 : 1 / (1 + std::exp(-x[lane]));
    }
}

// Some channels of one image and direction. STATES is the number of states where the compiler knows it, else 0.
template <class S, int STATES> struct Line {
    using C = typename Compute<S>::type;
    Line(const Scan& p, int image, int block)
        : p(p), image(image), block(block), first(block * LANES), states(STATES ? STATES : p.states),
          lanes(p.channels - first < LANES ? p.channels - first : LANES), a(states) {}

    void enter(int of_way) {
        way = of_way;
        for (int s = 0; s < states; ++s) a.data[s] = numbers(static_cast<const C*>(p.a) + (int64_t(way) * states + s) * p.channels);
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
    Aligned<V<C>> a;
};
