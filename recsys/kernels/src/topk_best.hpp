// The k best of what is offered: a part of topk.cpp and of scan.cpp, included once per instruction set.
#pragma once

#include <cmath>
#include <cstdint>

#include "topk.hpp"

namespace recsys {
namespace RECSYS_ISA {
namespace {

// The k best so far as a heap with the worst at the root: a lower score, or an equal one on a later row.
struct Best {
    int32_t *rows;
    float *scores;
    int64_t k, size;

    bool worse(int64_t a, int64_t b) const {
        return scores[a] < scores[b] || (scores[a] == scores[b] && rows[a] > rows[b]);
    }
    void swap(int64_t a, int64_t b) {
        int32_t row = rows[a];
        float score = scores[a];
        rows[a] = rows[b], scores[a] = scores[b];
        rows[b] = row, scores[b] = score;
    }
    void sink(int64_t at, int64_t count) {
        for (int64_t child; (child = 2 * at + 1) < count; at = child) {
            if (child + 1 < count && worse(child + 1, child)) ++child;
            if (!worse(child, at)) return;
            swap(child, at);
        }
    }
    void add(int32_t row, float score) {
        if (size < k) {
            int64_t at = size++;
            rows[at] = row, scores[at] = score;
            for (; at > 0 && worse(at, (at - 1) / 2); at = (at - 1) / 2) swap(at, (at - 1) / 2);
        } else {
            rows[0] = row, scores[0] = score;
            sink(0, k);
        }
    }
    // Rows may come in any order; what is no number is not taken.
    void offer(int32_t row, float score) {
        if (size < k ? score == score : score > scores[0] || (score == scores[0] && row < rows[0])) add(row, score);
    }
    // Best first, then the padding.
    void finish() {
        for (int64_t last = size - 1; last > 0; --last) {
            swap(0, last);
            sink(0, last);
        }
        for (int64_t at = size; at < k; ++at) rows[at] = -1, scores[at] = -HUGE_VALF;
    }
};

}  // namespace
}  // namespace RECSYS_ISA
}  // namespace recsys
