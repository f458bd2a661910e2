// Area averages by whole factors, to the bit those of OpenCV's INTER_AREA.
#include "shrink.hpp"

#include <algorithm>
#include <vector>

#include "isa.hpp"

namespace edge_ad {

namespace {

constexpr std::size_t kPooled = 1 << 20;  // bytes from which on waking the pool is worth it: those of memory
constexpr std::size_t kTaskRows = 16;     // of the result

}  // namespace

void shrink(const Image& image, std::size_t factor_y, std::size_t factor_x, std::size_t height,
            std::size_t width, Pool* pool, std::uint8_t* out) {
    const Kernels& with = kernels();
    // OpenCV rounds halves up for blocks of 2 x 2, where it computes (sum + 2) >> 2, and to even elsewhere.
    const float nudge = factor_y == 2 && factor_x == 2 ? 0.125f : 0.0f;
    const std::size_t room = std::max<std::size_t>(2 * width * factor_x * image.channels, 8);
    const std::ptrdiff_t step = image.stride * static_cast<std::ptrdiff_t>(factor_y);
    const auto shrink_rows = [&](std::size_t first, std::size_t last, std::uint16_t* sums) {
        for (std::size_t y = first; y < last; ++y)
            with.shrink_row(image.pixels + static_cast<std::ptrdiff_t>(y) * step, image.stride, factor_y,
                            factor_x, image.channels, width, nudge, sums, out + y * width * image.channels);
    };
    if (pool == nullptr || height * factor_y * width * factor_x * image.channels < kPooled) {
        std::vector<std::uint16_t> sums(room);
        shrink_rows(0, height, sums.data());
        return;
    }
    pool->run((height + kTaskRows - 1) / kTaskRows, [&](std::size_t task, Scratch& scratch) {
        auto* sums = scratch.get<std::uint16_t>(0, room);
        shrink_rows(task * kTaskRows, std::min((task + 1) * kTaskRows, height), sums);
    });
}

}  // namespace edge_ad
