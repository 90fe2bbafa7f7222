// Linear layers in bf16 with float32 weights, forward and the gradient of their input, with GELU or its slope.
#pragma once
#include "problem.h"
#include "gelu.h"
#include "gemm.h"

// out (rows, columns) = x (rows, inner) times the weight; float32, (columns, inner), or (inner, columns) if `back`.
// bias (columns) is added, null: none. `activated` takes GELU of `out`, which then may be null; or, if `hidden` is not
// null, GELU of that, and out is multiplied by GELU's slope there. Null: neither. `gelu` is the table of gelu.h. inner and
// columns are multiples of LANES. `packed` is the weight as `keep` left it, null: it is packed for this product.
struct Linear {
    int64_t rows;
    int32_t inner, columns, threads, back;
    const bf16* x;
    const float *weight, *bias;
    bf16 *out, *activated;
    const bf16* hidden;
    const float* gelu;
    u32x* packed;
};

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

    const u32x* panel_at(int panel) const { return panels + size_t(panel) * pairs() * VECTORS; }
    // While a panel is multiplied with all rows, the next one is asked for.
    void run(int first, int last) {
        const int64_t bytes = sizeof(u32x) * VECTORS * pairs(), tiles = divided(p.rows, ROWS);
        for (int panel = first; panel < last; ++panel) {
            const char* next = reinterpret_cast<const char*>(panel_at(panel + 1 < last ? panel + 1 : panel));
            for (int64_t row = 0; row < p.rows; row += ROWS)
                of_rows<ROWS>(int(std::min<int64_t>(ROWS, p.rows - row)), [&](auto rows) {
                    tile<rows>(row, panel, {next + bytes * (row / ROWS) / tiles, std::ptrdiff_t(sizeof(u32x) * VECTORS / tiles)});
                });
        }
    }
    template <int COUNT> void tile(int64_t row, int panel, Ahead ahead) {
        f32x sums[COUNT][VECTORS];
        if (p.hidden) ask<COUNT, 0>(p.hidden, row, panel * WIDTH);
        if (p.activated) ask<COUNT, 1>(p.activated, row, panel * WIDTH);
        if (p.out) ask<COUNT, 1>(p.out, row, panel * WIDTH);
        multiply_tile<COUNT, VECTORS>(sums, reinterpret_cast<const uint32_t*>(p.x + row * p.inner), pairs(), 1,
                                      panel_at(panel), pairs(), VECTORS, ahead);
        if (p.hidden) leave_with_gelu<COUNT, true>(sums, row, panel * WIDTH);
        else if (p.activated) leave_with_gelu<COUNT, false>(sums, row, panel * WIDTH);
        else leave(COUNT, row, panel * WIDTH, [&](int m, int n, int64_t, const f32x& bias) { return sums[m][n] + bias; });
    }
    // Asks for a tile of a map that is read or written after the product.
    template <int COUNT, int WRITE> INLINED void ask(const bf16* map, int64_t row, int column) const {
        for (int m = 0; m < COUNT; ++m)
            for (int c = 0; c < WIDTH; c += 32) __builtin_prefetch(map + (row + m) * p.columns + column + c, WRITE);
    }
    template <int COUNT, bool SLOPE>
    INLINED void leave_with_gelu(const f32x (&sums)[COUNT][VECTORS], int64_t row, int column) {
        const Gelu gelu(p.gelu);
        const bf16* hidden = p.hidden;
        bf16* activated = p.activated;
        leave(COUNT, row, column, [&](int m, int n, int64_t to, const f32x& bias) {
            const f32x sum = sums[m][n] + bias;
            f32x slope, value = gelu.of<SLOPE>(SLOPE ? load_vector(hidden + to) : from_bf16(to_bf16(sum)), slope);
            if (activated) store_vector(activated + to, value);
            return SLOPE ? sum * slope : sum;
        });
    }
    // Writes find(row of the tile, vector, place in `out`, bias).
    template <class F> INLINED void leave(int count, int64_t row, int column, F find) {
        const float* bias = p.bias ? p.bias + column : nullptr;
        bf16* out = p.out;
        const int64_t columns = p.columns;
        const int vectors = std::min(VECTORS, (p.columns - column) / LANES);
        for (int n = 0; n < vectors; ++n, column += LANES) {
            const f32x added = bias ? load_vector(bias + n * LANES) : f32x{};
            for (int m = 0; m < count; ++m) {
                const int64_t to = (row + m) * columns + column;
                const f32x found = find(m, n, to, added);
                if (out) store_vector(out + to, found);
            }
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

    explicit Product(const Linear& p) : p(p), panels(p.packed), of_48(fits_48(p.columns)) {}
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

// Packs the weights of some products, unless they are.
template <class... P> static void pack(P&... products) {
    if ((products.panels && ...)) return;
    static thread_local Kept<u32x> kept;
    u32x* next = kept.room((products.size() + ...));
    ((products.panels = next, next += products.size()), ...);
    const int threads = (products.p.threads, ...), panels = (products.count() + ...);
    parallel(panels, threads, [&](int panel) {
        (void)((panel < products.count() ? (products.pack(panel), true) : (panel -= products.count(), false)) || ...);
    });
}

// Calls visit(i, a number of the weight) for samples begin <= i < end, of which each row and column has one at least.
inline int samples(const Linear& p) { return std::max(p.inner, p.columns); }
template <class F> INLINED void each_sample(const Linear& p, int begin, int end, F visit) {
    for (int i = begin, row = begin % p.columns, column = begin % p.inner; i < end; ++i) {
        visit(i, p.weight[size_t(row) * p.inner + column]);
        if (++row == p.columns) row = 0;
        if (++column == p.inner) column = 0;
    }
}
// How many numbers `packed` has room for, and what it holds: the panels, and samples of the weight.
inline int64_t room(const Linear& p) { return Product(p).size() * LANES + samples(p); }
static void keep(const Linear& p) {
    const Product product(p);
    float* to = reinterpret_cast<float*>(product.panels + product.size());
    parallel(product.count(), p.threads, [&](int panel) { product.pack(panel); });
    each_sample(p, 0, samples(p), [&](int i, float number) { to[i] = number; });
}
// Whether the weight is another one than was kept, by its samples. They lie apart in memory, so threads share them.
static bool changed(const Linear& p) {
    const float* kept = reinterpret_cast<const float*>(p.packed + Product(p).size());
    const int count = samples(p), jobs = std::min(p.threads, divided(count, 256));
    std::atomic<bool> found{false};
    parallel(jobs, p.threads, [&](int job) {
        bool other = false;
        each_sample(p, count * job / jobs, count * (job + 1) / jobs, [&](int i, float number) { other |= !(kept[i] == number); });
        if (other) found = true;
    });
    return found;
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

constexpr int FEWEST_ROWS = 64;  // of a thread; with fewer, threads share the columns

static void multiply(const Product& product) {
    const Linear& p = product.p;
    const int sharing = p.rows < FEWEST_ROWS * p.threads ? 1 : p.threads;
    const Blocks blocks(p.rows, product.tile_rows(), p.inner, sharing);
    const int groups = std::min(product.count(), divided(4 * p.threads, blocks.count));
    parallel(blocks.count * groups, p.threads, [&](int job) {
        const int64_t begin = blocks.begin(job / groups), end = blocks.begin(job / groups + 1);
        const int group = job % groups;
        product.run(rows_of(p, begin, end - begin), product.count() * group / groups, product.count() * (group + 1) / groups);
    });
}

// Whether it was computed: not where a kept weight has changed.
static bool linear(const Linear& p) {
    if (p.packed && changed(p)) return false;
    Product product(p);
    pack(product);
    multiply(product);
    return true;
}
