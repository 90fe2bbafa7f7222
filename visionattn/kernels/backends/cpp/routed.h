// Attention of the regions of a map to listed regions. A few tokens, of one region, meet many, of the regions that a
// list names: the many lie in lanes, PIECE at a time, so that regions of few tokens fill the vectors as well.
#pragma once
#include "parallel.h"
#include "products.h"
#include "problem.h"

struct Routed {
    int32_t batch, height, width, heads, depth, value_depth, region_rows, region_cols, listed, threads;
    double scale;
    Map q, k, v, out, grad, dq, dk, dv;
    void *routes, *stats, *deltas;  // (B, R, K), int64; (B, H, W, N, 2): largest logit and 1 / sum; (B, H, W, N)

    int rows() const { return (height + region_rows - 1) / region_rows; }
    int cols() const { return (width + region_cols - 1) / region_cols; }
    int regions() const { return rows() * cols(); }
    const int64_t* route(int b, int region) const {
        return static_cast<const int64_t*>(routes) + (int64_t(b) * regions() + region) * listed;
    }
};

constexpr int PIECE = 256, FEW = 32, GROUP = 8;  // many tokens at a time; few tokens at a time; regions of a job

struct Token { int32_t y, x; };

inline void add_tokens(const Routed& p, int64_t region, std::vector<Token>& to) {
    const int y = int(region) / p.cols() * p.region_rows, x = int(region) % p.cols() * p.region_cols;
    const int y_end = y + p.region_rows < p.height ? y + p.region_rows : p.height;
    const int x_end = x + p.region_cols < p.width ? x + p.region_cols : p.width;
    for (int row = y; row < y_end; ++row)
        for (int col = x; col < x_end; ++col) to.push_back({row, col});
}

// Of each region of an image the regions whose lists name it, as often as they do.
struct Inverse {
    Inverse(const Routed& p, int b) : start(p.regions() + 1), named(size_t(p.regions()) * p.listed) {
        const int64_t count = int64_t(p.regions()) * p.listed, *route = p.route(b, 0);
        for (int64_t i = 0; i < count; ++i)
            if (route[i] >= 0) ++start[route[i] + 1];
        for (int region = 0; region < p.regions(); ++region) start[region + 1] += start[region];
        std::vector<int> next(start.begin(), start.end());
        for (int64_t i = 0; i < count; ++i)
            if (route[i] >= 0) named[next[route[i]]++] = int(i / p.listed);
    }
    std::vector<int> start, named;
};

// Rows of numbers, each filled up with zeros to whole vectors; and the same numbers with the rows in lanes.
template <class S> struct Rows {
    using C = typename Compute<S>::type;
    Rows(int depth, int count) : depth(depth), pitch(vectors(depth)), rows(size_t(count) * pitch), lanes(size_t(count) * pitch) {}
    void read(const Map& map, int b, int head, const Token* tokens, int count) {
        for (int i = 0; i < count; ++i) {
            V<C>* row = rows.data + size_t(i) * pitch;
            row[pitch - 1] = V<C>{};
            read_row(at<S>(map, b, tokens[i].y, tokens[i].x, head), depth, C(1), reinterpret_cast<C*>(row));
        }
    }
    void turn(int count, C factor) {
        for (int block = 0; block < vectors(count); ++block) {
            const V<C>* from = rows.data + size_t(block) * LANES * pitch;
            const int here = count - block * LANES < LANES ? count - block * LANES : LANES;
            for (int part = 0; part < pitch; ++part) {
                V<C>* to = of_block(block) + part * LANES;
                for (int lane = 0; lane < LANES; ++lane) to[lane] = lane < here ? from[lane * pitch + part] * factor : V<C>{};
                transpose(to);
            }
        }
    }
    V<C>* of_block(int block) { return lanes.data + size_t(block) * pitch * LANES; }
    int depth, pitch;
    Aligned<V<C>> rows, lanes;
};

template <class S> struct RoutedWork {
    using C = typename Compute<S>::type;
    explicit RoutedWork(const Routed& p)
        : p(p), area(p.region_rows < p.height ? p.region_rows : p.height), wide(vectors(p.depth)),
          value_wide(vectors(p.value_depth)), of_keys(p.depth, PIECE), of_values(p.value_depth, PIECE),
          logits(size_t(FEW) * (PIECE / LANES)), weights(size_t(FEW) * (PIECE / LANES)), place(FEW) {
        area *= p.region_cols < p.width ? p.region_cols : p.width;
        for (int i = 0; i < FEW; ++i) place[i] = i;
    }
    static C* numbers(V<C>* from) { return reinterpret_cast<C*>(from); }
    static C sum(V<C> x) {
        for (int half = LANES / 2; half; half /= 2)
            for (int i = 0; i < half; ++i) x[i] += x[i + half];
        return x[0];
    }
    static C most(V<C> x) {
        for (int half = LANES / 2; half; half /= 2)
            for (int i = 0; i < half; ++i) x[i] = larger(x[i], x[i + half]);
        return x[0];
    }

    void at_region(int image, int of_head, int region) {
        b = image, head = of_head;
        few.clear(), many.clear();
        add_tokens(p, region, few);
    }
    void read_few(const Map& map, int depth, C factor, C* to) const {
        for (const Token& token : few) read_row(at<S>(map, b, token.y, token.x, head), depth, factor, to), to += depth;
    }
    // Rows of whole vectors times factor to the places of the few.
    void write_few(const Map& map, int depth, V<C>* from, C factor) const {
        for (const Token& token : few)
            write_row(numbers(from), depth, factor, at<S>(map, b, token.y, token.x, head)), from += vectors(depth);
    }
    size_t number(const Token& token) const {
        return ((size_t(b) * p.height + token.y) * p.width + token.x) * p.heads + head;
    }
    C* stats(const Token& token) const { return static_cast<C*>(p.stats) + number(token) * 2; }
    C& delta(const Token& token) const { return static_cast<C*>(p.deltas)[number(token)]; }

    // Products of some of the few, `count` rows of numbers, and the many of a piece: (block, few) vectors across lanes.
    void meet(Rows<S>& others, const C* rows, int count, int blocks, V<C>* to) {
        for (int block = 0; block < blocks; ++block)
            times_rows<V<C>, 32>(others.of_block(block), rows, others.depth, count, static_cast<const V<C>*>(nullptr),
                                 to + block * count);
    }
    // Adds the rows of the many, times such products, to rows of the few.
    void gather(Rows<S>& others, V<C>* factors, int count, int here, V<C>* to) {
        for (int block = 0; block < vectors(here); ++block) {
            const int rows = here - block * LANES < LANES ? here - block * LANES : LANES;
            scatter(numbers(factors + block * count), LANES, others.rows.data + size_t(block) * LANES * others.pitch,
                    count, rows, others.pitch, place.data(), to);
        }
    }
    // Lanes beyond the last of `here` tokens count for nothing.
    void hide(V<C>* logits, int count, int here) {
        if (here % LANES == 0) return;
        V<C>* last = logits + here / LANES * count;
        for (int j = 0; j < count; ++j)
            for (int lane = here % LANES; lane < LANES; ++lane) last[j][lane] = -std::numeric_limits<C>::max();
    }
    // Calls visit(first of some few, how many) in turn.
    template <class F> void each_few(F visit) {
        for (int first = 0; first < int(few.size()); first += FEW)
            visit(first, int(few.size()) - first < FEW ? int(few.size()) - first : FEW);
    }
    // Calls visit(tokens, how many) for the pieces of the many.
    template <class F> void each_piece(F visit) {
        for (int first = 0; first < int(many.size()); first += PIECE)
            visit(many.data() + first, int(many.size()) - first < PIECE ? int(many.size()) - first : PIECE);
    }

    const Routed& p;
    int area, b, head, wide, value_wide;
    std::vector<Token> few, many;
    Rows<S> of_keys, of_values;
    Aligned<V<C>> logits, weights;
    std::vector<int> place;
};
