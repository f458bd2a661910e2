#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace edge_ad {

struct Best {
    float squared = std::numeric_limits<float>::infinity();
    std::int32_t index = -1;
};

// The k nearest rows so far, ascending, ties to the lowest row. A row may be offered twice.
struct Nearest {
    Best* best;
    std::size_t k;

    float bound() const { return best[k - 1].squared; }

    void clear() { std::fill(best, best + k, Best{}); }

    void offer(float squared, std::size_t row) {
        const auto index = static_cast<std::int32_t>(row);
        const auto before = [&](const Best& other) {
            return squared < other.squared || (squared == other.squared && index < other.index);
        };
        if (!before(best[k - 1])) return;
        for (std::size_t i = 0; k > 1 && i < k; ++i)
            if (best[i].index == index) return;
        std::size_t place = k - 1;
        for (; place > 0 && before(best[place - 1]); --place) best[place] = best[place - 1];
        best[place] = {squared, index};
    }

    void write(float* distances, std::int32_t* indices) const {
        for (std::size_t i = 0; i < k; ++i) {
            distances[i] = std::sqrt(best[i].squared);
            indices[i] = best[i].index;
        }
    }
};

}  // namespace edge_ad
