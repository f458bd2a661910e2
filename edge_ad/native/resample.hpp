#pragma once

#include <cstddef>
#include <cstdint>

#include "pool.hpp"

namespace edge_ad {

enum class Filter { kBilinear, kBicubic, kBox };  // numbered as FILTERS of __init__.py

// Pixels of 1 or 3 channels side by side, in rows `stride` bytes apart.
template <typename Pixel>
struct Picture {
    const Pixel* pixels;
    std::ptrdiff_t stride;
    std::size_t height, width, channels;
};

// The picture at another size: out [height][width][channels]. A filter is as wide as the factor that the
// picture shrinks by, and never narrower than that of growing. Sides are 1 .. kMostSide. First rows are
// filtered, to numbers with kFraction bits behind the point, limited to what a pixel may be; then columns.
// All sums are integers, so the result is the same for every instruction set and number of threads. pool:
// threads for a large picture, or null. 16-bit pixels are filtered without vectors.
void resample(const Picture<std::uint8_t>& picture, Filter filter, std::size_t height, std::size_t width,
              Pool* pool, std::uint8_t* out);
void resample(const Picture<std::uint16_t>& picture, Filter filter, std::size_t height, std::size_t width,
              Pool* pool, std::uint16_t* out);

constexpr std::size_t kMostSide = 1 << 24;

}  // namespace edge_ad
