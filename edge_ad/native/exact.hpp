#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "coreset.hpp"
#include "pool.hpp"

namespace edge_ad {

// Some rows of a [.][dim] array of queries.
struct Queries {
    const float* data;
    std::size_t dim;
    const std::int32_t* rows;  // null: all
    std::size_t count;

    std::size_t index(std::size_t i) const { return rows == nullptr ? i : static_cast<std::size_t>(rows[i]); }
    const float* row(std::size_t i) const { return data + index(i) * dim; }
};

// Which parts of a coreset to search: ascending, each once.
struct Parts {
    const std::int32_t* ids;  // null: all
    std::size_t count;
};

// Rows one after the other.
struct Range {
    std::size_t first, size;
};

// The rows of the parts, in ascending order.
std::vector<Range> ranges_of(const Coreset& coreset, const Parts& parts);

// Writes for each query the Euclidean distances to, and the indices of, the k rows with the least squared
// distances in the difference form (Kernels::sqdist), ascending, ties to the lowest index: whatever the
// tiling, the threads, the other queries and the bounds. A query with NaN, Inf or a norm past float gets +inf
// and -1, and so do places for which there is no usable row.
void exact_search(const Coreset& coreset, const Parts& parts, const Queries& queries, std::size_t k,
                  Pool& pool, float* distances, std::int32_t* indices);

// The two ways to do it; by bounds only where the coreset has some.
void brute_search(const Coreset& coreset, const Parts& parts, const Queries& queries, std::size_t k,
                  Pool& pool, float* distances, std::int32_t* indices);
void bounded_search(const Coreset& coreset, const Parts& parts, const Queries& queries, std::size_t k,
                    Pool& pool, float* distances, std::int32_t* indices);

}  // namespace edge_ad
