// Exact top-K of one query over quantised items. Compiled once per instruction set (RECSYS_ISA).
//
// With y the vector of an item, s c its codes times their scale, R the rotation, q the query, z = R'q and t g the codes
// of z times their scale, all that a score can be is, whatever R is,
//
//   <q, y> = <z, s c> + <q, y - R s c>   <=   t s <g, c> + |z - t g| |s c| + |q| |y - R s c|
//
// and with only the first coordinates at hand (h; the others: r)
//
//   <z, s c> = <z_h, s c_h> + <z_r, s c_r>   <=   t s <g_h, c_h> + |z - t g| |s c| + |z_r| |s c_r|.
//
// Lengths and errors are bounded for groups of items, from above. An item whose bound is below the worst score kept
// is not in the answer; of all others the score itself is computed, as everywhere else.
#include "scan.hpp"

#include <cfloat>
#include <cmath>

#include "scan_codes.hpp"
#include "topk_best.hpp"
#include "topk_scores.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

struct Query {
    const float *vector;  // padded to whole vectors
    const int16_t *codes;
    float scale;           // t
    float length;          // |q| or |z|, whichever is more; from above, as all lengths here
    float missed;          // |z - t g|
    float tail_length;     // |z_r|
    float rounding;        // of the float32 score of an item of length 1, and of what is computed here
};

// A float above the root of what was summed in double.
inline float upper(double squares) { return float(__builtin_sqrt(squares) * (1 + 1e-6)) + 0x1p-149f; }

// z = R'q in double, then its codes: the largest that a sum of products with any item's can bear.
inline Query quantised(const Scan &scan, double *z, float *padded, int16_t *codes) {
    const int64_t width = scan.width, coded = scan.head + scan.tail;
    double of_q = 0, of_z = 0, largest = 0, missed = 0, behind = 0;
    for (int64_t j = 0; j < width; ++j) z[j] = 0;
    for (int64_t i = 0; i < width; ++i) {
        const double q = scan.query[i];
        of_q += q * q, padded[i] = scan.query[i];
        for (int64_t j = 0; j < width; ++j) z[j] += q * scan.rotation[i * width + j];
    }
    for (int64_t i = width; i % lanes; ++i) padded[i] = 0;
    for (int64_t j = 0; j < width; ++j) {
        of_z += z[j] * z[j];
        largest = __builtin_fabs(z[j]) > largest ? __builtin_fabs(z[j]) : largest;
    }
    const double most = INT32_MAX / (128.0 * double(coded)), limit = most < 32767 ? __builtin_floor(most) : 32767;
    const float wanted = float(largest / limit * (1 + 1e-6));  // a little more, so that no code is above the limit
    const float scale = wanted > FLT_MIN && wanted < FLT_MAX ? wanted : 0;  // else all codes are 0, and all is missed
    for (int64_t j = 0; j < coded; ++j) {
        const double of_query = j < width ? z[j] : 0;
        codes[j] = scale ? int16_t(__builtin_rint(of_query / scale)) : int16_t(0);
        const double rest = of_query - double(scale) * codes[j];
        missed += rest * rest;
        if (j >= scan.head) behind += of_query * of_query;
    }
    return {padded, codes, scale, upper(of_q > of_z ? of_q : of_z), upper(missed), upper(behind),
            float(width + 64) * 0x1p-23f};
}

// What is added to the products of codes for an upper bound, for items of a group.
inline float slack(const Query &query, const float *bounds) {
    return query.length * bounds[1] + (query.missed + query.rounding * query.length) * bounds[0] + 1e-36f;
}

// An item that may be in the answer, and between what its score must be.
struct Kept {
    int32_t place;
    float least, most;
};
constexpr int64_t room = 2048, ahead = 16;

// Those of some lanes whose items the query may get. Asked only once the heads leave them a chance: the rows are anywhere
// in memory, and most lanes never get that far.
inline uint32_t free_lanes(const Scan &scan, int64_t place, uint32_t lanes) {
    uint32_t left = lanes;
    for (; lanes; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        const int32_t row = scan.row_of[place + lane];
        left &= ~(uint32_t(~scan.allowed[row >> 3] >> (row & 7) & 1) << lane);
    }
    return left;
}

// By more than the operations that made it can have lost; with -1, down.
template <class Number>
inline Number rounded(Number x, float side = 1) {
    return x + side * 1e-6f * (x < 0 ? -x : x);
}

// What products of sixteen codes, and what they may lack, come to at most; on the side of -1, at least. One bit for
// each that is not below a limit.
inline uint32_t bounded(const Scan &scan, const Query &query, int64_t place, int64_t here, const ints (&products)[parts],
                        float tail_length, float slack, float side, float limit, float *bounds) {
    uint32_t bits = 0;
#pragma GCC unroll 4
    for (int p = 0; p < parts; ++p, place += wide, here -= wide) {
        floats bound = __builtin_convertvector(products[p], floats) * (query.scale * load_lanes(scan.scales + place, here));
        bound += side * (tail_length * load_lanes(scan.tail_lengths + place, here) + slack);
        if (scan.factor) bound *= load_lanes(scan.factor + place, here);
        if (scan.biases) bound += load_lanes(scan.biases + place, here);
        bound = rounded(bound, side);
        store(bounds + p * wide, bound);
        bits |= not_below(bound, limit) << p * wide;
    }
    return bits;
}

// Items of a group that their codes leave a chance: sixteen at once by their heads, and where any stays by all
// coordinates. They are added to those kept; returns how many there are then.
inline int64_t by_codes(const Scan &scan, const Query &query, int64_t first, int64_t end, float slack, float worst,
                        Kept *kept, int64_t count) {
    float least[scan_lanes], most[scan_lanes];
    for (int64_t place = first; place < end; place += scan_lanes) {
        const int64_t here = end - place < scan_lanes ? end - place : scan_lanes;
        uint32_t wanted = (1u << here) - 1;
        ints products[parts] = {};
        add_products(scan.heads + place * scan.head, query.codes, scan.head, products);
        wanted &= bounded(scan, query, place, here, products, query.tail_length, slack, 1, worst, most);
        if (scan.allowed) wanted = free_lanes(scan, place, wanted);
        if (!wanted) continue;
        add_products(scan.tails + place * scan.tail, query.codes + scan.head, scan.tail, products);
        wanted &= bounded(scan, query, place, here, products, 0, slack, 1, worst, most);
        if (!wanted) continue;
        bounded(scan, query, place, here, products, 0, slack, -1, worst, least);
        for (; wanted; wanted &= wanted - 1) {
            const int lane = __builtin_ctz(wanted);
            __builtin_prefetch(scan.row_of + place + lane);
            kept[count++] = {int32_t(place + lane), least[lane], most[lane]};
        }
    }
    return count;
}

// Scores as search() gives them: each operation is rounded by itself, where the compiler would fuse two.
inline float scored(const Scan &scan, const Query &query, int64_t place) {
    volatile float score = score_one(query.vector, scan.item_vectors + scan.row_of[place] * scan.width, scan.width);
    if (scan.factor) score = score * scan.factor[place];
    if (scan.biases) score = score + scan.biases[place];
    return score;
}

// Memory answers late, and much sooner to many than to one after the other.
inline void fetch(const Scan &scan, int64_t place) {
    const float *vector = scan.item_vectors + scan.row_of[place] * scan.width;
    for (int64_t j = 0; j < scan.width; j += 16) __builtin_prefetch(vector + j);
}

// Scores those kept that can still be in the answer; returns the worst score that may be.
inline float settled(const Scan &scan, const Query &query, const Kept *kept, int64_t count, float worst, Best &best) {
    for (int64_t n = 0; n < count; ++n) {
        if (n + ahead < count && !(kept[n + ahead].most < worst)) fetch(scan, kept[n + ahead].place);
        if (kept[n].most < worst) continue;
        best.offer(scan.row_of[kept[n].place], scored(scan, query, kept[n].place));
        if (best.size == best.k && best.scores[0] > worst) worst = best.scores[0];
    }
    return worst;
}

}  // namespace

void scan_all(const Scan &scan, double *reals, int16_t *codes) {
    const Query query = quantised(scan, reals, reinterpret_cast<float *>(reals + scan.width), codes);
    Best best = {scan.rows, scan.scores, scan.k, 0}, least = {scan.least_places, scan.least_scores, scan.k, 0};
    Kept kept[room];
    int64_t count = 0;
    float worst = -HUGE_VALF;
    for (int64_t first = 0; first < scan.n_items; first += scan_group) {
        const float *of_group = scan.bounds + first / scan_group * scan_bounds;
        const float more = slack(query, of_group);
        if (!scan.factor && rounded(query.length * of_group[0] + more + of_group[2]) < worst) continue;
        const int64_t end = scan.n_items - first < scan_group ? scan.n_items : first + scan_group;
        const int64_t before = count;
        count = by_codes(scan, query, first, end, more, worst, kept, count);
        for (int64_t n = before; n < count; ++n) least.offer(kept[n].place, kept[n].least);
        if (least.size == least.k && least.scores[0] > worst) worst = least.scores[0];
        if (count > room - scan_group) worst = settled(scan, query, kept, count, worst, best), count = 0;
    }
    settled(scan, query, kept, count, worst, best);
    best.finish();
}

}  // namespace RECSYS_ISA
}  // namespace recsys
