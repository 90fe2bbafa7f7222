// The attention of one tile of one image and head: up to LANES queries at a time against the tile's keys.
#pragma once
#include "decay.h"
#include "place.h"
#include "products.h"

template <class S> struct TileWork : Place<S> {
    using typename Place<S>::C;
    using Place<S>::p, Place<S>::wide, Place<S>::value_wide, Place<S>::most_keys, Place<S>::keys, Place<S>::lanes;
    using Place<S>::place, Place<S>::rows, Place<S>::cols, Place<S>::b, Place<S>::head;
    static constexpr C UNIT = 1;        // of logits
    static constexpr int together = 1;  // blocks of queries at once
    static constexpr bool complete = false;  // whether gradients of keys have been written
    explicit TileWork(const Problem& p)
        : Place<S>(p), key(vectors(most_keys * p.depth) + 1), value(vectors(most_keys * p.value_depth) + 1),
          logits(most_keys), weights(most_keys), decay(p, most_keys), q_rows(LANES * wide), q(LANES * wide), o(LANES * value_wide),
          g_rows(LANES * value_wide), g(LANES * value_wide) {}

    // Packs the tile's keys and values.
    void enter(const Tile& rows, const Tile& cols, int of_head, bool) {
        decay.start();
        C *to_key = reinterpret_cast<C*>(key.data), *to_value = reinterpret_cast<C*>(value.data);
        this->go(rows, cols, of_head, [&](const S* from_key, const S* from_value) {
            read_row(from_key, p.depth, C(1), to_key);
            decay.take_key(from_key, to_key);
            read_row(from_value, p.value_depth, C(1), to_value);
            to_key += p.depth, to_value += p.value_depth;
        });
    }

    void forward(int block, const V<C>* added) {
        this->locate(block);
        read(p.q, p.depth, C(p.scale), q_rows, q);
        times_rows<V<C>, 32>(q.data, numbers(key), p.depth, keys, decay.with(added, *this), logits.data);
        V<C> most = logits.data[0];
        for (int i = 1; i < keys; ++i) most = larger(most, logits.data[i]);
        for (int i = 0; i < keys; ++i) {
            logits.data[i] -= most;
            exp_nonpositive(logits.data[i]);
        }
        const V<C> inverse = C(1) / sum_of<C>(keys, [&](int i) { return logits.data[i]; });
        times_columns<V<C>>(logits.data, numbers(value), p.value_depth, keys, o.data);
        for (int e = 0; e < p.value_depth; ++e) o.data[e] *= inverse;
        this->write(p.out, p.value_depth, o, C(1));
        for (int lane = 0; lane < lanes; ++lane) {
            C* to = this->stats(lane);
            to[0] = most[lane], to[1] = inverse[lane];
        }
    }

    void backward(int block, const V<C>* added, Gradients<C>& grads, V<C>* bias) {
        this->locate(block);
        read(p.q, p.depth, C(p.scale), q_rows, q);
        read(p.grad, p.value_depth, C(1), g_rows, g);
        V<C> most = {}, inverse = {};
        for (int lane = 0; lane < lanes; ++lane) most[lane] = this->stats(lane)[0], inverse[lane] = this->stats(lane)[1];
        times_rows<V<C>, 32>(q.data, numbers(key), p.depth, keys, decay.with(added, *this), logits.data);
        for (int i = 0; i < keys; ++i) {
            logits.data[i] -= most;
            exp_nonpositive(logits.data[i]);
            logits.data[i] *= inverse;
        }
        scatter(numbers(logits), LANES, g_rows.data, keys, lanes, value_wide, place.data(), grads.v.data);
        times_rows<V<C>, 32>(g.data, numbers(value), p.value_depth, keys, nullptr, weights.data);
        const V<C> delta = sum_of<C>(keys, [&](int i) { return logits.data[i] * weights.data[i]; });
        for (int i = 0; i < keys; ++i) weights.data[i] = logits.data[i] * (weights.data[i] - delta);
        if (bias)
            for (int i = 0; i < keys; ++i) bias[i] += weights.data[i];
        decay.leave_rows(q_rows.data, wide, lanes);
        scatter(numbers(weights), LANES, q_rows.data, keys, lanes, wide, place.data(), grads.k.data);
        times_columns<V<C>>(weights.data, numbers(key), p.depth, keys, q.data);
        this->write(p.dq, p.depth, q, decay.backward(weights.data, q.data, grads.k.data, *this));
    }

    static const C* numbers(const Aligned<V<C>>& from) { return reinterpret_cast<const C*>(from.data); }

    // The block's queries times factor: as rows padded with zeros, and across lanes. Missing lanes are zero.
    void read(const Map& map, int depth, C factor, Aligned<V<C>>& by_row, Aligned<V<C>>& by_lane) {
        const int pitch = vectors(depth);
        for (int i = depth % LANES ? 0 : lanes * pitch; i < LANES * pitch; ++i) by_row.data[i] = V<C>{};
        for (int lane = 0; lane < lanes; ++lane)
            read_row(at<S>(map, b, rows[lane], cols[lane], head), depth, factor,
                     reinterpret_cast<C*>(by_row.data + lane * pitch));
        for (int part = 0; part < pitch; ++part) {
            V<C>* to = by_lane.data + part * LANES;
            for (int lane = 0; lane < LANES; ++lane) to[lane] = by_row.data[lane * pitch + part];
            transpose(to);
        }
    }

    Aligned<V<C>> key, value, logits, weights;
    Decay<S> decay;
    Aligned<V<C>> q_rows, q, o, g_rows, g;
};
