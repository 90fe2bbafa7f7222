// Linear layers in bf16 with float32 weights, forward and the gradient of their input, with GELU or its slope.
#pragma once
#include "problem.h"
#include "gemm.h"

// out (rows, columns) = x (rows, inner) times the weight; float32, (columns, inner), or (inner, columns) if `back`.
// bias (columns) is added, null: none. `activated` takes GELU of `out`, which then may be null; or, if `hidden` is not
// null, GELU of that, and out is multiplied by GELU's slope there. Null: neither. `shares` and `slopes` are the pieces of
// GELU(x) / x and of its slope. inner and columns are multiples of LANES.
struct Linear {
    int64_t rows;
    int32_t inner, columns, threads, back;
    const bf16* x;
    const float *weight, *bias;
    bf16 *out, *activated;
    const bf16* hidden;
    const float *shares, *slopes;
};

// A function f with f(-x) = 1 - f(x), 1 from PIECES / PER_UNIT on, by cubics between equidistant points: `pieces` has
// the coefficients (4, PIECES), the constant first, of f - 1/2 in the distance from a piece's lower end.
constexpr int PIECES = 32;
constexpr float PER_UNIT = 5.75f;
INLINED f32x piece_at(const float* table, const i32x& index) {
#if defined(__AVX512F__)
    return (f32x)_mm512_permutex2var_ps(_mm512_loadu_ps(table), (__m512i)index, _mm512_loadu_ps(table + LANES));
#else
    f32x found;
    for (int lane = 0; lane < LANES; ++lane) found[lane] = table[index[lane]];
    return found;
#endif
}
// Where a number lies among the pieces, and in its piece.
struct At {
    f32x x, place, t;
    i32x index;
};
INLINED At place_of(const f32x& x) {
    const f32x last = f32x{} + (PIECES - 0.001f), place = (f32x)((u32x)x & 0x7fffffff) * PER_UNIT;
    const f32x within = place < last ? place : last;
    const i32x index = __builtin_convertvector(within, i32x);
    return {x, place, within - __builtin_convertvector(index, f32x), index};
}
INLINED f32x by_pieces(const float* pieces, const At& at) {
    const f32x half = f32x{} + 0.5f;
    f32x f = piece_at(pieces + 3 * PIECES, at.index);
    for (int power = 2; power >= 0; --power) f = f * at.t + piece_at(pieces + power * PIECES, at.index);
    f = at.place < PIECES - 0.001f ? f : half < at.place ? half : at.place;  // a NaN stays one
    return half + (f32x)((u32x)f ^ ((u32x)at.x & 0x80000000));
}

template <int VECTORS> struct LinearWork {
    static constexpr int WIDTH = VECTORS * LANES, ROWS = TILE_ROWS<VECTORS>;
    const Linear& p;
    u32x* panels;  // [panel][pair of inner][VECTORS]

    int pairs() const { return p.inner / 2; }
    int count() const { return (p.columns + WIDTH - 1) / WIDTH; }
    void pack(int panel) {
        for (int n = 0; n < VECTORS; ++n) {
            const int column = panel * WIDTH + n * LANES;
            u32x* to = panels + size_t(panel) * pairs() * VECTORS + n;
            if (column >= p.columns)
                for (int k = 0; k < pairs(); ++k) to[k * VECTORS] = u32x{};
            else if (p.back)
                pack_rows(p.weight + column, to);
            else
                pack_columns(p.weight + size_t(column) * p.inner, to);
        }
    }
    void pack_rows(const float* from, u32x* to) {
        for (int k = 0; k < pairs(); ++k, from += 2 * size_t(p.columns), to += VECTORS)
            *to = paired(to_bf16(load_vector(from)), to_bf16(load_vector(from + p.columns)));
    }
    void pack_columns(const float* from, u32x* to) {
        u32x block[LANES];
        for (int k = 0; k < p.inner; k += 2 * LANES) {
            const bool whole = k + LANES < p.inner;  // inner is a multiple of LANES
            for (int lane = 0; lane < LANES; ++lane) {
                const float* row = from + size_t(lane) * p.inner + k;
                u16x both[2] = {to_bf16(load_vector(row)), u16x{}};
                if (whole) both[1] = to_bf16(load_vector(row + LANES));
                std::memcpy(&block[lane], both, sizeof block[lane]);
            }
            transpose(block);
            for (int pair = 0; pair < (whole ? LANES : LANES / 2); ++pair, to += VECTORS) *to = block[pair];
        }
    }

    void run(int first, int last) {
        for (int panel = first; panel < last; ++panel)
            for (int64_t row = 0; row < p.rows; row += ROWS)
                of_rows<ROWS>(int(std::min<int64_t>(ROWS, p.rows - row)), [&](auto rows) { tile<rows>(row, panel); });
    }
    template <int COUNT> void tile(int64_t row, int panel) {
        f32x sums[COUNT][VECTORS];
        multiply_tile<COUNT, VECTORS>(sums, reinterpret_cast<const uint32_t*>(p.x + row * p.inner), pairs(), 1,
                                      panels + size_t(panel) * pairs() * VECTORS, pairs());
        if (p.hidden) leave<COUNT, true, true>(sums, row, panel * WIDTH);
        else if (p.activated) leave<COUNT, false, true>(sums, row, panel * WIDTH);
        else leave<COUNT, false, false>(sums, row, panel * WIDTH);
    }
    template <int COUNT, bool SLOPES, bool SHARES>
    INLINED void leave(const f32x (&sums)[COUNT][VECTORS], int64_t row, int column) {
        const Linear own = p;  // what is written is not of it
        const int vectors = std::min(VECTORS, (own.columns - column) / LANES);
        for (int m = 0; m < COUNT; ++m)
            for (int n = 0; n < vectors; ++n) {
                const int64_t to = (row + m) * own.columns + column + n * LANES;
                f32x sum = sums[m][n];
                if (own.bias) sum += load_vector(own.bias + column + n * LANES);
                At at;
                if (SLOPES) at = place_of(load_vector(own.hidden + to)), sum *= by_pieces(own.slopes, at);
                const u16x bits = to_bf16(sum);
                if (own.out) std::memcpy(own.out + to, &bits, sizeof bits);
                if (!SHARES) continue;
                if (!SLOPES) at = place_of(from_bf16(bits));  // GELU is that of the rounded number
                if (own.activated) store_vector(own.activated + to, at.x * by_pieces(own.shares, at));
            }
    }
};

// `count` rows from `begin` on.
inline Linear rows_of(Linear p, int64_t begin, int64_t count) {
    const int64_t to = begin * p.columns;
    p.rows = count;
    if (p.x) p.x += begin * p.inner;
    if (p.out) p.out += to;
    if (p.activated) p.activated += to;
    if (p.hidden) p.hidden += to;
    return p;
}

// A product and where its packed weight is.
struct Product {
    Linear p;
    u32x* panels;

    explicit Product(const Linear& p) : p(p), panels(nullptr), of_48(fits_48(p.columns)) {}
    size_t size() const { return size_t(count()) * (p.inner / 2) * (of_48 ? 3 : 4); }
    int count() const { return divided(p.columns, of_48 ? 48 : 64); }
    int tile_rows() const { return of_48 ? TILE_ROWS<3> : TILE_ROWS<4>; }
    void pack(int panel) const {
        if (of_48) LinearWork<3>{p, panels}.pack(panel);
        else LinearWork<4>{p, panels}.pack(panel);
    }
    void run(const Linear& part, int first, int last) const {
        if (of_48) LinearWork<3>{part, panels}.run(first, last);
        else LinearWork<4>{part, panels}.run(first, last);
    }
    bool of_48;
};

// Packs the weights of some products.
template <class... P> static void pack(P&... products) {
    static thread_local Kept<u32x> kept;
    u32x* next = kept.room((products.size() + ...));
    ((products.panels = next, next += products.size()), ...);
    const int threads = (products.p.threads, ...), panels = (products.count() + ...);
    parallel(panels, threads, [&](int panel) {
        (void)((panel < products.count() ? (products.pack(panel), true) : (panel -= products.count(), false)) || ...);
    });
}

// Blocks of whole tiles of rows, of nearly one size, as many for each thread; a block of `columns` bf16 has BLOCK_BYTES.
constexpr int BLOCK_BYTES = 1 << 18;
struct Blocks {
    int64_t rows;
    int tile, count;
    Blocks(int64_t rows, int tile, int columns, int threads) : rows(rows), tile(tile) {
        const int64_t most = std::max<int64_t>(4 * tile, BLOCK_BYTES / 2 / columns);
        count = std::min(padded(divided(rows, most), threads), divided(rows, tile));
    }
    int64_t begin(int block) const { return std::min(int64_t(divided(rows, tile)) * block / count * tile, rows); }
};

static void multiply(const Product& product) {
    const Linear& p = product.p;
    const Blocks blocks(p.rows, product.tile_rows(), p.inner, p.threads);
    const int groups = std::min(product.count(), divided(2 * p.threads, blocks.count));
    parallel(blocks.count * groups, p.threads, [&](int job) {
        const int64_t begin = blocks.begin(job / groups), end = blocks.begin(job / groups + 1);
        const int group = job % groups;
        product.run(rows_of(p, begin, end - begin), product.count() * group / groups, product.count() * (group + 1) / groups);
    });
}

static void linear(const Linear& p) {
    Product product(p);
    pack(product);
    multiply(product);
}
