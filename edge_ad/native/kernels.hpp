// What every instruction set provides. This header is included by translation units built with
// ISA-specific flags, so it holds plain declarations only: no inline function, nothing from std.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edge_ad {

struct Kernels {
    const char* name;
    // Exact search works on a tile of lanes * vectors queries (vectors <= max_vectors) packed as
    // [dim][lanes * vectors], and on groups of group_rows coreset rows.
    std::size_t lanes;
    std::size_t max_vectors;
    std::size_t group_rows;

    // Half the squared distance, less a term of the query alone: value = half_norm(row) - <query, row>.
    // Group g covers the rows from min(g * group_rows, size - group_rows), so the last one overlaps its
    // neighbour rather than be short; size >= group_rows. For each group in [first, last) write the
    // minimum of value per lane to minima[(g - first) * width ..] and lower running[width]. NaN is ignored.
    void (*group_minima)(const float* packed, std::size_t vectors, const float* rows, std::size_t size,
                         std::size_t dim, const float* half_norms, std::size_t first, std::size_t last,
                         float* minima, float* running);

    // The first group at or after `group` with some lane's minimum <= that lane's limit, or `groups`;
    // those lanes are the bits of *lanes_hit.
    std::size_t (*next_hit)(const float* minima, std::size_t vectors, const float* limits, std::size_t group,
                            std::size_t groups, std::uint64_t* lanes_hit);

    // Squared distances in the difference form. The three give the same bits for the same pair of rows.
    // With a limit, a result above the limit may be any partial sum above it.
    float (*sqdist)(const float* a, const float* b, std::size_t dim);
    void (*sqdist_rows)(const float* query, const float* rows, std::size_t count, std::size_t dim,
                        float* out);
    void (*sqdist_ids)(const float* query, const float* base, const std::int32_t* ids, std::size_t count,
                       std::size_t dim, float limit, float* out);

    // One step of greedy k-centre over the points [begin, end): where sqdist[i] > limits[nearest[i]] the
    // point may be nearer to the new centre; its distance is computed and, if less, taken over. Returns
    // the largest sqdist of the range afterwards and the lowest index that has it.
    float (*relax)(const float* points, std::size_t dim, const float* centre, std::int32_t centre_id,
                   const float* limits, std::int32_t* nearest, float* sqdist, std::size_t begin,
                   std::size_t end, std::size_t* argmax);

    // |W v|^2 of a lower triangular W, packed by its columns from the diagonal down; `product` [dim] is
    // working memory and must not overlap the others.
    float (*triangular_norm)(const float* packed, const float* vector, std::size_t dim, float* product);
};

const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();
const Kernels* kernels_neon();

}  // namespace edge_ad
