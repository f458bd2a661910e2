#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pool.hpp"

namespace edge_ad {

// Greedy k-centre selection (Gonzalez 1985), with the picks of the plain algorithm: each time the point
// farthest from all centres so far, ties to the lowest index.
class KCenter {
  public:
    // points: [size][dim], kept by reference. Throws Fault when a distance to the first centre is not finite.
    KCenter(const float* points, std::size_t size, std::size_t dim, std::size_t start, Pool& pool);

    // Picks up to n more centres; fewer when every point left is a duplicate of a centre.
    std::size_t advance(std::size_t n, Pool& pool);
    const std::vector<std::int32_t>& selected() const { return selected_; }
    float radius() const;

  private:
    void pick(std::size_t centre, Pool& pool);
    void set_limits(const float* centre, Pool& pool);
    const float* point(std::size_t i) const { return points_ + i * dim_; }

    const float* points_;
    std::size_t size_, dim_;
    std::vector<std::int32_t> selected_;
    std::vector<std::int32_t> nearest_;  // [size] which of selected_ is the nearest
    std::vector<float> sqdist_;          // [size] its squared distance
    std::vector<float> limits_;          // [centres] points at most so far from that centre stay with it
    float farthest_ = 0.0f;              // the largest of sqdist_
    std::size_t farthest_index_ = 0;
};

}  // namespace edge_ad
