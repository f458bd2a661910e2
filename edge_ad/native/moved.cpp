// How a picture that is moved by a matrix fits planes beside it: what a step of Gauss-Newton needs, in one
// pass.
#include "moved.hpp"

#include <algorithm>
#include <vector>

#include "isa.hpp"

namespace edge_ad {

namespace {

constexpr std::size_t kBlock = 512;  // pixels summed in float before they join a sum in double

}  // namespace

void moved_products(const Moved& of, double* out) {
    const Kernels& with = kernels();
    const std::size_t rows = std::max<std::size_t>(1, kBlock / of.width), side = of.count + 1;
    std::vector<float> work(2 * rows * of.width);
    std::fill_n(out, side * side, 0.0);
    for (std::size_t first = 0; first < of.height; first += rows)
        with.moved_products(of, first, std::min(first + rows, of.height), work.data(), out);
    for (std::size_t i = 0; i < side; ++i)
        for (std::size_t j = 0; j < i; ++j) out[i * side + j] = out[j * side + i];
}

}  // namespace edge_ad
