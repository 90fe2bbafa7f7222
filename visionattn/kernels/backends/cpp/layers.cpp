// What surrounds attention, in bf16: functions of single numbers by a table, strided depthwise convolutions,
// squeeze-and-excitation, layer norms.
#include "depthwise.h"
#include "feed_forward.h"
#include "gate.h"
#include "layer_norm.h"

constexpr int64_t CHUNK = 1 << 14;

template <class F> static void each_chunk(int64_t count, int threads, F work) {
    parallel(int((count + CHUNK - 1) / CHUNK), threads, [&](int job) {
        const int64_t first = job * CHUNK;
        work(first, first + CHUNK < count ? first + CHUNK : count);
    });
}

extern "C" {
// to[i] = table[bits of x[i]]
void visionattn_lookup(const uint16_t* x, const uint16_t* table, uint16_t* to, int64_t count, int threads) {
    each_chunk(count, threads, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) to[i] = table[x[i]];
    });
}
// to[i] = grad[i] * slope[bits of x[i]]
void visionattn_lookup_backward(const uint16_t* x, const float* slope, const bf16* grad, bf16* to, int64_t count,
                                int threads) {
    each_chunk(count, threads, [&](int64_t first, int64_t last) {
        int64_t i = first;
        for (; i + LANES <= last; i += LANES) {
            f32x slopes;
            for (int lane = 0; lane < LANES; ++lane) slopes[lane] = slope[x[i + lane]];
            store_vector(to + i, load_vector(grad + i) * slopes);
        }
        for (; i < last; ++i) store(to[i], load(grad[i]) * slope[x[i]]);
    });
}
int visionattn_has_products() { return HAS_PRODUCTS; }
int visionattn_linear_size() { return sizeof(Linear); }
int visionattn_linear_run(const Linear* p) { return linear(*p); }
int64_t visionattn_linear_room(const Linear* p) { return room(*p); }
void visionattn_linear_keep(const Linear* p) { keep(*p); }
int visionattn_weight_gradient_size() { return sizeof(WeightGradient); }
void visionattn_weight_gradient_run(const WeightGradient* p) { weight_gradient(*p); }
int visionattn_feed_forward_size() { return sizeof(FeedForward); }
int visionattn_feed_forward_run(const FeedForward* p) { return feed_forward(*p); }
void visionattn_feed_forward_backward(const FeedForward* p) { feed_forward_backward(*p); }
int visionattn_gate_size() { return sizeof(Gate); }
void visionattn_gate_means(const Gate* p) { channel_means(*p); }
void visionattn_gate_scale(const Gate* p) { scale_channels(*p); }
int visionattn_layer_norm_size() { return sizeof(LayerNorm); }
void visionattn_layer_norm_forward(const LayerNorm* p) { layer_norm(*p); }
void visionattn_layer_norm_backward(const LayerNorm* p) { layer_norm_backward(*p); }
int visionattn_depthwise_size() { return sizeof(Depthwise); }
void visionattn_depthwise_forward(const Depthwise* p) { depthwise_forward(*p); }
void visionattn_depthwise_input(const Depthwise* p) { depthwise_input(*p); }
void visionattn_depthwise_weight(const Depthwise* p) { depthwise_weight(*p); }
}
