// Stochastic gradient steps on BPR, WARP and sampled softmax of factorization machines. Compiled once per instruction
// set (RECSYS_ISA).
//
// With c_r the coefficient of candidate r, q_r the sum of its vectors and P that of the query's, the gradient of vector
// v_j is c_r x_j (P + q_r - x_j v_j) for a feature of the candidate, and x_j sum_r c_r q_r for one of the query.
#include "fm_rank.hpp"

#include "fm_rank_scores.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

// Draws and scores until a negative is within the margin that the user does not have; what the user has and is within
// the margin does not count. Returns the place of that negative in the sample, and among those that count.
template <class Args>
inline int32_t violation(const Args &args, int64_t place, const float *p, Sample &sample, float *sums, float *scores,
                         int32_t *rank) {
    int32_t last = int32_t(args.negatives);
    for (int32_t first = 0; first <= last; first += fm_rank_group) {
        draw(args, place, sample, first + fm_rank_group - 1);
        if (first > sample.count) return 0;
        score(args, p, sample, first, sums, scores);
        const int32_t behind = first + fm_rank_group, end = behind <= sample.count ? behind : sample.count + 1;
        for (int32_t r = first ? first : 1; (r = within_margin(scores, r, end)) && r <= last; ++r, ++last)
            if (!has(sample.has, sample.n_has, sample.items[r])) {
                *rank = r - (last - int32_t(args.negatives));
                return r;
            }
    }
    return 0;
}

// Candidate r becomes the only negative, in place 1.
template <class Args>
inline void keep(const Args &args, Sample &sample, int32_t r, float *sums) {
    sample.count = 1;
    if (r == 1) return;
    sample.items[1] = sample.items[r];
    if (Args::ids) return;
    for (int64_t k = 0; k < args.width; k += Args::lanes)
        store(sums + args.width + k, load<typename Args::Vec>(sums + r * args.width + k));
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
inline void derive(const Args &args, int64_t place, const float *p, Sample &sample, float *sums, float *values,
                   Losses &losses) {
    const float weight = args.sample_weight ? args.sample_weight[place] : 1;
    if (args.loss == Ranking::warp) {
        int32_t rank;
        const int32_t r = violation(args, place, p, sample, sums, values, &rank);
        sample.count = 0;
        if (!r) return;
        losses.sum += double(weight) * warp(values, r, rank, args.n_candidates > 1 ? args.n_candidates : 2);
        keep(args, sample, r, sums);
    } else {
        for (int32_t first = 0; first <= sample.count; first += fm_rank_group)
            score(args, p, sample, first, sums, values);
        float factor;
        if (args.loss == Ranking::bpr)
            keep(args, sample, bpr(values, sample.count, &factor), sums);
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

template <class Args>
inline float squared_length(const Args &args, const float *x) {
    typename Args::Vec total = {};
    for (int64_t k = 0; k < args.width; k += Args::lanes) {
        const auto some = load<typename Args::Vec>(x + k);
        total += some * some;
    }
    return sum(folded(total));
}

// The features of a candidate with coefficient c. `squared` is the squared length of P, for AdaGrad.
template <class Args>
inline void move_item(const Args &args, const Row &row, float c, const float *p, float squared, const float *q) {
    typedef typename Args::Vec Vec;
    const int64_t width = args.width;
    const bool alone = row.count == 1, adagrad = args.vector_sums;  // a feature alone is all of q: P is left
    for (int64_t n = 0; n < row.count; ++n) {
        const int64_t j = row.features[n];
        const float x = value(row, n), cx = c * x;
        const float of_weight = rate(args.learning_rate, at(args.weight_sums, j), cx * cx);
        args.weights[j] += of_weight * (cx - args.weight_regularization * args.weights[j]);
        float *v = args.vectors + j * width, length = squared;
        if (!alone && adagrad) {
            Vec total = {};
            for (int64_t k = 0; k < width; k += Args::lanes) {
                const Vec g = load<Vec>(p + k) + load<Vec>(q + k) - x * load<Vec>(v + k);
                total += g * g;
            }
            length = sum(folded(total));
        }
        const float of_vector = rate(args.learning_rate, at(args.vector_sums, j), cx * cx * length);
        const Vec along = Vec{} + of_vector * cx, kept = Vec{} + (1 - of_vector * args.regularization);
        for (int64_t k = 0; k < width; k += Args::lanes) {
            const Vec old = load<Vec>(v + k), of_p = load<Vec>(p + k);
            const Vec g = alone ? of_p : of_p + load<Vec>(q + k) - x * old;
            store(v + k, kept * old + along * g);
        }
    }
}

// The features of the query, along the sum of c q.
template <class Args>
inline void move_query(const Args &args, const Row &row, const float *gradient) {
    typedef typename Args::Vec Vec;
    const float squared = args.vector_sums ? squared_length(args, gradient) : 0;
    for (int64_t n = 0; n < row.count; ++n) {
        const int64_t j = row.features[n];
        const float x = value(row, n);
        const float of_vector = rate(args.learning_rate, at(args.vector_sums, j), x * x * squared);
        const Vec along = Vec{} + of_vector * x, kept = Vec{} + (1 - of_vector * args.regularization);
        float *v = args.vectors + j * args.width;
        for (int64_t k = 0; k < args.width; k += Args::lanes)
            store(v + k, kept * load<Vec>(v + k) + along * load<Vec>(gradient + k));
    }
}

template <class Args>
inline void step(const Args &args, int64_t place, const float *p, const Sample &sample, const float *c,
                 const float *sums, float *gradient) {
    typedef typename Args::Vec Vec;
    const int64_t width = args.width;
    const float squared = args.vector_sums ? squared_length(args, p) : 0;
    for (int32_t r = 0; r <= sample.count; ++r) {
        const float *q = vector_of(args, item_row(args, sample.items[r]), sums + r * width);
        for (int64_t k = 0; k < width; k += Args::lanes)
            store(gradient + k, (r ? load<Vec>(gradient + k) : Vec{}) + c[r] * load<Vec>(q + k));
    }
    for (int32_t r = 0; r <= sample.count; ++r)
        move_item(args, item_row(args, sample.items[r]), c[r], p, squared, sums + r * width);
    for (int64_t b = 0; b < args.n_query; ++b)
        move_query(args, row(args, args.query_rows[place * args.n_query + b]), gradient);
}

template <class Args>
double range(const Args &args, int64_t begin_block, int64_t end_block, float *reals, int32_t *items) {
    const int64_t places = fm_rank_places(args.negatives);
    float *sum = reals, *gradient = sum + args.width, *sums = gradient + args.width;
    float *values = sums + places * args.width;
    Losses losses;
    Sample ring[fm_rank_ahead + 1];
    for (int64_t slot = 0; slot <= fm_rank_ahead; ++slot) ring[slot].items = items + slot * places;
    for (int64_t block = begin_block; block < end_block; ++block) {
        const int64_t first = args.blocks[block] * args.block_size, behind = first + args.block_size;
        const int64_t last = behind < args.n ? behind : args.n;
        for (int64_t place = first; place < last + fm_rank_ahead; ++place) {
            const int64_t slot = place % (fm_rank_ahead + 1);
            fetch_lists(args, place, last);
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

template <int64_t width>
double of_width(const FmRank &args, int64_t begin, int64_t end, float *reals, int32_t *items) {
    return args.only_ids ? range(View<true, width>{args}, begin, end, reals, items)
                         : range(View<false, width>{args}, begin, end, reals, items);
}

}  // namespace

double fm_rank_range(const FmRank &args, int64_t begin, int64_t end, float *reals, int32_t *items) {
    return args.width == 16   ? of_width<16>(args, begin, end, reals, items)
           : args.width == 32 ? of_width<32>(args, begin, end, reals, items)
           : args.width == 64 ? of_width<64>(args, begin, end, reals, items)
                              : of_width<0>(args, begin, end, reals, items);
}

}  // namespace RECSYS_ISA
}  // namespace recsys
