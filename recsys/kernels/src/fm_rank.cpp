// Stochastic gradient steps on BPR, WARP and sampled softmax of factorization machines. Compiled once per instruction
// set (RECSYS_ISA).
//
// With c_r the coefficient of candidate r, q_r the sum of its vectors and P that of the query's, the gradient of vector
// v_j is c_r x_j (P + q_r - x_j v_j) for a feature of the candidate, and x_j sum_r c_r q_r for one of the query.
#include "fm_rank.hpp"

#include "fm_rank_draws.hpp"
#include "simd.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

// P, or where one id is all of the query its vector itself.
template <class Args>
const float *query(const Args &args, int64_t place, float *sum) {
    const int32_t *rows = args.query_rows + place * args.n_query;
    if (args.n_query == 1) {
        const Row only = row(args, rows[0]);
        if (is_id(only)) return args.vectors + only.features[0] * args.width;
    }
    for (int64_t k = 0; k < args.width; k += lanes) store(sum + k, vec{});
    for (int64_t b = 0; b < args.n_query; ++b) {
        const Row of_block = row(args, rows[b]);
        for (int64_t at = 0; at < of_block.count; ++at) {
            const float *v = args.vectors + of_block.features[at] * args.width;
            const vec x = vec{} + value(of_block, at);
            for (int64_t k = 0; k < args.width; k += lanes) store(sum + k, load(sum + k) + x * load(v + k));
        }
    }
    return sum;
}

template <class Args>
inline const float *vector_of(const Args &args, const Row &row, const float *sum) {
    return is_id(row) ? args.vectors + row.features[0] * args.width : sum;
}

// n vectors of q from column k on; returns 1/2 (|q|^2 - sum of squares) over them, as a vector that adds up to it.
template <int n>
inline vec part(const FmRank &args, const Row &row, int64_t k, float *sum) {
    vec q[n] = {}, squares = {};
    for (int64_t at = 0; at < row.count; ++at) {
        const float x = value(row, at), *v = args.vectors + row.features[at] * args.width + k;
#pragma GCC unroll 4
        for (int i = 0; i < n; ++i) {
            const vec xv = x * load(v + i * lanes);
            q[i] += xv, squares += xv * xv;
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) store(sum + k + i * lanes, q[i]), squares -= q[i] * q[i];
    return -0.5f * squares;
}

// What belongs to the item alone, as a vector that adds up to it; its q goes to `sum`, but for an id.
template <class Args>
inline vec own(const Args &args, const Row &row, float *sum) {
    if (is_id(row)) return vec{args.weights[row.features[0]]};
    float linear = 0;
    for (int64_t at = 0; at < row.count; ++at) linear += value(row, at) * args.weights[row.features[at]];
    vec total = {linear};
    int64_t k = 0;
    for (; k + 4 * lanes <= args.width; k += 4 * lanes) total += part<4>(args, row, k, sum);
    if (k + 2 * lanes <= args.width) total += part<2>(args, row, k, sum), k += 2 * lanes;
    if (k < args.width) total += part<1>(args, row, k, sum);
    return total;
}

inline void reduce(const vec (&a)[2], float *to) {
    const vec pairs = pair_sums(a[0], a[1]);
    for (int i = 0; i < 2; ++i) to[i] = (pairs[i] + pairs[i + 2]) + (pairs[i + 4] + pairs[i + 6]);
}

inline void reduce(const vec (&a)[4], float *to) {
    const vec quads = quad_sums(pair_sums(a[0], a[1]), pair_sums(a[2], a[3]));
    for (int i = 0; i < 4; ++i) to[i] = quads[i] + quads[i + 4];
}

// Scores of a group of candidates. Behind the last there is room, and the last stands in.
template <int group, class Args>
inline void score(const Args &args, const float *p, const Sample &sample, int32_t first, float *sums, float *scores) {
    const float *q[group];
    vec acc[group];
    for (int i = 0; i < group; ++i) {
        const int32_t r = first + i < sample.count ? first + i : sample.count;
        const Row item = item_row(args, sample.items[r]);
        acc[i] = own(args, item, sums + r * args.width);
        q[i] = vector_of(args, item, sums + r * args.width);
    }
    for (int64_t k = 0; k < args.width; k += lanes) {
        vec of_query = load(p + k);
        RECSYS_HOLD(of_query);
#pragma GCC unroll 4
        for (int i = 0; i < group; ++i) acc[i] += of_query * load(q[i] + k);
    }
    reduce(acc, scores + first);
}

// Draws and scores until a negative is within the margin: for most positives one of the first is.
template <class Args>
int32_t violation(const Args &args, int64_t place, const float *p, Sample &sample, float *sums, float *scores) {
    for (int32_t first = 0;; first += few_at_once) {
        const int64_t wanted = first + few_at_once - 1;
        draw(args, place, sample, wanted < args.negatives ? wanted : args.negatives);
        if (first > sample.count) return 0;
        score<few_at_once>(args, p, sample, first, sums, scores);
        const int32_t end = wanted < sample.count ? wanted + 1 : sample.count + 1;
        if (const int32_t r = within_margin(scores, first ? first : 1, end)) return r;
    }
}

// Candidate r becomes the only negative, in place 1.
inline void keep(Sample &sample, int32_t r, float *sums, int64_t width) {
    sample.count = 1;
    if (r == 1) return;
    sample.items[1] = sample.items[r];
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
template <class Args>
void derive(const Args &args, int64_t place, const float *p, Sample &sample, float *sums, float *values, Losses &losses) {
    const float weight = args.sample_weight ? args.sample_weight[place] : 1;
    if (args.loss == Ranking::warp) {
        const int32_t r = violation(args, place, p, sample, sums, values);
        if (r) {
            losses.sum += double(weight) * warp(values, r, args.n_candidates > 1 ? args.n_candidates : 2);
            keep(sample, r, sums, args.width);
        } else {
            sample.count = 0;
        }
    } else {
        for (int32_t first = 0; first <= sample.count; first += fm_rank_group)
            score<fm_rank_group>(args, p, sample, first, sums, values);
        float factor;
        if (args.loss == Ranking::bpr)
            keep(sample, bpr(values, sample.count, &factor), sums, args.width);
        else
            factor = softmax(values, sample.items, sample.count, args.log_q);
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
template <class Args>
inline void move_item(const Args &args, const Row &row, float c, const float *p, float squared, const float *q) {
    const int64_t width = args.width;
    const bool alone = row.count == 1, adagrad = args.vector_sums;  // a feature alone is all of q: P is left
    for (int64_t n = 0; n < row.count; ++n) {
        const int64_t j = row.features[n];
        const float x = value(row, n), cx = c * x;
        const float of_weight = rate(args.learning_rate, at(args.weight_sums, j), cx * cx);
        args.weights[j] += of_weight * (cx - args.weight_regularization * args.weights[j]);
        float *v = args.vectors + j * width;
        const float length = alone || !adagrad ? squared : squared_length(p, q, x, v, width);
        const float of_vector = rate(args.learning_rate, at(args.vector_sums, j), cx * cx * length);
        const vec along = vec{} + of_vector * cx, kept = vec{} + (1 - of_vector * args.regularization);
        for (int64_t k = 0; k < width; k += lanes) {
            const vec old = load(v + k), g = alone ? load(p + k) : load(p + k) + load(q + k) - x * old;
            store(v + k, kept * old + along * g);
        }
    }
}

// The features of the query, along the sum of c q.
template <class Args>
inline void move_query(const Args &args, const Row &row, const float *gradient) {
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

template <class Args>
void step(const Args &args, int64_t place, const float *p, const Sample &sample, const float *c, const float *sums,
          float *gradient) {
    const int64_t width = args.width;
    const float squared = args.vector_sums ? squared_length(p, width) : 0;
    for (int64_t k = 0; k < width; k += lanes) store(gradient + k, vec{});
    for (int32_t r = 0; r <= sample.count; ++r) {
        const float *q = vector_of(args, item_row(args, sample.items[r]), sums + r * width);
        for (int64_t k = 0; k < width; k += lanes) store(gradient + k, load(gradient + k) + c[r] * load(q + k));
    }
    for (int32_t r = 0; r <= sample.count; ++r) 
        move_item(args, item_row(args, sample.items[r]), c[r], p, squared, sums + r * width);
    for (int64_t b = 0; b < args.n_query; ++b)
        move_query(args, row(args, args.query_rows[place * args.n_query + b]), gradient);
}

template <class Args>
double range(const Args &args, int64_t begin_block, int64_t end_block, float *reals, int32_t *items) {
    const int64_t places = fm_rank_places(args.negatives);
    float *sum = reals, *gradient = sum + args.width, *sums = gradient + args.width, *values = sums + places * args.width;
    Losses losses;
    Sample ring[fm_rank_ahead + 1];
    for (int64_t slot = 0; slot <= fm_rank_ahead; ++slot)
        ring[slot].items = items + slot * places;
    for (int64_t block = begin_block; block < end_block; ++block) {
        const int64_t first = args.blocks[block] * args.block_size, behind = first + args.block_size;
        const int64_t last = behind < args.n ? behind : args.n;
        for (int64_t place = first; place < last + fm_rank_ahead; ++place) {
            const int64_t slot = place % (fm_rank_ahead + 1);
            if (place + 2 * fm_rank_ahead < last) __builtin_prefetch(args.user_indptr + args.users[place + 2 * fm_rank_ahead]);
            if (place + fm_rank_ahead < last) {
                const int32_t *list = args.user_items + args.user_indptr[args.users[place + fm_rank_ahead]];
                __builtin_prefetch(list);
                __builtin_prefetch(list + 16);
            }
            if (place < last) begin(args, place, ring[slot]);
            const int64_t now = place - fm_rank_ahead;
            if (now < first) continue;
            Sample &current = ring[now % (fm_rank_ahead + 1)];
            if (!current.count) continue;
            const float *p = query(args, now, sum);
            derive(args, now, p, current, sums, values, losses);
            if (current.count) step(args, now, p, current, values, sums, gradient);
        }
    }
    losses.logs.flush();
    return losses.sum + losses.logs.sum;
}

}  // namespace

double fm_rank_range(const FmRank &args, int64_t begin, int64_t end, float *reals, int32_t *items) {
    return args.only_ids ? range(OfIds{args}, begin, end, reals, items) : range(args, begin, end, reals, items);
}

}  // namespace RECSYS_ISA
}  // namespace recsys
