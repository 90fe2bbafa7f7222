// Two linear layers with a GELU between in bf16, forward and backward. A thread takes some rows through both, so that
// the widest map stays in its L2 cache.
#pragma once
#include "linear.h"
#include "weight_gradient.h"

// x (rows, inputs), hidden (rows, width; null: not asked for), out (rows, outputs); grad and dx are those of out and x.
// `packed` and `packed2` are the weights as `keep` left them (null: neither is kept).
// The backward takes `piece` rows at a time; the gradients are as in WeightGradient, of so many rows each, and added up.
struct FeedForward {
    int64_t rows, piece;
    int32_t inputs, width, outputs, threads, parts, parts2;
    const bf16* x;
    const float *weight, *bias, *weight2, *bias2, *gelu;
    bf16 *hidden, *out;
    const bf16* grad;
    bf16* dx;
    float *dweight, *dbias, *dweight2, *dbias2;
    u32x *packed, *packed2;
};

// Rows through a product and the next one; what lies between is `between` (rows, width), null: not kept.
static void in_turn(const Product& first, const Product& second, bf16* between, bf16* Linear::*written) {
    const int64_t rows = first.p.rows;
    const int width = second.p.inner, threads = first.p.threads;
    auto through = [&](int64_t begin, int64_t count, bf16* to, auto run) {
        Linear one = rows_of(first.p, begin, count), other = rows_of(second.p, begin, count);
        one.*written = to, other.x = to;
        run(first, one), run(second, other);
    };
    if (rows < FEWEST_ROWS * threads) {
        Aligned<bf16> kept(between ? 0 : rows * width);
        return through(0, rows, between ? between : kept.data, [](Product product, const Linear& part) {
            product.p = part;
            multiply(product);
        });
    }
    const Blocks blocks(rows, first.tile_rows(), width, threads);
    parallel(blocks.count, threads, [&](int block) {
        static thread_local Kept<bf16> kept;
        const int64_t begin = blocks.begin(block), count = blocks.begin(block + 1) - begin;
        through(begin, count, between ? between + begin * width : kept.room(count * width),
                [](const Product& product, const Linear& part) { product.run(part, 0, product.count()); });
    });
}

// Whether it was computed: not where a kept weight has changed.
static bool feed_forward(const FeedForward& p) {
    Product first({p.rows, p.inputs, p.width, p.threads, 0, p.x, p.weight, p.bias, p.hidden, nullptr, nullptr, p.gelu, p.packed});
    Product second({p.rows, p.width, p.outputs, p.threads, 0, nullptr, p.weight2, p.bias2, p.out, nullptr, nullptr, nullptr, p.packed2});
    if (p.packed && (changed(first.p) || changed(second.p))) return false;
    pack(first, second);
    in_turn(first, second, nullptr, &Linear::activated);
    return true;
}

static void feed_forward_backward(const FeedForward& p) {
    static thread_local Kept<bf16> kept;
    bf16 *own = kept.room(2 * p.piece * p.width), *activated = own + p.piece * p.width;
    Product second({p.rows, p.outputs, p.width, p.threads, 1, nullptr, p.weight2, nullptr, nullptr, activated,
                    nullptr, p.gelu});
    Product first({p.rows, p.width, p.inputs, p.threads, 1, nullptr, p.weight, nullptr, nullptr});
    pack(second, first);
    for (int64_t begin = 0; begin < p.rows; begin += p.piece) {
        const int64_t rows = std::min(p.piece, p.rows - begin);
        const bf16 *grad = p.grad + begin * p.outputs, *x = p.x + begin * p.inputs;
        second.p.rows = first.p.rows = rows;
        second.p.x = grad, second.p.hidden = p.hidden + begin * p.width, first.p.out = p.dx + begin * p.inputs;
        in_turn(second, first, own, &Linear::out);
        const WeightGradient of_first{rows, p.inputs, p.width, p.threads, p.parts, begin > 0, 0, x, own, p.dweight, p.dbias};
        const WeightGradient of_second{rows,  p.width, p.outputs,   p.threads,  p.parts2, begin > 0, 0,
                                       activated, grad, p.dweight2, p.dbias2};
        const GradientJobs jobs(of_first), jobs2(of_second);
        parallel(jobs.count() + jobs2.count(), p.threads,
                 [&](int job) { job < jobs.count() ? jobs.run(job) : jobs2.run(job - jobs.count()); });
    }
}
