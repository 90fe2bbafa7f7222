// The gradients of a linear layer's weight and bias in bf16.
#pragma once
#include "problem.h"
#include "gemm.h"

// x (rows, inputs) and grad (rows, outputs) give weight (parts, outputs, inputs) and bias (parts, outputs), float32;
// their sums over parts are the gradients; `adds`: these are added to what is there. Both widths are multiples of LANES.
// What a part is, the shape alone says; what a job is has no say in the sums.
struct WeightGradient {
    int64_t rows;
    int32_t inputs, outputs, threads, parts, adds, reserved;
    const bf16 *x, *grad;
    float *weight, *bias;  // bias may be null
};

// A job holds one block of the weight; it takes the rows in chunks, which the L2 cache holds; the block is asked for.
constexpr int CHUNK_ROWS = 400, BLOCK_OUTPUTS = 384, BLOCK_INPUTS = 384, PITCH = BLOCK_OUTPUTS + LANES;
constexpr int AHEAD = 8;  // rows
constexpr uint32_t ONES = 0x3f803f80;  // a pair

// Pairs of rows of a chunk: the inputs as panels, the outputs as rows of PITCH numbers.
struct Chunk {
    Aligned<u32x> inputs{CHUNK_ROWS / 2 * (BLOCK_INPUTS / LANES + 4)}, outputs{CHUNK_ROWS / 2 * PITCH / LANES};
};
// The thread's; of this library alone, though another version's be loaded, as a function of its own file.
static Chunk& own_chunk() {
    static thread_local Chunk chunk;
    return chunk;
}

template <int VECTORS> struct WeightBlock {
    const WeightGradient& p;
    Chunk& chunk;
    int most_outputs, most_inputs;

    void run(int part, int first_output, int first_input) {
        const int width = std::min(most_inputs, p.inputs - first_input);
        const int height = std::min(most_outputs, p.outputs - first_output);
        const int64_t begin = p.rows * part / p.parts, end = p.rows * (part + 1) / p.parts;
        float* to = p.weight + (int64_t(part) * p.outputs + first_output) * p.inputs + first_input;
        float* bias = p.bias && first_input == 0 ? p.bias + int64_t(part) * p.outputs + first_output : nullptr;
        for (int c = 0; bias && !p.adds && c < height; ++c) bias[c] = 0;
        for (int64_t row = begin; row < end; row += CHUNK_ROWS) {
            const int rows = int(std::min<int64_t>(CHUNK_ROWS, end - row));
            pack_outputs(p.grad + row * p.outputs + first_output, rows, height, bias);
            pack_inputs(p.x + row * p.inputs + first_input, rows, width);
            multiply((rows + 1) / 2, height, width, to, p.adds || row > begin);
        }
    }
    void pack_outputs(const bf16* from, int rows, int height, float* sums) {
        for (int pair = 0; pair < (rows + 1) / 2; ++pair) {
            const bf16 *low = from + int64_t(2 * pair) * p.outputs, *high = 2 * pair + 1 < rows ? low + p.outputs : nullptr;
            if (2 * pair + AHEAD + 1 < rows) ask(low + AHEAD * int64_t(p.outputs), p.outputs, height);
            u32x* to = chunk.outputs.data + pair * (PITCH / LANES);
            each_pairs(low, high, height, [&](int c, const u32x& both) {
                to[c / LANES] = both;
                if (!sums) return;
                f32x sum = load_vector(sums + c);
                multiply_add(sum, both, ONES);
                store_vector<float>(sums + c, sum);
            });
        }
    }
    // Asks for two rows that are packed after others.
    INLINED static void ask(const bf16* row, int pitch, int count) {
        for (int c = 0; c < count; c += 32) __builtin_prefetch(row + c), __builtin_prefetch(row + pitch + c);
    }
    void pack_inputs(const bf16* from, int rows, int width) {
        const int pairs = (rows + 1) / 2;
        for (int pair = 0; pair < pairs; ++pair) {
            const bf16 *low = from + int64_t(2 * pair) * p.inputs, *high = 2 * pair + 1 < rows ? low + p.inputs : nullptr;
            if (2 * pair + AHEAD + 1 < rows) ask(low + AHEAD * int64_t(p.inputs), p.inputs, width);
            int column = 0;
            u32x* to = chunk.inputs.data + pair * VECTORS;
            each_pairs(low, high, width, [&](int, const u32x& both) {
                to[column] = both;
                if (++column == VECTORS) column = 0, to += pairs * VECTORS;
            });
        }
    }
    void multiply(int pairs, int height, int width, float* to, bool adds) {
        for (int c = 0; c < width; c += VECTORS * LANES)
            for (int r = 0; r < height; r += TILE_ROWS<VECTORS>)
                of_rows<TILE_ROWS<VECTORS>>(height - r, [&](auto rows) {
                    tile<rows>(reinterpret_cast<const uint32_t*>(chunk.outputs.data) + r, chunk.inputs.data + c / LANES * pairs, pairs,
                               std::min(VECTORS, (width - c) / LANES), to + int64_t(r) * p.inputs + c, adds);
                });
    }
    template <int ROWS>
    void tile(const uint32_t* a, const u32x* b, int pairs, int vectors, float* to, bool adds) {
        f32x sums[ROWS][VECTORS];
        for (int m = 0; m < ROWS; ++m)  // what is written after the product
            for (int n = 0; n < vectors; ++n) __builtin_prefetch(to + int64_t(m) * p.inputs + n * LANES, 1);
        multiply_tile<ROWS, VECTORS>(sums, a, 1, PITCH, b, pairs);
        for (int m = 0; m < ROWS; ++m, to += p.inputs)
            for (int n = 0; n < vectors; ++n)
                store_vector<float>(to + n * LANES, adds ? load_vector(to + n * LANES) + sums[m][n] : sums[m][n]);
    }
};

// `size` in `blocks` blocks of one width, a multiple of LANES.
inline int block_of(int size, int blocks) { return padded(divided(size, blocks), LANES); }

struct GradientJobs {
    const WeightGradient& p;
    int width, height, across, blocks;

    explicit GradientJobs(const WeightGradient& p) : p(p) {
        int columns = divided(p.inputs, BLOCK_INPUTS), rows = divided(p.outputs, BLOCK_OUTPUTS);
        while (columns * rows * p.parts < 2 * p.threads && (p.inputs > 96 * columns || p.outputs > 96 * rows))
            (p.inputs > 96 * columns ? columns : rows) *= 2;  // there are threads without a job
        width = block_of(p.inputs, columns), height = block_of(p.outputs, rows);
        across = divided(p.inputs, width), blocks = across * divided(p.outputs, height);
    }
    int count() const { return blocks * p.parts; }
    void run(int job) const {
        if (fits_48(width)) run_by<3>(job);
        else run_by<4>(job);
    }
    template <int VECTORS> void run_by(int job) const {
        const int block = job % blocks;
        WeightBlock<VECTORS>{p, own_chunk(), height, width}.run(job / blocks, block / across * height, block % across * width);
    }
};

static void weight_gradient(const WeightGradient& p) {
    const GradientJobs jobs(p);
    parallel(jobs.count(), p.threads, [&](int job) { jobs.run(job); });
}
