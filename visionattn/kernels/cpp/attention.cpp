// Fused window and neighborhood attention on a CPU, forward and backward, from tables that say which tile of queries meets which
// rectangle of keys. A tile's logits never leave the cache. Every sum has a fixed order, whatever the number of threads.
#include "tile.h"

template <class S> static void forward(const Problem& p) {
    using C = typename Compute<S>::type;
    const Additive<C> added(p);
    parallel(p.batch * p.heads * p.rows.tiles, p.threads, [&](int job, int) {
        const int row = job % p.rows.tiles, head = job / p.rows.tiles % p.heads, b = job / p.rows.tiles / p.heads;
        TileWork<S> work(p, b, head);
        for (int col = 0; col < p.cols.tiles; ++col) {
            work.enter(p.rows.tile[row], p.cols.tile[col]);
            for (int block = 0; block < work.blocks; ++block) work.forward(block, added.of(work, head, block));
        }
    });
}

template <class S> static void backward(const Problem& p) {
    using C = typename Compute<S>::type;
    const Additive<C> added(p);
    parallel(p.batch * p.heads, p.threads, [&](int job, int) {
        const int head = job % p.heads, b = job / p.heads;
        TileWork<S> work(p, b, head);
        Gradients<C> grads(p, added.offsets.total());
        for (int row = 0; row < p.rows.tiles; ++row)
            for (int col = 0; col < p.cols.tiles; ++col) {
                work.enter(p.rows.tile[row], p.cols.tile[col]);
                for (int block = 0; block < work.blocks; ++block) {
                    V<C>* bias = p.bias ? grads.bias.data + added.offsets.of(work.y, work.x) + size_t(block) * work.keys : nullptr;
                    work.backward(block, added.of(work, head, block), grads, bias);
                }
            }
        grads.template write<S>(p, added.offsets, b, head);
    });
}

// One library per scalar type: float, double or bf16.
extern "C" {
void visionattn_forward(const Problem* p) { forward<SCALAR>(*p); }
void visionattn_backward(const Problem* p) { backward<SCALAR>(*p); }
}
