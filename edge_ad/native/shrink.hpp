#pragma once

#include <cstddef>
#include <cstdint>

#include "pool.hpp"

namespace edge_ad {

// u8 pixels of 1 or 3 channels side by side, in rows `stride` bytes apart.
struct Image {
    const std::uint8_t* pixels;
    std::ptrdiff_t stride;
    std::size_t channels;
};

// Area averages of blocks of factor_y x factor_x pixels, each 1 .. kMostShrink: out
// [height][width][channels]. pool: threads for a large image, or null.
void shrink(const Image& image, std::size_t factor_y, std::size_t factor_x, std::size_t height,
            std::size_t width, Pool* pool, std::uint8_t* out);

}  // namespace edge_ad
