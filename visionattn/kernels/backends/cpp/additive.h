// What is added to the logits.
#pragma once
#include "problem.h"

// Bias and -inf masks laid out as the tiles' logits are: one copy per head with a bias, one for all without.
template <class C> struct Additive {
    explicit Additive(const Problem& p, C unit)
        : unit(unit), heads(p.bias ? p.heads : needed(p) ? 1 : 0), offsets(p, heads > 0), data(offsets.total() * heads) {
        const int pairs = p.rows.shapes * p.cols.shapes;
        parallel(heads * pairs, p.threads, [&](int job) { fill(p, job / pairs, job % pairs); });
    }
    static bool needed(const Problem& p) { return hides(p.rows) || hides(p.cols); }
    static bool hides(const Axis& axis) {
        for (int s = 0; s < axis.shapes; ++s)
            for (int i = 0; i < axis.shape[s].queries; ++i) {
                const int32_t* span = axis.span + axis.shape[s].spans + 2 * i;
                if (span[0] > 0 || span[1] < axis.shape[s].keys) return true;
            }
        return false;
    }
    void fill(const Problem& p, int head, int pair) {
        C* to = reinterpret_cast<C*>(data.data + head * offsets.total() + offsets.first[pair]);
        hide(p, pair, to);
        const int size = p.table_rows * p.table_cols;
        Zeros<C> table(size + LANES);  // backwards: entries lie as the queries do
        const C* from = static_cast<const C*>(p.bias) + size_t(head) * size;
        for (int i = 0; p.bias && i < size; ++i) table.data[i] = from[size - 1 - i] * unit;
        each_run(p, pair, [&](size_t number, int count, int place) {
            copy_some(table.data + size - 1 - place, count, to + number);
        });
    }
    // All queries of a pair of shapes see nothing, missing ones everything.
    void hide(const Problem& p, int pair, C* to) const {
        const Shape &y = p.rows.shape[pair / p.cols.shapes], &x = p.cols.shape[pair % p.cols.shapes];
        const int queries = y.queries * x.queries, keys = y.keys * x.keys;
        for (int block = 0; block < vectors(queries); ++block) {
            V<C> hidden;
            for (int lane = 0; lane < LANES; ++lane)
                hidden[lane] = block * LANES + lane < queries ? -std::numeric_limits<C>::infinity() : C(0);
            for (int key = 0; key < keys; ++key, to += LANES) store_vector<C>(to, hidden);
        }
    }
    template <class W> const V<C>* of(const W& work, int head, int block) const {
        if (!heads) return nullptr;
        const V<C>* of_head = data.data + (heads > 1 ? head : 0) * offsets.total();
        return of_head + offsets.of(work.y, work.x) + size_t(block) * work.keys;
    }
    C unit;  // of logits
    int heads;
    Offsets offsets;
    Aligned<V<C>> data;
};
