#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace edge_ad {

class Bounds;
class Pool;

// A view of the coreset and what exact search wants to know of it beforehand. Rows with NaN, Inf or a norm
// whose square a float cannot hold are kept out of the mean and the norms, and never win.
struct Coreset {
    // A search may be among some parts of the coreset, of part_rows rows each, the last one being shorter
    // perhaps.
    Coreset(const float* rows, std::size_t size, std::size_t dim, std::size_t part_rows, Pool& pool);
    ~Coreset();
    Coreset(const Coreset&) = delete;
    Coreset& operator=(const Coreset&) = delete;

    // Prepares exact search by bounds; see Bounds for the basis [width][dim].
    void bound(const float* basis, std::size_t width, Pool& pool);

    const float* rows;  // [size][dim], owned by the caller
    std::size_t size, dim, part_rows;
    std::vector<float> mean;               // [dim], of the finite rows
    std::vector<float> half_norms;         // [size], half the squared distance to the mean; Inf: never wins
    double most_norm;                      // the largest norm of a finite row
    double most_half_norm;                 // the largest finite half norm
    std::unique_ptr<const Bounds> bounds;  // may be null

    const float* row(std::size_t i) const { return rows + i * dim; }
};

}  // namespace edge_ad
