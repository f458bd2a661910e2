#pragma once

#include "simd/kernels.hpp"

namespace edge_ad {

// Sums over all pixels of products of the moved picture and the planes, times the weights where the frame
// shows the pixel: out [1 + count][1 + count], symmetric; the moved picture is number 0.
void moved_products(const Moved& of, double* out);

}  // namespace edge_ad
