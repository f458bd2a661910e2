#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edge_ad {

// A view of the coreset and what exact search wants to know of it beforehand. Rows with NaN, Inf or a norm
// whose square a float cannot hold are kept out of the mean and the norms, and never win.
struct Coreset {
    Coreset(const float* rows, std::size_t size, std::size_t dim);

    const float* rows;  // [size][dim], owned by the caller
    std::size_t size, dim;
    std::vector<float> mean;        // [dim], of the finite rows
    std::vector<float> half_norms;  // [size], half the squared distance to the mean; Inf: never wins
    double most_norm;               // the largest norm of a finite row
    double most_half_norm;          // the largest finite half norm

    const float* row(std::size_t i) const { return rows + i * dim; }
};

}  // namespace edge_ad
