// Sums of products of a picture that is moved by a matrix and of planes beside it, for any instruction set.
// The Simd of the including file gives the registers.

using Reg = Simd::Reg;
constexpr std::size_t kMovedLanes = Simd::kLanes;
constexpr std::size_t kMovedChunk = 32;  // pixels, a multiple of the lanes of every instruction set

// The sums of one value times each of kCount others, which share its loads.
template <std::size_t kCount>
EDGE_AD_INLINE void add_products(const float* weights, const float* one, const float* const* others,
                                 std::size_t pixels, double* sums) {
    Reg totals[kCount];
    for (std::size_t c = 0; c < kCount; ++c) totals[c] = Simd::zero();
    std::size_t k = 0;
    for (; k + kMovedLanes <= pixels; k += kMovedLanes) {
        const Reg weighted = Simd::mul(Simd::load(weights + k), Simd::load(one + k));
        for (std::size_t c = 0; c < kCount; ++c)
            totals[c] = Simd::fma(weighted, Simd::load(others[c] + k), totals[c]);
    }
    if (k < pixels) {
        const std::size_t left = pixels - k;
        const Reg weighted =
            Simd::mul(Simd::load_partial(weights + k, left), Simd::load_partial(one + k, left));
        for (std::size_t c = 0; c < kCount; ++c)
            totals[c] = Simd::fma(weighted, Simd::load_partial(others[c] + k, left), totals[c]);
    }
    for (std::size_t c = 0; c < kCount; ++c) sums[c] += static_cast<double>(Simd::reduce_add(totals[c]));
}

// Some pixels of a row of the moved picture, and 1 or 0: whether the frame shows what they show. Pixels
// beyond the end of the row are made too. A coordinate that is NaN reads the first pixel. The compiler makes
// vectors of all loops but the copying one: that is faster than the gathers of AMD's CPUs.
EDGE_AD_INLINE void moved_chunk(const Moved& of, std::size_t row, std::size_t column, float* moved,
                                float* shown) {
    const float y = static_cast<float>(row), right = static_cast<float>(of.width - 1),
                bottom = static_cast<float>(of.height - 1);
    const float ax = of.matrix[0], bx = of.matrix[1] * y + of.matrix[2];
    const float ay = of.matrix[3], by = of.matrix[4] * y + of.matrix[5];
    const auto width = static_cast<std::int32_t>(of.width), first = static_cast<std::int32_t>(column),
               last_x = width - 2, last_y = static_cast<std::int32_t>(of.height) - 2;
    std::int32_t ids[kMovedChunk];
    float part_x[kMovedChunk], part_y[2 * kMovedChunk], above[2 * kMovedChunk], below[2 * kMovedChunk];
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(kMovedChunk); ++i) {
        const float x = static_cast<float>(first + i), at_x = ax * x + bx, at_y = ay * x + by;
        const bool inside =
            (at_x >= -0.5f) & (at_x <= right + 0.5f) & (at_y >= -0.5f) & (at_y <= bottom + 0.5f);
        shown[i] = inside ? 1.0f : 0.0f;
        const float past_x = at_x > 0.0f ? at_x : 0.0f, past_y = at_y > 0.0f ? at_y : 0.0f;
        const float cx = past_x < right ? past_x : right, cy = past_y < bottom ? past_y : bottom;
        const auto floor_x = static_cast<std::int32_t>(cx), floor_y = static_cast<std::int32_t>(cy);
        const std::int32_t x0 = floor_x < last_x ? floor_x : last_x, y0 = floor_y < last_y ? floor_y : last_y;
        part_x[i] = cx - static_cast<float>(x0);
        part_y[2 * i] = part_y[2 * i + 1] = cy - static_cast<float>(y0);
        ids[i] = y0 * width + x0;
    }
    for (std::size_t i = 0; i < kMovedChunk; ++i) {  // two neighbours at once
        __builtin_memcpy(above + 2 * i, of.picture + ids[i], 2 * sizeof(float));
        __builtin_memcpy(below + 2 * i, of.picture + of.width + ids[i], 2 * sizeof(float));
    }
    for (std::size_t i = 0; i < 2 * kMovedChunk; ++i) above[i] += part_y[i] * (below[i] - above[i]);
    for (std::size_t i = 0; i < kMovedChunk; ++i)
        moved[i] = above[2 * i] + part_x[i] * (above[2 * i + 1] - above[2 * i]);
}

void moved_products(const Moved& of, std::size_t first, std::size_t last, float* work, double* sums) {
    const std::size_t pixels = (last - first) * of.width, from = first * of.width, side = of.count + 1;
    float *moved = work, *weights = work + pixels;
    float values[kMovedChunk], shown[kMovedChunk];
    for (std::size_t row = first; row < last; ++row)
        for (std::size_t column = 0; column < of.width; column += kMovedChunk) {
            const std::size_t at = row * of.width + column, left = of.width - column;
            moved_chunk(of, row, column, values, shown);
            for (std::size_t i = 0; i < (left < kMovedChunk ? left : kMovedChunk); ++i) {
                moved[at - from + i] = values[i];
                weights[at - from + i] = shown[i] * of.weights[at + i];
            }
        }
    const float* all[1 + kMostPlanes] = {moved};
    for (std::size_t i = 0; i < of.count; ++i) all[1 + i] = of.planes + i * of.height * of.width + from;
    for (std::size_t i = 0; i < side; ++i)
        for (std::size_t j = i; j < side;) {
            double* to = sums + i * side + j;
            if (j + 4 <= side) {
                add_products<4>(weights, all[i], all + j, pixels, to);
                j += 4;
            } else if (j + 2 <= side) {
                add_products<2>(weights, all[i], all + j, pixels, to);
                j += 2;
            } else {
                add_products<1>(weights, all[i], all + j, pixels, to);
                j += 1;
            }
        }
}
