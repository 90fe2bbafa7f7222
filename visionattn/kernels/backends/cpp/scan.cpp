// Selective scan of a map on a CPU, forward and backward. A job is LANES channels of one image: every sum has a fixed
// order, whatever the number of threads.
#include "scan.h"

constexpr int SPAN = 32;  // tokens whose steps are computed before their states: short loops overlap better
constexpr int AHEAD = 16;  // tokens: along columns, and past other channels, the CPU does not see by itself what comes

// What a forward knows of some tokens of a line.
template <class C> struct Span {
    explicit Span(int states) : step(SPAN), added(SPAN), h(states) {}
    Aligned<V<C>> step, added, h;
};

// One direction, line by line of the map; its output is added to `sum`, a vector per token.
template <class S, int STATES, class C> static void forward_way(const Line<S, STATES>& line, V<C>* sum, Span<C>& span) {
    const Scan& p = line.p;
    const int states = line.states, tokens = p.tokens(), chunk = p.chunk, width = p.width;
    const Walk first(p, line.way, 0);
    const int64_t of_x = first.pace(p.x), of_delta = first.pace(p.delta), of_b = first.pace(p.b), of_c = first.pace(p.c);
    const int64_t of_sum = (first.columns ? width : 1) * (first.back ? -1 : 1);
    V<C>* h = span.h.data;
    for (int s = 0; s < states; ++s) h[s] = V<C>{};
    for (int begin = 0, kept = 0, until = 0; begin < tokens; begin += first.along) {
        const Walk walk(p, line.way, begin);
        const int row = walk.row(), col = walk.col();
        const S *x = line.at(p.x, row, col), *delta = line.at(p.delta, row, col);
        const S *b = line.at(p.b, row, col), *c = line.at(p.c, row, col);
        V<C>* to = sum + row * width + col;
        const Walk next(p, line.way, begin + first.along < tokens ? begin + first.along : begin);
        const S *next_x = line.at(p.x, next.row(), next.col()), *next_delta = line.at(p.delta, next.row(), next.col());
        for (int from = 0; from < first.along; from += SPAN) {
            const int count = first.along - from < SPAN ? first.along - from : SPAN;
            for (int i = 0; i < count; ++i, x += of_x, delta += of_delta) {
                V<C> step, z;
                const int over = from + i + AHEAD - first.along;  // tokens past the end of the line
                __builtin_prefetch((over < 0 ? delta + AHEAD * of_delta : next_delta + over * of_delta) + line.first);
                __builtin_prefetch((over < 0 ? x + AHEAD * of_x : next_x + over * of_x) + line.first);
                softplus(line.numbers(delta), step, z);
                span.step.data[i] = step, span.added.data[i] = step * line.numbers(x);
            }
            for (int i = 0; i < count; ++i, b += of_b, c += of_c, to += of_sum) {
                if (until-- == 0) {
                    for (int s = 0; s < states; ++s) line.put(line.start(kept, s), h[s]);
                    ++kept, until = chunk - 1;
                }
                const V<C> step = span.step.data[i], added = span.added.data[i];
                V<C> y = {};
                for (int s = 0; s < states; ++s) {
                    const V<C> decay = exp2_nonpositive(step * line.binary.data[s], 1);
                    h[s] = decay * h[s] + added * load(b[s]);
                    y += h[s] * load(c[s]);
                }
                *to += y;
            }
        }
    }
}

// Calls scan(line, sum) for every image, block of channels and direction, and writes the sums over directions to `to`.
// A job has all directions or, where the jobs would leave threads idle, one of them: the sums are the same.
template <class S, int STATES, class F> static void over_ways(const Scan& p, const Field& to, F scan) {
    using C = typename Compute<S>::type;
    const int whole = p.batch * p.blocks(), tokens = p.tokens(), parts = p.apart() ? p.ways : 1;
    Aligned<V<C>> apart(parts > 1 ? size_t(whole) * parts * tokens : 0);
    parallel(whole * parts, p.threads, [&](int job) {
        Line<S, STATES> line(p, job / parts / p.blocks(), job / parts % p.blocks());
        Aligned<V<C>> own(parts > 1 ? 0 : tokens);
        V<C>* sum = parts > 1 ? apart.data + size_t(job) * tokens : own.data;
        for (int token = 0; token < tokens; ++token) sum[token] = V<C>{};
        for (int way = parts > 1 ? job % parts : 0, last = parts > 1 ? way : p.ways - 1; way <= last; ++way) {
            line.enter(way);
            scan(line, sum);
        }
        if (parts == 1) line.put_map(to, sum, 1);
    });
    if (parts > 1)
        parallel(whole, p.threads, [&](int job) {
            const Line<S, STATES> line(p, job / p.blocks(), job % p.blocks());
            line.put_map(to, apart.data + size_t(job) * parts * tokens, parts);
        });
}

template <class S, int STATES> static void forward(const Scan& p) {
    using C = typename Compute<S>::type;
    over_ways<S, STATES>(p, p.out, [&](const Line<S, STATES>& line, V<C>* sum) {
        Span<C> span(line.states);
        forward_way<S, STATES, C>(line, sum, span);
    });
}

// What a backward keeps of one chunk: per token, the numbers of the forward, and products to be summed over channels.
template <class C> struct ChunkWork {
    ChunkWork(const Scan& p)
        : step(p.chunk), slope(p.chunk), x(p.chunk), decay(p.chunk * p.states), h((p.chunk + 1) * p.states),
          of_b(p.chunk * p.states + LANES), of_c(p.chunk * p.states + LANES), dh(p.states), da(p.states) {}
    Aligned<V<C>> step, slope, x, decay, h, of_b, of_c, dh, da;
};

// The states of a chunk once more, from the one that was kept at its start.
template <class S, int STATES, class C>
static void recompute(const Line<S, STATES>& line, ChunkWork<C>& work, int chunk, int count) {
    const Scan& p = line.p;
    const int states = line.states;
    Walk walk(p, line.way, chunk * p.chunk);
    for (int t = 0; t < count; ++t, walk.step(true)) {
        const int row = walk.row(), col = walk.col();
        const V<C> raw = line.numbers(line.at(p.delta, row, col));
        V<C> z;
        softplus(raw, work.step.data[t], z);
        work.slope.data[t] = slope_of_softplus(raw, z);
        work.x.data[t] = line.numbers(line.at(p.x, row, col));
    }
    walk = Walk(p, line.way, chunk * p.chunk);
    for (int s = 0; s < states; ++s) work.h.data[s] = line.numbers(line.start(chunk, s));
    for (int t = 0; t < count; ++t, walk.step(true)) {
        const V<C> step = work.step.data[t], added = step * work.x.data[t];
        const S* b = line.at(p.b, walk.row(), walk.col());
        for (int s = 0; s < states; ++s) {
            const V<C> decay = exp2_nonpositive(step * line.binary.data[s], 1);
            work.decay.data[t * states + s] = decay;
            work.h.data[(t + 1) * states + s] = decay * work.h.data[t * states + s] + added * load(b[s]);
        }
    }
}

// Sums over channels of the products of a chunk, to their tokens' places.
template <class S, int STATES, class C>
static void add_up(const Line<S, STATES>& line, V<C>* products, void* to, int chunk, int count) {
    const int states = line.states, total = count * states;
    for (int i = total; i % LANES; ++i) products[i] = V<C>{};
    Walk walk(line.p, line.way, chunk * line.p.chunk);
    for (int from = 0, s = 0; from < total; from += LANES) {
        transpose(products + from);
        V<C> sums = products[from];
        for (int i = 1; i < LANES; ++i) sums += products[from + i];
        for (int i = 0; i < LANES && from + i < total; ++i) {
            line.of_states(to, walk.row(), walk.col())[s] = sums[i];
            if (++s == states) s = 0, walk.step(true);
        }
    }
}

template <class S, int STATES, class C>
static void backward_chunk(const Line<S, STATES>& line, ChunkWork<C>& work, int chunk, V<C>* dx) {
    const Scan& p = line.p;
    const int states = line.states, begin = chunk * p.chunk;
    const int count = p.tokens() - begin < p.chunk ? p.tokens() - begin : p.chunk;
    recompute(line, work, chunk, count);
    Walk walk(p, line.way, begin + count - 1);
    for (int t = count - 1; t >= 0; --t, walk.step(false)) {
        const int row = walk.row(), col = walk.col();
        const S *b = line.at(p.b, row, col), *c = line.at(p.c, row, col);
        const V<C> grad = line.numbers(line.at(p.grad, row, col));
        const V<C> step = work.step.data[t], x = work.x.data[t], added = step * x;
        V<C> of_added = {}, of_step = {}, of_x = {};  // of_x is a sum: a fused product would differ as jobs do
        for (int s = 0; s < states; ++s) {
            const int at = t * states + s;
            const V<C> decay = work.decay.data[at], dh = work.dh.data[s] + grad * load(c[s]);
            const V<C> of_log = dh * work.h.data[at] * decay;
            work.of_c.data[at] = work.h.data[at + states] * grad;
            work.of_b.data[at] = dh * added;
            of_added += dh * load(b[s]);
            of_x += dh * (step * load(b[s]));
            of_step += of_log * line.a.data[s];
            work.da.data[s] += of_log * step;
            work.dh.data[s] = dh * decay;
        }
        dx[row * p.width + col] += of_x;
        line.put(line.at(p.ddelta, row, col), (of_step + of_added * x) * work.slope.data[t]);
    }
    add_up<S, STATES, C>(line, work.of_b.data, p.db, chunk, count);
    add_up<S, STATES, C>(line, work.of_c.data, p.dc, chunk, count);
}

template <class S, int STATES> static void backward(const Scan& p) {
    using C = typename Compute<S>::type;
    over_ways<S, STATES>(p, p.dx, [&](const Line<S, STATES>& line, V<C>* dx) {
        ChunkWork<C> work(p);
        for (int s = 0; s < line.states; ++s) work.dh.data[s] = work.da.data[s] = V<C>{};
        for (int chunk = p.chunks() - 1; chunk >= 0; --chunk) backward_chunk(line, work, chunk, dx);
        C* da = static_cast<C*>(p.da) + (int64_t(line.image) * p.ways + line.way) * line.states * p.channels;
        for (int s = 0; s < line.states; ++s) line.put(da + int64_t(s) * p.channels, work.da.data[s]);
    });
}

// One library per scalar type: float, double or bf16.
extern "C" {
int visionattn_scan_size() { return sizeof(Scan); }
void visionattn_scan_forward(const Scan* p) { p->states == 1 ? forward<SCALAR, 1>(*p) : forward<SCALAR, 0>(*p); }
void visionattn_scan_backward(const Scan* p) { p->states == 1 ? backward<SCALAR, 1>(*p) : backward<SCALAR, 0>(*p); }
}
