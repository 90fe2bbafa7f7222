// Attention of regions to listed regions on a CPU, forward and backward. Every sum has a fixed order, whatever the
// number of threads: a region's output and gradients are computed by one job, those of keys through inverse lists.
#include "routed.h"

template <class F> static void each_region(const Routed& p, F work) {
    const int groups = (p.regions() + GROUP - 1) / GROUP;
    parallel(p.batch * p.heads * groups, p.threads, [&](int job) {
        const int first = job % groups * GROUP;
        work(job / groups / p.heads, job / groups % p.heads, first, first + GROUP < p.regions() ? first + GROUP : p.regions());
    });
}

// What a region's queries have seen so far.
template <class C> struct Seen {
    explicit Seen(size_t few, int wide) : out(few * wide), sum(few), most(few), wide(wide) {}
    void start(size_t few) {
        out.clear(few * wide), sum.clear(few);
        std::fill(most.begin(), most.begin() + few, -std::numeric_limits<C>::max());
    }
    Zeros<V<C>> out, sum;
    std::vector<C> most;
    int wide;
};

// Logits of some queries, from `first` on, and of a piece's keys become weights relative to the largest so far.
template <class S, class C> static void join(RoutedWork<S>& work, Seen<C>& seen, int first, int count, int blocks) {
    V<C>* const logits = work.logits.data;
    for (int j = 0; j < count; ++j) {
        V<C> largest = logits[j];
        for (int block = 1; block < blocks; ++block) largest = larger(largest, logits[block * count + j]);
        C& most = seen.most[first + j];
        const C top = larger(most, work.most(largest));
        V<C>& sum = seen.sum.data[first + j];
        if (most < top) {
            V<C> before = V<C>{} + (most - top);
            exp_nonpositive(before);
            sum *= before;
            for (int part = 0; part < seen.wide; ++part) seen.out.data[size_t(first + j) * seen.wide + part] *= before;
            most = top;
        }
        for (int block = 0; block < blocks; ++block) {
            V<C>& weight = logits[block * count + j];
            weight -= top;
            exp_nonpositive(weight);
            sum += weight;
        }
    }
}

template <class S> static void forward(const Routed& p) {
    using C = typename Compute<S>::type;
    each_region(p, [&](int b, int head, int begin, int end) {
        RoutedWork<S> work(p);
        Aligned<C> q(size_t(work.area) * p.depth);
        Seen<C> seen(work.area, work.value_wide);
        for (int region = begin; region < end; ++region) {
            work.at_region(b, head, region);
            for (int i = 0; i < p.listed; ++i)
                if (p.route(b, region)[i] >= 0) add_tokens(p, p.route(b, region)[i], work.many);
            work.read_few(p.q, p.depth, C(p.scale), q.data);
            seen.start(work.few.size());
            work.each_piece([&](const Token* tokens, int here) {
                work.of_keys.read(p.k, b, head, tokens, here);
                work.of_keys.turn(here, C(1));
                work.of_values.read(p.v, b, head, tokens, here);
                work.each_few([&](int first, int count) {
                    work.meet(work.of_keys, q.data + size_t(first) * p.depth, count, vectors(here), work.logits.data);
                    work.hide(work.logits.data, count, here);
                    join(work, seen, first, count, vectors(here));
                    work.gather(work.of_values, work.logits.data, count, here, seen.out.data + size_t(first) * seen.wide);
                });
            });
            for (size_t i = 0; i < work.few.size(); ++i) {
                const C total = work.sum(seen.sum.data[i]), inverse = work.many.empty() ? C(0) : C(1) / total;
                for (int part = 0; part < seen.wide; ++part) seen.out.data[i * seen.wide + part] *= inverse;
                work.stats(work.few[i])[0] = work.many.empty() ? C(0) : seen.most[i];
                work.stats(work.few[i])[1] = inverse;
            }
            work.write_few(p.out, p.value_depth, seen.out.data, C(1));
        }
    });
}

// The gradients of queries, and the sums over the gradient of the output times the output that those of keys need.
template <class S> static void backward_queries(const Routed& p) {
    using C = typename Compute<S>::type;
    each_region(p, [&](int b, int head, int begin, int end) {
        RoutedWork<S> work(p);
        Aligned<C> q(size_t(work.area) * p.depth), g(size_t(work.area) * p.value_depth), o(size_t(work.area) * p.value_depth);
        Zeros<V<C>> dq(size_t(work.area) * work.wide);
        for (int region = begin; region < end; ++region) {
            work.at_region(b, head, region);
            for (int i = 0; i < p.listed; ++i)
                if (p.route(b, region)[i] >= 0) add_tokens(p, p.route(b, region)[i], work.many);
            work.read_few(p.q, p.depth, C(p.scale), q.data);
            work.read_few(p.grad, p.value_depth, C(1), g.data);
            work.read_few(p.out, p.value_depth, C(1), o.data);
            dq.clear(work.few.size() * work.wide);
            for (size_t i = 0; i < work.few.size(); ++i) {
                C delta = 0;
                for (int e = 0; e < p.value_depth; ++e) delta += g.data[i * p.value_depth + e] * o.data[i * p.value_depth + e];
                work.delta(work.few[i]) = delta;
            }
            work.each_piece([&](const Token* tokens, int here) {
                work.of_keys.read(p.k, b, head, tokens, here);
                work.of_keys.turn(here, C(1));
                work.of_values.read(p.v, b, head, tokens, here);
                work.of_values.turn(here, C(1));
                work.each_few([&](int first, int count) {
                    V<C>*const logits = work.logits.data, *const weights = work.weights.data;
                    work.meet(work.of_keys, q.data + size_t(first) * p.depth, count, vectors(here), logits);
                    work.hide(logits, count, here);
                    work.meet(work.of_values, g.data + size_t(first) * p.value_depth, count, vectors(here), weights);
                    for (int j = 0; j < count; ++j) {
                        const Token& token = work.few[first + j];
                        const C top = work.stats(token)[0], inverse = work.stats(token)[1], delta = work.delta(token);
                        for (int i = j; i < vectors(here) * count; i += count) {
                            logits[i] -= top;
                            exp_nonpositive(logits[i]);
                            weights[i] = logits[i] * inverse * (weights[i] - delta);
                        }
                    }
                    work.gather(work.of_keys, weights, count, here, dq.data + size_t(first) * work.wide);
                });
            });
            work.write_few(p.dq, p.depth, dq.data, C(p.scale));
        }
    });
}

// Of the queries of a piece, across lanes: largest logit, 1 / sum, and the sum that backward_queries left.
template <class C> struct Asked {
    V<C> top[PIECE / LANES], inverse[PIECE / LANES], delta[PIECE / LANES];
    template <class W> void read(const W& work, const Token* tokens, int here) {
        for (int i = 0; i < vectors(here) * LANES; ++i) {
            const bool real = i < here;
            top[i / LANES][i % LANES] = real ? work.stats(tokens[i])[0] : std::numeric_limits<C>::max();
            inverse[i / LANES][i % LANES] = real ? work.stats(tokens[i])[1] : C(0);
            delta[i / LANES][i % LANES] = real ? work.delta(tokens[i]) : C(0);
        }
    }
};

template <class S> static void backward_keys(const Routed& p, const std::vector<Inverse>& inverse) {
    using C = typename Compute<S>::type;
    each_region(p, [&](int b, int head, int begin, int end) {
        RoutedWork<S> work(p);
        Aligned<C> k(size_t(work.area) * p.depth), v(size_t(work.area) * p.value_depth);
        Zeros<V<C>> dk(size_t(work.area) * work.wide), dv(size_t(work.area) * work.value_wide);
        Asked<C> asked;
        for (int region = begin; region < end; ++region) {
            work.at_region(b, head, region);
            for (int i = inverse[b].start[region]; i < inverse[b].start[region + 1]; ++i)
                add_tokens(p, inverse[b].named[i], work.many);
            work.read_few(p.k, p.depth, C(1), k.data);
            work.read_few(p.v, p.value_depth, C(1), v.data);
            dk.clear(work.few.size() * work.wide), dv.clear(work.few.size() * work.value_wide);
            work.each_piece([&](const Token* tokens, int here) {
                work.of_keys.read(p.q, b, head, tokens, here);
                work.of_keys.turn(here, C(p.scale));
                work.of_values.read(p.grad, b, head, tokens, here);
                work.of_values.turn(here, C(1));
                asked.read(work, tokens, here);
                work.each_few([&](int first, int count) {
                    V<C>*const logits = work.logits.data, *const weights = work.weights.data;
                    work.meet(work.of_keys, k.data + size_t(first) * p.depth, count, vectors(here), logits);
                    work.meet(work.of_values, v.data + size_t(first) * p.value_depth, count, vectors(here), weights);
                    for (int i = 0; i < vectors(here) * count; ++i) {
                        logits[i] -= asked.top[i / count];
                        exp_nonpositive(logits[i]);
                        logits[i] *= asked.inverse[i / count];
                        weights[i] = logits[i] * (weights[i] - asked.delta[i / count]);
                    }
                    work.gather(work.of_values, logits, count, here, dv.data + size_t(first) * work.value_wide);
                    work.gather(work.of_keys, weights, count, here, dk.data + size_t(first) * work.wide);
                });
            });
            work.write_few(p.dk, p.depth, dk.data, C(p.scale));
            work.write_few(p.dv, p.value_depth, dv.data, C(1));
        }
    });
}

template <class S> static void backward(const Routed& p) {
    std::vector<Inverse> inverse;
    for (int b = 0; b < p.batch; ++b) inverse.emplace_back(p, b);
    backward_queries<S>(p);
    backward_keys<S>(p, inverse);
}

// One library per scalar type: float, double or bf16.
extern "C" {
int visionattn_routed_size() { return sizeof(Routed); }
void visionattn_routed_forward(const Routed* p) { forward<SCALAR>(*p); }
void visionattn_routed_backward(const Routed* p) { backward<SCALAR>(*p); }
}
