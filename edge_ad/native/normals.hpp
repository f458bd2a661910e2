// Photometric stereo: a normal for each pixel, from pictures of one part under several lights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pool.hpp"

namespace edge_ad {

// Pictures of height x width pixels of 1 or 3 channels side by side; rows[n] is picture n, its rows
// strides[n] bytes apart. The same holds for `ambient`, which may be null.
template <typename Pixel>
struct Stack {
    std::size_t height, width, channels;
    std::vector<const Pixel*> pictures;
    std::vector<std::ptrdiff_t> strides;
    const Pixel* ambient;
    std::ptrdiff_t ambient_stride;
    const float* gains;        // [pictures][height][width] factors of the samples, or null
    const std::uint8_t* mask;  // [height][width], not 0 where normals are wanted; or null for all
};

// The lights of the pictures: directions [count][3]; scales [count][channels], times which pixels are
// samples; solver [3][count] and null [4] as Lighting has them.
struct Lights {
    const float* directions;
    const float* scales;
    const float* solver;
    const float* null;
    bool robust;
    float dark, white;
};

// What is found: normals [height][width][3] and the others [height][width]; 0 where there is no normal.
struct Surface {
    float *normals, *albedo, *residual;
    std::uint8_t* lit;
};

// Every pixel by itself, so the bits are the same for every number of threads and, as kernels use no sum of
// products rounded once, for every instruction set. pool: threads, or null.
void photometric(const Stack<std::uint8_t>& stack, const Lights& lights, Pool* pool, const Surface& found);
void photometric(const Stack<std::uint16_t>& stack, const Lights& lights, Pool* pool, const Surface& found);

}  // namespace edge_ad
