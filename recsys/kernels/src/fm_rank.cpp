// Stochastic gradient steps on BPR, WARP and sampled softmax of factorization machines. Compiled once per instruction
// set (RECSYS_ISA).
//
// With c_r the coefficient of candidate r, q_r the sum of its vectors and P that of the query's, the gradient of vector
// v_j is c_r x_j (P + q_r - x_j v_j) for a feature of the candidate, and x_j sum_r c_r q_r for one of the query.
//
// WARP scores many candidates and moves two items. So where items are more than ids, it looks for its negative in a table
// of all q_i, which is renewed for the two after each step and for a part of all items with each block. What it finds
// there counts only if exact scores say the same, and the step is made of exact sums. The search runs a few positives
// ahead of the steps: there is time to fetch the features of what it finds.
#include "fm_rank.hpp"

#include "fm_rank_scores.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

// Draws and scores by the table, from where it is in the sample, until a negative is within the margin that the user does
// not have; what the user has and is within the margin does not count.
template <class Args>
inline void search(const Args &args, int64_t place, const float *p, Sample &sample) {
    for (int32_t r = sample.near + 1; r <= sample.last; ++r) {
        const bool scored = r < sample.scored;
        if (!scored) draw(args, place, sample, sample.scored + 2 * fm_rank_group - 1);  // fetched a group ahead
        if (r > sample.count) break;
        if (!scored) screen_group(args, p, sample, sample.scored, sample.scores), sample.scored += fm_rank_group;
        if (1 - sample.scores[0] + sample.scores[r] <= 0) continue;
        if (taken(sample, sample.items[r])) {
            ++sample.last;
        } else {
            sample.near = r;
            return;
        }
    }
    sample.near = 0;
}

// Whether what the search found is within the margin by exact scores too; the two of them become the sample.
template <class Args>
inline bool verified(const Args &args, const float *p, const Sample &sample, float *sums, float *scores) {
    if (Args::ids) {
        scores[0] = sample.scores[0], scores[1] = sample.scores[sample.near];
        return true;
    }
    const int32_t items[] = {sample.items[0], sample.items[sample.near]};
    float *q[] = {sums, sums + args.width};
    score<2>(args, p, items, q, scores);
    return !(1 - scores[0] + scores[1] <= 0);
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
        if (Args::ids) search(args, place, p, sample);
        while (sample.near && !verified(args, p, sample, sums, values)) search(args, place, p, sample);
        sample.count = sample.near > 0;
        if (!sample.count) return;
        const int32_t rank = sample.near - (sample.last - int32_t(args.negatives));
        losses.sum += double(weight) * warp(values, 1, rank, args.n_candidates > 1 ? args.n_candidates : 2);
        sample.items[1] = sample.items[sample.near];
    } else {
        for (int32_t first = 0; first <= sample.count; first += fm_rank_group)
            score_group(args, p, sample, first, sums, values);
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
    if (!screens(args)) return;
    float *q[2], scores[2];
    for (int r = 0; r < 2; ++r) q[r] = args.item_vectors + sample.items[r] * width;
    for (int64_t k = 0; k < width; k += Args::lanes) store(gradient + k, Vec{});
    score<2>(args, gradient, sample.items, q, scores);
    for (int r = 0; r < 2; ++r) args.item_scores[sample.items[r]] = scores[r];
}

// Finds the negative of a positive to come by the table, and fetches what it is made of.
template <class Args>
inline void screen(const Args &args, int64_t place, float *sum, Sample &sample) {
    if (!sample.count) return;
    search(args, place, query(args, place, sum), sample);
    if (sample.near) fetch_row(args, item_row(args, sample.items[sample.near]), true, true);
}

template <class Args>
double range(const Args &args, int64_t begin_block, int64_t end_block, float *reals, int32_t *items) {
    const int64_t places = fm_rank_places(args.negatives);
    float *sum = reals, *gradient = sum + args.width, *sums = gradient + args.width;
    float *values = sums + places * args.width;
    Losses losses;
    Sample ring[fm_rank_ahead + 1];
    for (int64_t slot = 0; slot <= fm_rank_ahead; ++slot)
        ring[slot].items = items + slot * places, ring[slot].scores = values + (slot + 1) * places;
    for (int64_t block = begin_block; block < end_block; ++block) {
        const int64_t first = args.blocks[block] * args.block_size, behind = first + args.block_size;
        const int64_t last = behind < args.n ? behind : args.n;
        if (screens(args)) renew_part(args, block, gradient);
        for (int64_t place = first; place < last + fm_rank_ahead; ++place) {
            fetch_lists(args, place, last);
            if (place < last) begin(args, place, ring[place % (fm_rank_ahead + 1)]);
            const int64_t soon = place - fm_rank_ahead + fm_rank_screened, now = place - fm_rank_ahead;
            if (screens(args) && first <= soon && soon < last) screen(args, soon, sum, ring[soon % (fm_rank_ahead + 1)]);
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

template <int64_t width>
void items_of_width(const FmRank &args, int64_t begin, int64_t end, float *reals) {
    renew(View<false, width>{args}, begin, end, reals);
}

}  // namespace

double fm_rank_range(const FmRank &args, int64_t begin, int64_t end, float *reals, int32_t *items) {
    return args.width == 16   ? of_width<16>(args, begin, end, reals, items)
           : args.width == 32 ? of_width<32>(args, begin, end, reals, items)
           : args.width == 64 ? of_width<64>(args, begin, end, reals, items)
                              : of_width<0>(args, begin, end, reals, items);
}

void fm_rank_items(const FmRank &args, int64_t begin, int64_t end, float *reals) {
    args.width == 16   ? items_of_width<16>(args, begin, end, reals)
    : args.width == 32 ? items_of_width<32>(args, begin, end, reals)
    : args.width == 64 ? items_of_width<64>(args, begin, end, reals)
                       : items_of_width<0>(args, begin, end, reals);
}

}  // namespace RECSYS_ISA
}  // namespace recsys
