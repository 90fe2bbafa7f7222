// Attention of tokens on a CPU, forward and backward. Every sum has a fixed order, whatever the number of threads.
#include "tokens.h"

// A job is some blocks of queries of one image and head.
template <class S> static void forward(const Tokens& p) {
    using C = typename Compute<S>::type;
    const int blocks = vectors(p.queries), groups = (blocks + BLOCKS - 1) / BLOCKS;
    parallel(p.batch * p.heads * groups, p.threads, [&](int job) {
        const int from = job % groups * BLOCKS, head = job / groups % p.heads, b = job / groups / p.heads;
        const int count = blocks - from < BLOCKS ? blocks - from : BLOCKS;
        TokenWork<S> work(p);
        const int wide = work.wide * LANES, value_wide = work.value_wide * LANES;
        Aligned<C> keys(size_t(PIECE) * p.depth), values(size_t(PIECE) * p.value_depth);
        Aligned<V<C>> q(size_t(count) * wide), out(size_t(count) * value_wide), sum(count), most(count);
        for (int key = 0; key < p.keys; key += PIECE) {
            const int here = p.keys - key < PIECE ? p.keys - key : PIECE;
            pack<S>(p.k, b, head, key, here, p.depth, keys.data);
            pack<S>(p.v, b, head, key, here, p.value_depth, values.data);
            for (int block = 0; block < count; ++block) {
                V<C>* asked = q.data + size_t(block) * wide;
                work.at_block(b, head, from + block);
                if (!key) work.read(p.q, p.depth, C(p.scale), work.x_rows, asked);
                work.meet(asked, keys.data, values.data, key, here, out.data + size_t(block) * value_wide,
                          sum.data[block], most.data[block]);
            }
        }
        for (int block = 0; block < count; ++block) {
            work.at_block(b, head, from + block);
            work.finish(out.data + size_t(block) * value_wide, sum.data[block], most.data[block]);
        }
    });
}

// Keys and values of one image and head, packed, and their gradients as padded rows.
template <class S> struct TokenKeys {
    using C = typename Compute<S>::type;
    explicit TokenKeys(const Tokens& p)
        : p(p), k(size_t(p.keys) * p.depth), v(size_t(p.keys) * p.value_depth),
          dk(size_t(p.keys) * vectors(p.depth)), dv(size_t(p.keys) * vectors(p.value_depth)) {}
    void enter(int b, int head) {
        pack<S>(p.k, b, head, 0, p.keys, p.depth, k.data);
        pack<S>(p.v, b, head, 0, p.keys, p.value_depth, v.data);
        dk.clear(size_t(p.keys) * vectors(p.depth));
        dv.clear(size_t(p.keys) * vectors(p.value_depth));
    }
    void leave(int b, int head) const {
        const int wide = vectors(p.depth), value_wide = vectors(p.value_depth);
        for (int i = 0; i < p.keys; ++i) {
            write_row(TokenWork<S>::numbers(dk.data + size_t(i) * wide), p.depth, C(1), row_of<S>(p.dk, b, i, head));
            write_row(TokenWork<S>::numbers(dv.data + size_t(i) * value_wide), p.value_depth, C(1),
                      row_of<S>(p.dv, b, i, head));
        }
    }
    const Tokens& p;
    Aligned<C> k, v;
    Zeros<V<C>> dk, dv;
};

// The gradients that one block of queries gives and gets. dbias may be null.
template <class S, class C> static void backward_block(const Tokens& p, TokenWork<S>& work, TokenKeys<S>& keys, C* dbias) {
    work.read(p.q, p.depth, C(p.scale), work.x_rows, work.x.data);
    work.read(p.out, p.value_depth, C(1), work.g_rows, work.o.data);
    work.read(p.grad, p.value_depth, C(1), work.g_rows, work.g.data);
    const V<C> delta = sum_of<C>(p.value_depth, [&](int e) { return work.g.data[e] * work.o.data[e]; });
    V<C> base = {}, inverse = {};
    for (int lane = 0; lane < work.lanes; ++lane) base[lane] = work.stats(lane)[0], inverse[lane] = work.stats(lane)[1];
    V<C>*const logits = work.logits.data, *const weights = work.weights.data;
    Zeros<V<C>> dq(size_t(LANES) * work.wide);
    Aligned<V<C>> part(size_t(LANES) * work.wide);
    for (int key = 0; key < p.keys; key += PIECE) {
        const int here = p.keys - key < PIECE ? p.keys - key : PIECE;
        const C *k = keys.k.data + size_t(key) * p.depth, *v = keys.v.data + size_t(key) * p.value_depth;
        times_rows<V<C>, 32>(work.x.data, k, p.depth, here, work.bias_of(key, here), logits);
        for (int i = 0; i < here; ++i) {
            logits[i] -= base;
            exp_nonpositive(logits[i]);
            logits[i] *= inverse;
        }
        scatter(work.numbers(logits), LANES, work.g_rows.data, here, work.lanes, work.value_wide, work.place.data(),
                keys.dv.data + size_t(key) * work.value_wide);
        times_rows<V<C>, 32>(work.g.data, v, p.value_depth, here, static_cast<const V<C>*>(nullptr), weights);
        for (int i = 0; i < here; ++i) weights[i] = logits[i] * (weights[i] - delta);
        if (dbias) work.add_bias(dbias, key, here);
        scatter(work.numbers(weights), LANES, work.x_rows.data, here, work.lanes, work.wide, work.place.data(),
                keys.dk.data + size_t(key) * work.wide);
        times_columns<V<C>>(weights, k, p.depth, here, part.data);
        for (int d = 0; d < p.depth; ++d) dq.data[d] += part.data[d];
    }
    work.write(p.dq, p.depth, dq.data, C(p.scale));
}

// A job is one head of some images, whose bias gradients it sums in turn; what a job is depends on the shape alone.
template <class S> static void backward(const Tokens& p) {
    using C = typename Compute<S>::type;
    const size_t table = size_t(p.heads) * p.queries * p.keys;
    parallel(p.parts * p.heads, p.threads, [&](int job) {
        const int head = job % p.heads, part = job / p.heads;
        C* dbias = p.dbias ? static_cast<C*>(p.dbias) + part * table : nullptr;
        TokenWork<S> work(p);
        TokenKeys<S> keys(p);
        for (int b = part * p.batch / p.parts; b < (part + 1) * p.batch / p.parts; ++b) {
            keys.enter(b, head);
            for (int block = 0; block < vectors(p.queries); ++block) {
                work.at_block(b, head, block);
                backward_block<S, C>(p, work, keys, dbias);
            }
            keys.leave(b, head);
        }
    });
}

// One library per scalar type: float, double or bf16.
extern "C" {
int visionattn_tokens_size() { return sizeof(Tokens); }
void visionattn_tokens_forward(const Tokens* p) { forward<SCALAR>(*p); }
void visionattn_tokens_backward(const Tokens* p) { backward<SCALAR>(*p); }
}
