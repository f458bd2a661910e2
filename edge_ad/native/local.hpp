#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edge_ad {

// How far it is from each coreset row to a larger factor: see edge_ad/heads/local.py.
struct Reach {
    const float* levels;  // [count] ascending factors
    const float* far;  // [rows][count]: how far the nearest row is whose factor is above the level; ascending
    std::size_t count;
    float largest;  // of all factors
};

// What a distance times a factor can be at most, of rows that are as near as the given ones or nearer.
// nearest: [count] below the number of rows; negative for an infinite distance.
void value_bounds(const Reach& reach, const float* distances, const std::int32_t* nearest, std::size_t count,
                  float* bounds);

// Weighted means of values over the windows of a grid of patches, some of which may be missing. Immutable.
class Smoothing {
  public:
    // weights: [radius + 1] of a row or column, the middle first; above 0. rows: [count] ascending numbers of
    // the patches in the grid, each below height * width; empty for all. Throws Fault where the grid with its
    // borders is too large, or the weights of a window add up to 0 or to Inf in float32.
    Smoothing(std::vector<float> weights, std::size_t height, std::size_t width,
              const std::vector<std::int32_t>& rows);

    std::size_t count() const { return places_.size(); }

    // [count] cells of [count] values. To the bit those of edge_ad.native.reference_local.
    void smooth(const float* values, float* cells) const;

    // The patches whose exact values are asked for next, ascending; none where the largest cell is certain.
    // At least `least` of them, where so many are open and not needless. values: [count] what is expected of
    // each patch. bounds: [count] the most that it can be. open: [count] 0 where the value is exact, and the
    // bound too.
    std::vector<std::int32_t> choose(const float* values, const float* bounds, const std::uint8_t* open,
                                     std::size_t least) const;

  private:
    friend class Choice;

    std::size_t stride() const { return width_ + 2 * radius_; }
    std::size_t at(std::size_t y, std::size_t x) const { return (y + radius_) * stride() + x + radius_; }
    std::vector<float> plane(const float* values) const;
    std::vector<float> sums_of(const std::vector<float>& plane) const;
    void cells_of(const float* sums, std::size_t y, std::size_t x0, std::size_t x1, float* row) const;
    void down(const float* plane, std::size_t y0, std::size_t y1, std::size_t x0, std::size_t x1,
              float* sums) const;
    void across(const float* sums, std::size_t y, std::size_t x0, std::size_t x1, float* row) const;

    std::vector<float> weights_;
    std::size_t radius_, height_, width_;
    std::vector<std::uint32_t> places_;  // [count] of the patches in a padded plane
    std::vector<float> totals_;  // [height][width] of the weights in each window; 0 where there is no patch
};

}  // namespace edge_ad
