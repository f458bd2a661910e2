// Mahalanobis distances by packed triangular factors. Each factor is read once, so that memory is the limit.
#include "mahalanobis.hpp"

#include <algorithm>
#include <cmath>

#include "isa.hpp"

namespace edge_ad {
namespace {

constexpr std::size_t kTaskPatches = 32;

}  // namespace

void mahalanobis(const Gaussians& gaussians, const Queries& queries, Pool& pool, float* distances) {
    const Kernels& with = kernels();
    const std::size_t dim = gaussians.dim, packed = dim * (dim + 1) / 2;
    pool.run((queries.count + kTaskPatches - 1) / kTaskPatches, [&](std::size_t task, Scratch& scratch) {
        float* centred = scratch.get<float>(0, dim);
        float* product = scratch.get<float>(1, dim);
        const std::size_t first = task * kTaskPatches;
        const std::size_t last = std::min(first + kTaskPatches, queries.count);
        for (std::size_t i = first; i < last; ++i) {
            const float* query = queries.row(i);
            const float* mean = gaussians.means + i * dim;
            for (std::size_t k = 0; k < dim; ++k)
                centred[k] = query[static_cast<std::size_t>(gaussians.channels[k])] - mean[k];
            distances[i] =
                std::sqrt(with.triangular_norm(gaussians.factors + i * packed, centred, dim, product));
        }
    });
}

}  // namespace edge_ad
