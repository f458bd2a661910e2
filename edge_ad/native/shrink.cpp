// Area averages by whole factors, to the bit those of OpenCV's INTER_AREA. One thread: the frame comes from
// memory, and is read in a fraction of a millisecond.
#include "shrink.hpp"

#include <algorithm>
#include <vector>

#include "isa.hpp"

namespace edge_ad {

void shrink(const Image& image, std::size_t factor_y, std::size_t factor_x, std::size_t height,
            std::size_t width, std::uint8_t* out) {
    const Kernels& with = kernels();
    // OpenCV rounds halves up for blocks of 2 x 2, where it computes (sum + 2) >> 2, and to even elsewhere.
    const float nudge = factor_y == 2 && factor_x == 2 ? 0.125f : 0.0f;
    std::vector<std::uint16_t> sums(std::max<std::size_t>(2 * width * factor_x * image.channels, 8));
    const std::ptrdiff_t step = image.stride * static_cast<std::ptrdiff_t>(factor_y);
    for (std::size_t y = 0; y < height; ++y)
        with.shrink_row(image.pixels + static_cast<std::ptrdiff_t>(y) * step, image.stride, factor_y,
                        factor_x, image.channels, width, nudge, sums.data(),
                        out + y * width * image.channels);
}

}  // namespace edge_ad
