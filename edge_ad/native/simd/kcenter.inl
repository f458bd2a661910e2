// A step of greedy k-centre, once for all instruction sets: part of kernels.inl, which includes it.

// Numbers of the points beyond the limit, ascending.
EDGE_AD_INLINE std::size_t beyond(const float* sqdist, std::size_t count, float limit,
                                  std::int32_t* numbers) {
    const Reg least = Simd::splat(limit);
    std::size_t found = 0, i = 0;
    for (; i + kLanes <= count; i += kLanes)
        for (std::uint32_t left = Simd::gt_mask(Simd::load(sqdist + i), least); left != 0; left &= left - 1)
            numbers[found++] = static_cast<std::int32_t>(i) + __builtin_ctz(left);
    for (; i < count; ++i)
        if (sqdist[i] > limit) numbers[found++] = static_cast<std::int32_t>(i);
    return found;
}

// Those of the numbers that the sieve lets through. Without branches: which these are cannot be foreseen.
EDGE_AD_INLINE std::size_t sieved(const Sieve& sieve, const float* sqdist, std::int32_t* numbers,
                                  std::size_t count) {
    constexpr std::size_t kAhead = 8;
    std::size_t left = 0;
    for (std::size_t n = 0; n < count; ++n) {
        if (n + kAhead < count)
            prefetch_row(sieve.sketches + static_cast<std::size_t>(numbers[n + kAhead]) * kSketch, kSketch,
                         kSketch);
        const auto i = static_cast<std::size_t>(numbers[n]);
        const float apart =
            squared_distance<false>(sieve.sketches + i * kSketch, sieve.centre, kSketch, 0.0f);
        numbers[left] = numbers[n];
        left += !(apart > sieve.factor * sqdist[i] + sieve.slack);
    }
    return left;
}

EDGE_AD_INLINE float largest_of(const float* values, std::size_t count) {
    Reg largest = Simd::zero();
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) largest = Simd::max_number(Simd::load(values + i), largest);
    float lanes[kLanes], most = 0.0f;
    Simd::store(lanes, largest);
    for (const float lane : lanes) most = lane > most ? lane : most;
    for (; i < count; ++i) most = values[i] > most ? values[i] : most;
    return most;
}

std::size_t relax(const float* points, std::size_t dim, const float* centre, float limit, const Sieve& sieve,
                  const std::int32_t* ids, float* sqdist, std::size_t count, std::int32_t* moved,
                  float* taken, float* most) {
    constexpr std::size_t kAhead = 3;
    std::size_t left = beyond(sqdist, count, limit, moved), found = 0;
    if (sieve.sketches != nullptr) left = sieved(sieve, sqdist, moved, left);
    const auto point = [&](std::size_t n) { return points + static_cast<std::size_t>(ids[moved[n]]) * dim; };
    for (std::size_t n = 0; n < left; ++n) {
        if (n + kAhead < left) prefetch_row(point(n + kAhead), dim, 128);
        const std::int32_t i = moved[n];
        const float distance = squared_distance<true>(point(n), centre, dim, sqdist[i]);
        if (!(distance < sqdist[i])) continue;
        moved[found] = i;
        taken[found++] = distance;
        sqdist[i] = -1.0f;
    }
    *most = largest_of(sqdist, count);
    return found;
}

template <std::size_t kRows>
EDGE_AD_INLINE void sketch_rows(const float* points, std::size_t dim, const float* origin,
                                const float* columns, float* out) {
    constexpr std::size_t kVectors = kSketch / kLanes;
    Reg sums[kRows][kVectors];
    for (std::size_t r = 0; r < kRows; ++r)
        for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = Simd::zero();
    for (std::size_t k = 0; k < dim; ++k) {
        const Reg from = Simd::broadcast(origin + k);
        for (std::size_t r = 0; r < kRows; ++r) {
            const Reg element = Simd::sub(Simd::broadcast(points + r * dim + k), from);
            for (std::size_t v = 0; v < kVectors; ++v)
                sums[r][v] = Simd::fma(element, Simd::load(columns + k * kSketch + v * kLanes), sums[r][v]);
        }
    }
    for (std::size_t r = 0; r < kRows; ++r)
        for (std::size_t v = 0; v < kVectors; ++v) Simd::store(out + r * kSketch + v * kLanes, sums[r][v]);
}

void sketch(const float* points, std::size_t count, std::size_t dim, const float* origin,
            const float* columns, float* out) {
    constexpr std::size_t kRows = kLanes >= 8 ? kLanes / 4 : 1;  // sums fit the registers
    std::size_t i = 0;
    for (; i + kRows <= count; i += kRows)
        sketch_rows<kRows>(points + i * dim, dim, origin, columns, out + i * kSketch);
    for (; i < count; ++i) sketch_rows<1>(points + i * dim, dim, origin, columns, out + i * kSketch);
}
