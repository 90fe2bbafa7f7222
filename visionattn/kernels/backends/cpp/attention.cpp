// Fused window and neighborhood attention on a CPU, forward and backward, from tables that say which tile of queries
// meets which rectangle of keys. A tile's logits never leave the cache. Every sum has a fixed order, whatever the
// number of threads.
#include "additive.h"
#include "tile.h"
#include "tile_bf16.h"

constexpr int ENOUGH_JOBS = 16;

template <class S> static void forward(const Problem& p) {
    using C = typename Compute<S>::type;
    const Additive<C> added(p, TileWork<S>::UNIT);
    // heads of a token lie side by side: one job takes them together, unless that leaves threads idle
    const int group = p.batch * p.rows.tiles >= 4 * p.threads ? p.heads : 1, groups = p.heads / group;
    parallel(p.batch * p.rows.tiles * groups, p.threads, [&](int job) {
        const int first = job % groups * group, row = job / groups % p.rows.tiles;
        TileWork<S> work(p);
        work.b = job / groups / p.rows.tiles;
        for (int step = 0; step < p.cols.tiles * group; ++step) {
            const int head = first + step % group, next = step + 1;
            if (next < p.cols.tiles * group)
                work.expect(p.rows.tile[row], p.cols.tile[next / group], first + next % group, false);
            work.enter(p.rows.tile[row], p.cols.tile[step / group], head, false);
            for (int block = 0; block < work.blocks; block += work.together)
                work.forward(block, added.of(work, head, block));
        }
    });
}

// A job is `units` units of one or all heads, so that no two jobs add to the same number; what a job is depends on
// the shape alone. Windows: a unit is one row of windows, with all heads, whose tokens lie side by side, where that
// leaves enough jobs. Neighborhoods: a unit is an image.
template <class S> static void backward(const Problem& p) {
    using C = typename Compute<S>::type;
    const Additive<C> added(p, TileWork<S>::UNIT);
    const int height = p.windows ? 1 : p.rows.tiles, units = p.batch * p.rows.tiles / height;
    const int group = p.windows && units >= ENOUGH_JOBS ? p.heads : 1, groups = p.heads / group;
    const int parts = (units + p.units - 1) / p.units, steps = height * p.cols.tiles * group;
    parallel(parts * groups, p.threads, [&](int job) {
        const int first = job % groups * group, part = job / groups;
        Gradients<C> grads(p, added.offsets, first, group);
        TileWork<S> work(p);
        for (int unit = part * p.units; unit < units && unit < (part + 1) * p.units; ++unit) {
            const int top = unit * height % p.rows.tiles, b = unit * height / p.rows.tiles;
            work.b = b;
            for (int step = 0; step < steps; ++step) {
                const int head = first + step % group, tile = step / group, next = step + 1;
                if (next < steps)
                    work.expect(p.rows.tile[top + next / group / p.cols.tiles], p.cols.tile[next / group % p.cols.tiles],
                                first + next % group, true);
                work.enter(p.rows.tile[top + tile / p.cols.tiles], p.cols.tile[tile % p.cols.tiles], head, true);
                for (int block = 0; block < work.blocks; block += work.together)
                    work.backward(block, added.of(work, head, block), grads,
                                  grads.of_bias(work.y, work.x, head, block));
                if (!work.complete) grads.template leave<S>(work.y, work.x, b, head);
            }
            grads.template leave_image<S>(b, first);
        }
        if (p.bias) grads.write_bias(part);
    });
}

// One library per scalar type: float, double or bf16.
extern "C" {
void visionattn_forward(const Problem* p) { forward<SCALAR>(*p); }
int visionattn_problem_size() { return sizeof(Problem); }
void visionattn_backward(const Problem* p) { backward<SCALAR>(*p); }
}
