#pragma once

#include <cstddef>
#include <cstdint>

#include "exact.hpp"

namespace edge_ad {

// The `count` nearest rows of each row of a coreset, as exact_search gives them: [size][count].
struct Neighbours {
    const std::int32_t* ids;
    const float* distances;
    std::size_t count;
};

// What exact_search gives for k = 1, sooner where a row is known that is near: guesses [queries.count], -1
// where there is none. Any guess is allowed.
void guessed_search(const Coreset& coreset, const Neighbours& neighbours, const Queries& queries,
                    const std::int32_t* guesses, Pool& pool, float* distances, std::int32_t* indices);

}  // namespace edge_ad
