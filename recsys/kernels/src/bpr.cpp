// Stochastic gradient steps on BPR, WARP and sampled softmax. Compiled once per instruction set (RECSYS_ISA).
//
// All three come down to the same step: scores of the positive and its negatives, a coefficient for each of them
// (minus the derivative of the loss by the score), and x_u and the rows y moved along coefficient times the other.
#include "bpr.hpp"

#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

constexpr int group = 8;
constexpr int64_t few = 32;        // items that are looked through in vectors, which does not wait for one another
constexpr float score_limit = 30;  // of differences of scores: exp stays finite, and the gradient is 0 or 1 by then

// A positive and the negatives drawn for it, as rows of y; the positive comes first.
struct Sample {
    int32_t count;  // 0 where the user has too much to find a negative
    int32_t *rows;
};

// splitmix64 (Steele, Lea and Flood 2014).
inline uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

inline int32_t drawn(const BprBlocks &args, uint64_t counter) {
    const uint64_t bits = mixed(args.key + counter * 0x9e3779b97f4a7c15u);
    const int32_t slot = int32_t(((bits >> 32) * uint64_t(args.n_items)) >> 32);
    if (!args.threshold || uint32_t(bits) < args.threshold[slot]) return slot;
    return args.alias[slot];
}

inline bool has(const int32_t *items, int64_t count, int32_t item) {
    while (count > few) {  // a mask, not a branch that nobody can predict
        const int64_t half = count / 2;
        items += half & -int64_t(items[half - 1] < item);
        count -= half;
    }
    int32_t found = 0;
    for (int64_t k = 0; k < count; ++k) found |= items[k] == item;
    return found;
}

inline void fetch(const float *row, int64_t width) {
    for (int64_t k = 0; k < width; k += 16) __builtin_prefetch(row + k, 1, 2);
}

Sample sample(const BprBlocks &args, int64_t place, int32_t *rows) {
    const int32_t u = args.users[place];
    const int32_t *items = args.indices + args.indptr[u];
    const int64_t count = args.indptr[u + 1] - args.indptr[u], draws = 2 * args.negatives + 30;
    int32_t found = 0;
    rows[0] = args.items[place];
    fetch(args.x + u * args.width, args.width);
    fetch(args.y + rows[0] * args.width, args.width);
    for (int64_t k = 0; k < draws && found < args.negatives && count < args.n_items; ++k) {
        const int32_t item = drawn(args, uint64_t(place * draws + k));
        rows[found + 1] = item;
        if (has(items, count, item)) continue;
        fetch(args.y + item * args.width, args.width);
        ++found;
    }
    return {found, rows};
}

inline float dot(const float *x, const float *y, int64_t width) {
    vec even = {}, odd = {};
    int64_t k = 0;
    for (; k + 2 * lanes <= width; k += 2 * lanes) {
        even += load(x + k) * load(y + k);
        odd += load(x + k + lanes) * load(y + k + lanes);
    }
    if (k < width) even += load(x + k) * load(y + k);
    return sum(even + odd);
}

// Eight rows at a time come out of one reduction.
inline void score(const BprBlocks &args, const float *x, const Sample &sample, float *scores) {
    const int64_t width = args.width;
    int32_t r = 0;
    for (; r + group <= sample.count + 1; r += group) {
        const float *y[group];
        for (int i = 0; i < group; ++i) y[i] = args.y + sample.rows[r + i] * width;
        vec acc[group] = {};
        for (int64_t k = 0; k < width; k += lanes) {
            vec of_user = load(x + k);
            RECSYS_HOLD(of_user);
#pragma GCC unroll 8
            for (int i = 0; i < group; ++i) acc[i] += of_user * load(y[i] + k);
        }
        store(scores + r, reduce(acc));
    }
    for (; r <= sample.count; ++r) scores[r] = dot(x, args.y + sample.rows[r] * width, width);
    for (r = 0; r <= sample.count; ++r) scores[r] += args.bias[sample.rows[r]];
}

inline float clipped(float difference) {  // NaN stays NaN
    return difference > score_limit ? score_limit : difference < -score_limit ? -score_limit : difference;
}

// Sum of logarithms, one logarithm for sixteen factors. Each is at most the exponential of the limit, and some.
struct LogSum {
    double sum = 0, product = 1;
    int count = 0;

    void add(float factor) {
        product *= factor;
        if (++count == 16) flush();
    }
    void flush() {
        sum += __builtin_log(product);
        product = 1, count = 0;
    }
};

void keep_negative(Sample &sample, int32_t r) {
    sample.rows[1] = sample.rows[r];
    sample.count = 1;
}

// BPR: -log sigmoid(s_i - s_j), j the highest of the negatives.
void bpr(Sample &sample, float *values, LogSum &loss) {
    int32_t hardest = 1;
    for (int32_t r = 2; r <= sample.count; ++r)
        if (values[r] > values[hardest]) hardest = r;
    const float e = __builtin_expf(clipped(values[hardest] - values[0]));
    loss.add(1 + e);
    values[0] = e / (1 + e), values[1] = -values[0];
    keep_negative(sample, hardest);
}

// WARP: log(1 + rank) / log(n_items) (1 - s_i + s_j), j the first negative within the margin, rank = (n_items - 1) / its
// place among the draws.
double warp(const BprBlocks &args, Sample &sample, float *values) {
    for (int32_t r = 1; r <= sample.count; ++r) {
        const float hinge = 1 - values[0] + values[r];
        if (hinge <= 0) continue;
        const float weight = __builtin_logf(float(1 + (args.n_items - 1) / r)) / __builtin_logf(float(args.n_items));
        values[0] = weight, values[1] = -weight;
        keep_negative(sample, r);
        return double(weight) * hinge;
    }
    sample.count = 0;
    return 0;
}

// Softmax: -log p_i, p ~ exp(s) over the positive and the negatives, these weighted 1 / (n q): with that the
// denominator is in expectation the one over the whole catalogue (Bengio and Senecal 2008).
void softmax(const BprBlocks &args, const Sample &sample, float *values, LogSum &loss) {
    const float log_n = __builtin_logf(float(sample.count)), s = values[0];
    float total = 1;
    for (int32_t r = 1; r <= sample.count; ++r)
        total += values[r] = __builtin_expf(clipped(values[r] - s - log_n - args.log_q[sample.rows[r]]));
    loss.add(total);
    for (int32_t r = 1; r <= sample.count; ++r) values[r] /= -total;
    values[0] = 1 - 1 / total;
}

inline float rate(float learning_rate, float *sum, float squared) {
    if (!sum) return learning_rate;
    *sum += squared;
    return learning_rate / __builtin_sqrtf(*sum);
}

inline float *at(float *sums, int64_t row) { return sums ? sums + row : nullptr; }

void step(const BprBlocks &args, int32_t u, const Sample &sample, const float *coefficients, float *gradient) {
    const int64_t width = args.width;
    float *x = args.x + u * width;
    const float squared = args.x_sum ? dot(x, x, width) : 0, reg = args.regularization;
    for (int32_t r = 0; r <= sample.count; ++r) {
        const int64_t row = sample.rows[r];
        const float c = coefficients[r], c2 = c * c;
        const float of_bias = rate(args.learning_rate, at(args.bias_sum, row), c2);
        args.bias[row] += of_bias * (c - reg * args.bias[row]);
        const float of_row = rate(args.learning_rate, at(args.y_sum, row), c2 * squared);
        const vec along = vec{} + of_row * c, kept = vec{} + (1 - of_row * reg), weight = vec{} + c;
        float *y = args.y + row * width;
        for (int64_t k = 0; k < width; k += lanes) {
            const vec old = load(y + k), before = r ? load(gradient + k) : vec{};
            store(gradient + k, before + weight * old);
            store(y + k, kept * old + along * load(x + k));
        }
    }
    const float of_user = rate(args.learning_rate, at(args.x_sum, u), args.x_sum ? dot(gradient, gradient, width) : 0);
    const vec along = vec{} + of_user, kept = vec{} + (1 - of_user * reg);
    for (int64_t k = 0; k < width; k += lanes) store(x + k, kept * load(x + k) + along * load(gradient + k));
}

}  // namespace

double bpr_range(const BprBlocks &args, int64_t begin, int64_t end, float *reals, int32_t *rows) {
    float *gradient = reals, *values = reals + args.width;
    LogSum logs;
    double loss = 0;
    for (int64_t block = begin; block < end; ++block) {
        const int64_t first = args.blocks[block] * args.block_size, behind = first + args.block_size;
        const int64_t last = behind < args.n ? behind : args.n;
        Sample ring[bpr_ahead + 1];
        for (int64_t place = first; place < last + bpr_ahead; ++place) {
            const int64_t slot = place % (bpr_ahead + 1);
            if (place < last) ring[slot] = sample(args, place, rows + slot * (args.negatives + 2));
            const int64_t now = place - bpr_ahead;
            if (now < first) continue;
            Sample &current = ring[now % (bpr_ahead + 1)];
            if (!current.count) continue;
            const int32_t u = args.users[now];
            score(args, args.x + u * args.width, current, values);
            if (args.loss == Ranking::bpr) bpr(current, values, logs);
            if (args.loss == Ranking::softmax) softmax(args, current, values, logs);
            if (args.loss == Ranking::warp) loss += warp(args, current, values);
            if (current.count) step(args, u, current, values, gradient);
        }
    }
    logs.flush();
    return loss + logs.sum;
}

}  // namespace RECSYS_ISA
}  // namespace recsys
