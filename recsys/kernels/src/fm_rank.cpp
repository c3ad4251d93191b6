// Stochastic gradient steps on BPR, WARP and sampled softmax of factorization machines. Compiled once per instruction
// set (RECSYS_ISA).
//
// With c_r the coefficient of candidate r, q_r the sum of its vectors and P that of the query's, the gradient of vector
// v_j is c_r x_j (P + q_r - x_j v_j) for a feature of the candidate, and x_j sum_r c_r q_r for one of the query.
#include "fm_rank.hpp"

#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

constexpr int group = fm_rank_group;

inline FmRow row(const FmRank &args, int64_t r) {
    const int64_t begin = args.indptr[r];
    return {args.features + begin, args.values ? args.values + begin : nullptr, args.indptr[r + 1] - begin};
}

// One feature of value 1, as an id is: its vector is the sum, and all of its own interactions cancel.
inline bool is_id(const FmRow &row) { return row.count == 1 && (!row.values || row.values[0] == 1); }

inline float value(const FmRow &row, int64_t k) { return row.values ? row.values[k] : 1; }

inline void fetch(const FmRank &args, const FmRow &row) {
    for (int64_t k = 0; k < row.count; ++k) ::fetch(args.vectors + row.features[k] * args.width, args.width);
}

// Draws until there are `wanted` negatives, or no draws left.
inline void draw(const FmRank &args, int64_t place, FmSample &sample, int64_t wanted) {
    const int64_t draws = draws_of(args.negatives), first = place / args.block_size * args.block_size;
    const int64_t length = args.n - first < args.block_size ? args.n - first : args.block_size;
    while (sample.count < wanted && sample.next < draws) {
        const uint64_t counter = uint64_t(place * draws + sample.next++);
        const int32_t item =
            args.in_batch ? args.items[first + drawn(args.key, counter, length, nullptr, nullptr)]
                          : args.candidates[drawn(args.key, counter, args.n_candidates, args.threshold, args.alias)];
        if (has(sample.has, sample.n_has, item)) continue;
        const int32_t r = ++sample.count;
        sample.items[r] = item;
        sample.rows[r] = row(args, args.first_item + item);
        fetch(args, sample.rows[r]);
    }
}

// Only the first few for WARP, which mostly needs no more.
FmSample begin(const FmRank &args, int64_t place, int32_t *items, FmRow *rows) {
    const int64_t first = args.user_indptr[args.users[place]], behind = args.user_indptr[args.users[place] + 1];
    FmSample sample{args.user_items + first, behind - first, 0, 0, items, rows};
    items[0] = args.items[place];
    rows[0] = row(args, args.first_item + items[0]);
    fetch(args, rows[0]);
    for (int64_t b = 0; b < args.n_query; ++b) fetch(args, row(args, args.query_rows[place * args.n_query + b]));
    const bool lazy = args.loss == Ranking::warp && args.negatives >= group;
    draw(args, place, sample, lazy ? group - 1 : args.negatives);
    return sample;
}

// P, or where one id is all of the query its vector itself.
const float *query(const FmRank &args, int64_t place, float *sum) {
    const int32_t *rows = args.query_rows + place * args.n_query;
    if (args.n_query == 1) {
        const FmRow only = row(args, rows[0]);
        if (is_id(only)) return args.vectors + only.features[0] * args.width;
    }
    for (int64_t k = 0; k < args.width; k += lanes) store(sum + k, vec{});
    for (int64_t b = 0; b < args.n_query; ++b) {
        const FmRow of_block = row(args, rows[b]);
        for (int64_t at = 0; at < of_block.count; ++at) {
            const float *v = args.vectors + of_block.features[at] * args.width;
            const vec x = vec{} + value(of_block, at);
            for (int64_t k = 0; k < args.width; k += lanes) store(sum + k, load(sum + k) + x * load(v + k));
        }
    }
    return sum;
}

inline const float *vector_of(const FmRank &args, const FmRow &row, const float *sum) {
    return is_id(row) ? args.vectors + row.features[0] * args.width : sum;
}

// What belongs to the item alone, as a vector that adds up to it; its q goes to `sum`, but for an id.
inline vec own(const FmRank &args, const FmRow &row, float *sum) {
    float linear = 0;
    for (int64_t at = 0; at < row.count; ++at) linear += value(row, at) * args.weights[row.features[at]];
    vec total = {linear};
    if (is_id(row)) return total;
    for (int64_t k = 0; k < args.width; k += lanes) {
        vec q = {}, squares = {};
        for (int64_t at = 0; at < row.count; ++at) {
            const vec xv = value(row, at) * load(args.vectors + row.features[at] * args.width + k);
            q += xv, squares += xv * xv;
        }
        store(sum + k, q);
        total += 0.5f * (q * q - squares);
    }
    return total;
}

// Scores of one group of candidates. Behind the last there is room, and the last stands in.
inline void score(const FmRank &args, const float *p, const FmSample &sample, int32_t first, float *sums, float *scores) {
    const float *q[group];
    vec acc[group];
    for (int i = 0; i < group; ++i) {
        const int32_t r = first + i < sample.count ? first + i : sample.count;
        acc[i] = own(args, sample.rows[r], sums + r * args.width);
        q[i] = vector_of(args, sample.rows[r], sums + r * args.width);
    }
    for (int64_t k = 0; k < args.width; k += lanes) {
        vec of_query = load(p + k);
        RECSYS_HOLD(of_query);
#pragma GCC unroll 4
        for (int i = 0; i < group; ++i) acc[i] += of_query * load(q[i] + k);
    }
    const vec halves = quad_sums(pair_sums(acc[0], acc[1]), pair_sums(acc[2], acc[3]));
    for (int i = 0; i < group; ++i) scores[first + i] = halves[i] + halves[i + group];
}

// Draws and scores until a negative is within the margin: for most positives one of the first is.
int32_t violation(const FmRank &args, int64_t place, const float *p, FmSample &sample, float *sums, float *scores) {
    for (int32_t first = 0;; first += group) {
        draw(args, place, sample, first + group - 1 < args.negatives ? first + group - 1 : args.negatives);
        if (first > sample.count) return 0;
        score(args, p, sample, first, sums, scores);
        const int32_t end = first + group - 1 < sample.count ? first + group : sample.count + 1;
        if (const int32_t r = within_margin(scores, first ? first : 1, end)) return r;
    }
}

// Candidate r becomes the only negative, in place 1.
inline void keep(FmSample &sample, int32_t r, float *sums, int64_t width) {
    sample.count = 1;
    if (r == 1) return;
    sample.rows[1] = sample.rows[r];
    for (int64_t k = 0; k < width; k += lanes) store(sums + width + k, load(sums + r * width + k));
}

// Losses, and those of them that are the logarithm of a factor.
struct Losses {
    LogSum logs;
    double sum = 0;

    void add_log(float factor, float weight) {
        if (weight == 1) logs.add(factor);
        else sum += double(weight) * __builtin_log(factor);
    }
};

// The scores of a sample, and from them the coefficients of those candidates that stay in it.
void derive(const FmRank &args, int64_t place, const float *p, FmSample &sample, float *sums, float *values, Losses &losses) {
    const float weight = args.sample_weight ? args.sample_weight[place] : 1;
    if (args.loss == Ranking::warp) {
        const int32_t r = violation(args, place, p, sample, sums, values);
        if (r) losses.sum += double(weight) * warp(values, r, args.n_candidates), keep(sample, r, sums, args.width);
        else sample.count = 0;
    } else {
        for (int32_t first = 0; first <= sample.count; first += group) score(args, p, sample, first, sums, values);
        float factor;
        if (args.loss == Ranking::bpr) keep(sample, bpr(values, sample.count, &factor), sums, args.width);
        else factor = softmax(values, sample.items, sample.count, args.log_q);
        losses.add_log(factor, weight);
    }
    for (int32_t r = 0; weight != 1 && r <= sample.count; ++r) values[r] *= weight;
}

inline float rate(float learning_rate, float *sum, float squared) {
    if (!sum) return learning_rate;
    *sum += squared;
    return learning_rate / __builtin_sqrtf(*sum);
}

inline float *at(float *sums, int64_t row) { return sums ? sums + row : nullptr; }

inline float squared_length(const float *x, int64_t width) {
    vec total = {};
    for (int64_t k = 0; k < width; k += lanes) total += load(x + k) * load(x + k);
    return sum(total);
}

// Of P + q - x v.
inline float squared_length(const float *p, const float *q, float x, const float *v, int64_t width) {
    vec total = {};
    for (int64_t k = 0; k < width; k += lanes) {
        const vec g = load(p + k) + load(q + k) - x * load(v + k);
        total += g * g;
    }
    return sum(total);
}

// The features of a candidate with coefficient c. `squared` is the squared length of P, for AdaGrad.
inline void move_item(const FmRank &args, const FmRow &row, float c, const float *p, float squared, const float *q) {
    const int64_t width = args.width;
    const bool id = is_id(row), adagrad = args.vector_sums;
    for (int64_t n = 0; n < row.count; ++n) {
        const int64_t j = row.features[n];
        const float x = value(row, n), cx = c * x;
        const float of_weight = rate(args.learning_rate, at(args.weight_sums, j), cx * cx);
        args.weights[j] += of_weight * (cx - args.weight_regularization * args.weights[j]);
        float *v = args.vectors + j * width;
        const float length = id || !adagrad ? squared : squared_length(p, q, x, v, width);
        const float of_vector = rate(args.learning_rate, at(args.vector_sums, j), cx * cx * length);
        const vec along = vec{} + of_vector * cx, kept = vec{} + (1 - of_vector * args.regularization);
        for (int64_t k = 0; k < width; k += lanes) {
            const vec old = load(v + k), g = id ? load(p + k) : load(p + k) + load(q + k) - x * old;
            store(v + k, kept * old + along * g);
        }
    }
}

// The features of the query, along the sum of c q.
inline void move_query(const FmRank &args, const FmRow &row, const float *gradient) {
    const float squared = args.vector_sums ? squared_length(gradient, args.width) : 0;
    for (int64_t n = 0; n < row.count; ++n) {
        const int64_t j = row.features[n];
        const float x = value(row, n);
        const float of_vector = rate(args.learning_rate, at(args.vector_sums, j), x * x * squared);
        const vec along = vec{} + of_vector * x, kept = vec{} + (1 - of_vector * args.regularization);
        float *v = args.vectors + j * args.width;
        for (int64_t k = 0; k < args.width; k += lanes) store(v + k, kept * load(v + k) + along * load(gradient + k));
    }
}

void step(const FmRank &args, int64_t place, const float *p, const FmSample &sample, const float *c, const float *sums,
          float *gradient) {
    const int64_t width = args.width;
    const float squared = args.vector_sums ? squared_length(p, width) : 0;
    for (int64_t k = 0; k < width; k += lanes) store(gradient + k, vec{});
    for (int32_t r = 0; r <= sample.count; ++r) {
        const float *q = vector_of(args, sample.rows[r], sums + r * width);
        for (int64_t k = 0; k < width; k += lanes) store(gradient + k, load(gradient + k) + c[r] * load(q + k));
    }
    for (int32_t r = 0; r <= sample.count; ++r) move_item(args, sample.rows[r], c[r], p, squared, sums + r * width);
    for (int64_t b = 0; b < args.n_query; ++b) move_query(args, row(args, args.query_rows[place * args.n_query + b]), gradient);
}

}  // namespace

double fm_rank_range(const FmRank &args, int64_t begin_block, int64_t end_block, float *reals, int32_t *items, FmRow *rows) {
    const int64_t places = fm_rank_places(args.negatives);
    float *sum = reals, *gradient = sum + args.width, *sums = gradient + args.width, *values = sums + places * args.width;
    Losses losses;
    for (int64_t block = begin_block; block < end_block; ++block) {
        const int64_t first = args.blocks[block] * args.block_size, behind = first + args.block_size;
        const int64_t last = behind < args.n ? behind : args.n;
        FmSample ring[fm_rank_ahead + 1];
        for (int64_t place = first; place < last + fm_rank_ahead; ++place) {
            const int64_t slot = place % (fm_rank_ahead + 1);
            if (place < last) ring[slot] = begin(args, place, items + slot * places, rows + slot * places);
            const int64_t now = place - fm_rank_ahead;
            if (now < first) continue;
            FmSample &current = ring[now % (fm_rank_ahead + 1)];
            if (!current.count) continue;
            const float *p = query(args, now, sum);
            derive(args, now, p, current, sums, values, losses);
            if (current.count) step(args, now, p, current, values, sums, gradient);
        }
    }
    losses.logs.flush();
    return losses.sum + losses.logs.sum;
}

}  // namespace RECSYS_ISA
}  // namespace recsys
