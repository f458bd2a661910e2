#pragma once

#include <cstddef>
#include <cstdint>

#include "exact.hpp"
#include "pool.hpp"

namespace edge_ad {

// A Gaussian for each of `count` patches over `dim` of the numbers of a patch.
struct Gaussians {
    const std::int32_t* channels;  // [dim], each below the dimension of a patch
    const float* means;            // [count][dim]
    const float* factors;          // [count][dim * (dim + 1) / 2]: W by its columns, from the diagonal down
    std::size_t dim;
};

// |W (x - mean)| of each query, the i-th with the i-th Gaussian.
void mahalanobis(const Gaussians& gaussians, const Queries& queries, Pool& pool, float* distances);

}  // namespace edge_ad
