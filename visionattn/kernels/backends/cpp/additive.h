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
        const C* table = static_cast<const C*>(p.bias) + size_t(p.bias ? head : 0) * p.table_rows * p.table_cols;
        offsets.each(pair, [&](size_t i, int32_t index) {  // the table may have no entry for what is hidden
            to[i] = index == Places::HIDDEN ? -std::numeric_limits<C>::infinity() : !p.bias || index < 0 ? C(0) : table[index] * unit;
        });
    }
    template <class W> const V<C>* of(const W& work, int head, int block) const {
        if (!heads) return nullptr;
        const V<C>* of_head = data.data + (heads > 1 ? head : 0) * offsets.total();
        return of_head + offsets.of(work.y, work.x) + size_t(block) * work.keys;
    }
    C unit;  // of logits
    int heads;
    Places offsets;
    Aligned<V<C>> data;
};
