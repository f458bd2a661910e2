// A point x with nearest centre c stays with it when a new centre n comes, if d(n, c) >= 2 d(x, c): by the
// triangle inequality d(x, n) >= d(n, c) - d(x, c) >= d(x, c). So a step reads eight bytes of most points.
#include "kcenter.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "error.hpp"
#include "isa.hpp"

namespace edge_ad {
namespace {

constexpr std::size_t kChunk = 8192;       // points a task takes
constexpr std::size_t kCentreChunk = 512;  // centres a task takes

}  // namespace

KCenter::KCenter(const float* points, std::size_t size, std::size_t dim, std::size_t start, Pool& pool)
    : points_(points),
      size_(size),
      dim_(dim),
      nearest_(size, 0),
      sqdist_(size, std::numeric_limits<float>::infinity()) {
    const Kernels& with = kernels();
    const std::size_t tasks = (size + kChunk - 1) / kChunk;
    pool.run(tasks, [&](std::size_t task, Scratch&) {
        const std::size_t first = task * kChunk, count = std::min(kChunk, size_ - first);
        with.sqdist_rows(point(start), point(first), count, dim_, sqdist_.data() + first);
    });
    selected_.push_back(static_cast<std::int32_t>(start));
    for (std::size_t i = 0; i < size; ++i) {
        if (!std::isfinite(sqdist_[i]))
            throw Fault("the distance from the first centre is not finite", "finite points",
                        std::to_string(sqdist_[i]) + " at point " + std::to_string(i));
        if (sqdist_[i] > farthest_) {
            farthest_ = sqdist_[i];
            farthest_index_ = i;
        }
    }
}

float KCenter::radius() const {
    return std::sqrt(farthest_);
}

std::size_t KCenter::advance(std::size_t n, Pool& pool) {
    std::size_t picked = 0;
    for (; picked < n && farthest_ > 0.0f; ++picked) pick(farthest_index_, pool);
    return picked;
}

// limits_[j] = a quarter of the squared distance to centre j, less what rounding can amount to: both
// distances compared err by less than (dim + 8) * 2^-23 of themselves. Tiny ones rule nothing out.
void KCenter::set_limits(const float* centre, Pool& pool) {
    const Kernels& with = kernels();
    const double margin = 4.0 * (static_cast<double>(dim_) + 8.0) / (1 << 23);
    const auto quarter = static_cast<float>(0.25 * std::max(0.0, 1.0 - margin));
    const std::size_t centres = selected_.size();
    limits_.resize(centres);
    pool.run((centres + kCentreChunk - 1) / kCentreChunk, [&](std::size_t task, Scratch&) {
        const std::size_t first = task * kCentreChunk, count = std::min(kCentreChunk, centres - first);
        with.sqdist_ids(centre, points_, selected_.data() + first, count, dim_,
                        std::numeric_limits<float>::infinity(), limits_.data() + first);
        for (std::size_t j = first; j < first + count; ++j)
            limits_[j] = limits_[j] > 1e-30f ? limits_[j] * quarter : 0.0f;
    });
}

void KCenter::pick(std::size_t centre, Pool& pool) {
    struct Most {
        float squared;
        std::size_t index;
    };
    const Kernels& with = kernels();
    set_limits(point(centre), pool);
    const auto id = static_cast<std::int32_t>(selected_.size());
    selected_.push_back(static_cast<std::int32_t>(centre));
    std::vector<Most> most((size_ + kChunk - 1) / kChunk);
    pool.run(most.size(), [&](std::size_t task, Scratch&) {
        const std::size_t first = task * kChunk, last = std::min(first + kChunk, size_);
        most[task].squared = with.relax(points_, dim_, point(centre), id, limits_.data(), nearest_.data(),
                                        sqdist_.data(), first, last, &most[task].index);
    });
    farthest_ = 0.0f;
    for (const Most& chunk : most) {
        if (chunk.squared > farthest_) {
            farthest_ = chunk.squared;
            farthest_index_ = chunk.index;
        }
    }
}

}  // namespace edge_ad
