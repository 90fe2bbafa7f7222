// Logits that fall by the distance between a place of the query and one of the key. A place is the sum of the last
// `decay` channels of queries and keys, which the products pass over.
#pragma once
#include "place.h"

template <class S> struct Decay {
    using C = typename Compute<S>::type;
    Decay(const Problem& p, int most_keys) : p(p), first(p.depth - p.decay), keys(p.decay ? most_keys : 0), added(p.decay ? most_keys : 0) {}

    C place(const S* row) const {
        C sum = 0;
        for (int d = first; d < p.depth; ++d) sum += load(row[d]);
        return sum;
    }
    void start() { count = 0; }
    // Keeps the place of the next key, and leaves nothing of it to the products.
    void take_key(const S* from, C* packed) {
        if (!p.decay) return;
        keys[count++] = place(from);
        for (int d = first; d < p.depth; ++d) packed[d] = 0;
    }

    // What a block's logits start from: `start`, which may be null, minus the distances.
    const V<C>* with(const V<C>* start, const Place<S>& at_block) {
        if (!p.decay) return start;
        of_queries = V<C>{};
        for (int lane = 0; lane < at_block.lanes; ++lane)
            of_queries[lane] = place(at<S>(p.q, at_block.b, at_block.rows[lane], at_block.cols[lane], at_block.head));
        for (int i = 0; i < count; ++i) {
            const V<C> apart = of_queries - keys[i];
            added.data[i] = (start ? start[i] : V<C>{}) - (apart < 0 ? -apart : apart);
        }
        return added.data;
    }

    // The rows of queries are about to be added to the keys' gradients.
    void leave_rows(V<C>* rows, int wide, int lanes) const {
        for (int lane = 0; lane < lanes; ++lane)
            for (int d = first; d < p.depth; ++d) reinterpret_cast<C*>(rows + lane * wide)[d] = 0;
    }

    // Writes the gradients of places from those of logits; returns the factor that is left for the queries' gradients.
    C backward(const V<C>* logits, V<C>* to_queries, V<C>* to_keys, const Place<S>& at_block) const {
        if (!p.decay) return C(p.scale);
        V<C> of_query = {};
        for (int i = 0; i < count; ++i) {
            const V<C> apart = of_queries - keys[i], zero = {};
            const V<C> slope = apart > 0 ? logits[i] : (apart < 0 ? -logits[i] : zero);
            of_query -= slope;
            C of_key = 0;
            for (int lane = 0; lane < at_block.lanes; ++lane) of_key += slope[lane];
            C* row = reinterpret_cast<C*>(to_keys + size_t(at_block.place[i]) * at_block.wide);
            for (int d = first; d < p.depth; ++d) row[d] += of_key;
        }
        for (int d = 0; d < first; ++d) to_queries[d] *= C(p.scale);
        for (int d = first; d < p.depth; ++d) to_queries[d] = of_query;
        return C(1);
    }

    const Problem& p;
    int first, count = 0;
    std::vector<C> keys;
    Aligned<V<C>> added;
    V<C> of_queries;
};
