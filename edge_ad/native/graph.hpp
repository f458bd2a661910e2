#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "coreset.hpp"
#include "exact.hpp"
#include "pool.hpp"

namespace edge_ad {

// An HNSW graph as it stands in a bundle: arrays owned by the caller, read once.
struct GraphArrays {
    const std::uint8_t* levels;  // [size]
    const std::int32_t* links0;  // [size][links0_width], padded by -1
    std::size_t links0_width;
    const std::int32_t* upper;  // [sum of levels][upper_width], padded by -1
    std::size_t upper_rows, upper_width;
    std::int64_t entry;
};

// A checked copy of the graph: whatever becomes of the arrays, no search leaves its memory.
class Graph {
  public:
    // Throws Fault when the arrays do not make a graph over the coreset.
    Graph(const Coreset& coreset, const GraphArrays& arrays);

    const Coreset& coreset() const { return coreset_; }
    std::int32_t entry() const { return entry_; }
    std::size_t level(std::int32_t node) const { return levels_[static_cast<std::size_t>(node)]; }
    std::size_t width(std::size_t level) const { return level == 0 ? links0_width_ : upper_width_; }
    // The links of a node, ended by -1 or by the width of the level.
    const std::int32_t* links(std::int32_t node, std::size_t level) const {
        const auto i = static_cast<std::size_t>(node);
        return level == 0 ? links0_.data() + i * links0_width_
                          : upper_.data() + (upper_start_[i] + level - 1) * upper_width_;
    }

  private:
    void check_links(const std::vector<std::int32_t>& links, std::size_t row, std::size_t width,
                     std::size_t level) const;

    const Coreset& coreset_;
    std::vector<std::uint8_t> levels_;
    std::vector<std::size_t> upper_start_;
    std::vector<std::int32_t> links0_, upper_;
    std::size_t links0_width_, upper_width_;
    std::int32_t entry_;
};

// Best-first search for each query (a patch of a grid grid_width wide, rows ascending), seeded as
// module.cpp's documentation says. distances and indices have queries.count elements.
void graph_search(const Graph& graph, const Queries& queries, Pool& pool, std::size_t ef,
                  std::size_t grid_width, float* distances, std::int32_t* indices);

// Grid rows that share their seeds: a stripe is searched by one thread, in order.
constexpr std::size_t kStripeRows = 4;

}  // namespace edge_ad
