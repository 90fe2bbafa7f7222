// Fused window and neighborhood attention on a CPU, forward and backward, from tables that say which tile of queries meets which
// rectangle of keys. A tile's logits never leave the cache. Every sum has a fixed order, whatever the number of threads.
#include "tile.h"

template <class S> static void forward(const Problem& p) {
    using C = typename Compute<S>::type;
    const Additive<C> added(p);
    // heads of a token lie side by side: one job takes them together, unless that leaves threads idle
    const int group = p.batch * p.rows.tiles >= 4 * p.threads ? p.heads : 1, groups = p.heads / group;
    parallel(p.batch * p.rows.tiles * groups, p.threads, [&](int job) {
        const int first = job % groups * group, row = job / groups % p.rows.tiles;
        TileWork<S> work(p, job / groups / p.rows.tiles);
        for (int step = 0; step < p.cols.tiles * group; ++step) {
            const int head = first + step % group, next = step + 1;
            work.enter(p.rows.tile[row], p.cols.tile[step / group], head);
            if (next < p.cols.tiles * group) work.expect(p.rows.tile[row], p.cols.tile[next / group], first + next % group, false);
            for (int block = 0; block < work.blocks; ++block) work.forward(block, added.of(work, head, block));
        }
    });
}

// A job is one head of `images` images, so that no two jobs add to the same number; `images` depends on the shape alone.
template <class S> static void backward(const Problem& p) {
    using C = typename Compute<S>::type;
    const Additive<C> added(p);
    const int parts = (p.batch + p.images - 1) / p.images, tiles = p.rows.tiles * p.cols.tiles;
    parallel(parts * p.heads, p.threads, [&](int job) {
        const int head = job % p.heads, part = job / p.heads;
        Gradients<C> grads(p, added.offsets);
        for (int b = part * p.images; b < p.batch && b < (part + 1) * p.images; ++b) {
            TileWork<S> work(p, b);
            for (int tile = 0; tile < tiles; ++tile) {
                const int next = tile + 1;
                work.enter(p.rows.tile[tile / p.cols.tiles], p.cols.tile[tile % p.cols.tiles], head);
                if (next < tiles) work.expect(p.rows.tile[next / p.cols.tiles], p.cols.tile[next % p.cols.tiles], head, true);
                for (int block = 0; block < work.blocks; ++block) {
                    V<C>* bias = p.bias ? grads.bias.data + added.offsets.of(work.y, work.x) + size_t(block) * work.keys : nullptr;
                    work.backward(block, added.of(work, head, block), grads, bias);
                }
                grads.template leave<S>(work.y, work.x, b, head);
            }
            grads.template leave_image<S>(b, head);
        }
        if (p.bias) grads.write_bias(part, head);
    });
}

// One library per scalar type: float, double or bf16.
extern "C" {
void visionattn_forward(const Problem* p) { forward<SCALAR>(*p); }
void visionattn_backward(const Problem* p) { backward<SCALAR>(*p); }
}
