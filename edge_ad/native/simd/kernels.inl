// The kernels, once for all instruction sets. Included by kernels_<isa>.cpp after `struct Simd`, inside an
// unnamed namespace: nothing here has external linkage, so no linker can merge two builds of it.

using Reg = Simd::Reg;
constexpr std::size_t kLanes = Simd::kLanes;
constexpr std::size_t kGroupRows = Simd::kGroupRows;
constexpr std::size_t kMaxVectors = Simd::kMaxVectors;
constexpr std::size_t kChains = 4;                            // independent sums of one distance
constexpr std::size_t kStep = kChains * kLanes;               // floats a step of the main loop takes
constexpr std::size_t kCheckEvery = kStep < 64 ? 64 : kStep;  // floats between looks at the limit

EDGE_AD_INLINE float sum_of(const Reg* sums) {
    return Simd::reduce_add(Simd::add(Simd::add(sums[0], sums[1]), Simd::add(sums[2], sums[3])));
}

EDGE_AD_INLINE void add_square(Reg& sum, Reg a, Reg b) {
    const Reg difference = Simd::sub(a, b);
    sum = Simd::fma(difference, difference, sum);
}

// The one definition of a squared distance: the order of its operations depends on dim alone. Sums of
// squares never decrease, rounding included, so a partial sum above the limit decides.
template <bool kLimited>
EDGE_AD_INLINE float squared_distance(const float* a, const float* b, std::size_t dim, float limit) {
    Reg sums[kChains] = {Simd::zero(), Simd::zero(), Simd::zero(), Simd::zero()};
    std::size_t k = 0;
    for (; k + kStep <= dim; k += kStep) {
        if (kLimited && k != 0 && k % kCheckEvery == 0) {
            const float partial = sum_of(sums);
            if (partial > limit) return partial;
        }
        for (std::size_t c = 0; c < kChains; ++c)
            add_square(sums[c], Simd::load(a + k + c * kLanes), Simd::load(b + k + c * kLanes));
    }
    for (std::size_t c = 0; k + kLanes <= dim; k += kLanes, ++c)
        add_square(sums[c], Simd::load(a + k), Simd::load(b + k));
    if (k < dim)
        add_square(sums[kChains - 1], Simd::load_partial(a + k, dim - k), Simd::load_partial(b + k, dim - k));
    return sum_of(sums);
}

float sqdist(const float* a, const float* b, std::size_t dim) {
    return squared_distance<false>(a, b, dim, 0.0f);
}

void sqdist_rows(const float* query, const float* rows, std::size_t count, std::size_t dim, float* out) {
    for (std::size_t i = 0; i < count; ++i)
        out[i] = squared_distance<false>(query, rows + i * dim, dim, 0.0f);
}

EDGE_AD_INLINE void prefetch_row(const float* row, std::size_t dim, std::size_t most) {
    const std::size_t floats = dim < most ? dim : most;
    for (std::size_t k = 0; k < floats; k += 16) Simd::prefetch(row + k);
}

void sqdist_ids(const float* query, const float* base, const std::int32_t* ids, std::size_t count,
                std::size_t dim, float limit, float* out) {
    constexpr std::size_t kAhead = 3;
    constexpr std::size_t kMostFloats = 128;  // the rest of a long row comes while its head is summed
    for (std::size_t i = 0; i < count && i < kAhead; ++i)
        prefetch_row(base + static_cast<std::size_t>(ids[i]) * dim, dim, kMostFloats);
    for (std::size_t i = 0; i < count; ++i) {
        if (i + kAhead < count)
            prefetch_row(base + static_cast<std::size_t>(ids[i + kAhead]) * dim, dim, kMostFloats);
        const float* row = base + static_cast<std::size_t>(ids[i]) * dim;
        out[i] = squared_distance<true>(query, row, dim, limit);
    }
}

// One group of coreset rows against a tile: kGroupRows * kVectors running dot products in registers.
template <std::size_t kVectors>
EDGE_AD_INLINE void group_minimum(const float* packed, const float* rows, std::size_t dim,
                                  const float* half_norms, float* minima, Reg* running) {
    Reg dots[kGroupRows][kVectors];
    for (std::size_t r = 0; r < kGroupRows; ++r)
        for (std::size_t v = 0; v < kVectors; ++v) dots[r][v] = Simd::zero();
    for (std::size_t k = 0; k < dim; ++k) {
        Reg queries[kVectors];
        for (std::size_t v = 0; v < kVectors; ++v) queries[v] = Simd::load(packed + v * kLanes);
        packed += kVectors * kLanes;
        for (std::size_t r = 0; r < kGroupRows; ++r) {
            const Reg element = Simd::broadcast(rows + r * dim + k);
            for (std::size_t v = 0; v < kVectors; ++v)
                dots[r][v] = Simd::fma(element, queries[v], dots[r][v]);
        }
    }
    for (std::size_t v = 0; v < kVectors; ++v) {
        Reg least = Simd::splat(__builtin_huge_valf());
        for (std::size_t r = 0; r < kGroupRows; ++r)
            least = Simd::min_number(Simd::sub(Simd::broadcast(half_norms + r), dots[r][v]), least);
        Simd::store(minima + v * kLanes, least);
        running[v] = Simd::min_number(least, running[v]);
    }
}

template <std::size_t kVectors>
void group_minima_of(const float* packed, const float* rows, std::size_t size, std::size_t dim,
                     const float* half_norms, std::size_t first, std::size_t last, float* minima,
                     float* running) {
    Reg least[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) least[v] = Simd::load(running + v * kLanes);
    for (std::size_t g = first; g < last; ++g) {
        const std::size_t wanted = g * kGroupRows;
        const std::size_t start = wanted + kGroupRows <= size ? wanted : size - kGroupRows;
        group_minimum<kVectors>(packed, rows + start * dim, dim, half_norms + start, minima, least);
        minima += kVectors * kLanes;
    }
    for (std::size_t v = 0; v < kVectors; ++v) Simd::store(running + v * kLanes, least[v]);
}

void group_minima(const float* packed, std::size_t vectors, const float* rows, std::size_t size,
                  std::size_t dim, const float* half_norms, std::size_t first, std::size_t last,
                  float* minima, float* running) {
    if (vectors == 1) {
        group_minima_of<1>(packed, rows, size, dim, half_norms, first, last, minima, running);
    } else if (vectors == 2) {
        group_minima_of<2>(packed, rows, size, dim, half_norms, first, last, minima, running);
    } else {
        group_minima_of<kMaxVectors>(packed, rows, size, dim, half_norms, first, last, minima, running);
    }
}

std::size_t next_hit(const float* minima, std::size_t vectors, const float* limits, std::size_t group,
                     std::size_t groups, std::uint64_t* lanes_hit) {
    const std::size_t width = vectors * kLanes;
    for (; group < groups; ++group) {
        std::uint64_t hit = 0;
        for (std::size_t v = 0; v < vectors; ++v) {
            const Reg least = Simd::load(minima + group * width + v * kLanes);
            hit |= static_cast<std::uint64_t>(Simd::le_mask(least, Simd::load(limits + v * kLanes)))
                   << (v * kLanes);
        }
        if (hit != 0) {
            *lanes_hit = hit;
            return group;
        }
    }
    return groups;
}

#include "simd/kcenter.inl"

float triangular_norm(const float* packed, const float* vector, std::size_t dim, float* product) {
    for (std::size_t i = 0; i < dim; ++i) product[i] = 0.0f;
    for (std::size_t column = 0; column < dim; ++column) {
        const Reg factor = Simd::splat(vector[column]);
        const std::size_t length = dim - column;
        float* out = product + column;
        std::size_t i = 0;
        for (; i + kLanes <= length; i += kLanes)
            Simd::store(out + i, Simd::fma(factor, Simd::load(packed + i), Simd::load(out + i)));
        for (; i < length; ++i) out[i] += vector[column] * packed[i];
        packed += length;
    }
    Reg sum = Simd::zero();
    std::size_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) add_square(sum, Simd::load(product + i), Simd::zero());
    if (i < dim) add_square(sum, Simd::load_partial(product + i, dim - i), Simd::zero());
    return Simd::reduce_add(sum);
}

// kRows points against kProjectVectors vectors of columns, for one chunk of terms. A slab of the basis is
// kProjectSlab columns, `slab` floats before the next one.
template <std::size_t kRows>
EDGE_AD_INLINE void project_block(const float* centred, std::size_t terms, const float* basis,
                                  std::size_t slab, std::size_t width, float* out, bool first) {
    constexpr std::size_t kVectors = Simd::kProjectVectors, kOfSlab = kProjectSlab / kLanes;
    Reg sums[kRows][kVectors];
    for (std::size_t r = 0; r < kRows; ++r)
        for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = Simd::zero();
    for (std::size_t k = 0; k < terms; ++k) {
        Reg columns[kVectors];
        for (std::size_t v = 0; v < kVectors; ++v)
            columns[v] = Simd::load(basis + v / kOfSlab * slab + k * kProjectSlab + v % kOfSlab * kLanes);
        for (std::size_t r = 0; r < kRows; ++r) {
            const Reg element = Simd::broadcast(centred + r * kProjectChunk + k);
            for (std::size_t v = 0; v < kVectors; ++v)
                sums[r][v] = Simd::fma(element, columns[v], sums[r][v]);
        }
    }
    for (std::size_t r = 0; r < kRows; ++r)
        for (std::size_t v = 0; v < kVectors; ++v) {
            float* to = out + r * width + v * kLanes;
            Simd::store(to, first ? sums[r][v] : Simd::add(Simd::load(to), sums[r][v]));
        }
}

// At most kProjectPoints points: the columns of a block stay in L1 while they pass.
constexpr std::size_t kProjectPoints = 32;

EDGE_AD_INLINE void project_points(const float* const* points, std::size_t count, std::size_t dim,
                                   const float* mean, const float* basis, std::size_t width, float* out) {
    constexpr std::size_t kRows = Simd::kProjectRows, kColumns = Simd::kProjectVectors * kLanes;
    const std::size_t slab = dim * kProjectSlab;
    float centred[kProjectPoints * kProjectChunk];
    for (std::size_t start = 0; start < dim; start += kProjectChunk) {
        const std::size_t terms = dim - start < kProjectChunk ? dim - start : kProjectChunk;
        for (std::size_t i = 0; i < count; ++i)
            for (std::size_t k = 0; k < terms; ++k)
                centred[i * kProjectChunk + k] = points[i][start + k] - mean[start + k];
        for (std::size_t column = 0; column < width; column += kColumns) {
            const float* block =
                basis + column / kProjectSlab * slab + start * kProjectSlab + column % kProjectSlab;
            const auto pass = [&]<std::size_t kNow>(std::size_t i) {
                project_block<kNow>(centred + i * kProjectChunk, terms, block, slab, width,
                                    out + i * width + column, start == 0);
            };
            std::size_t i = 0;
            for (; i + kRows <= count; i += kRows) pass.template operator()<kRows>(i);
            for (; i + 2 <= count; i += 2) pass.template operator()<2>(i);
            if (i < count) pass.template operator()<1>(i);
        }
    }
}

void project(const float* const* points, std::size_t count, std::size_t dim, const float* mean,
             const Basis& basis, float* out) {
    for (std::size_t i = 0; i < count; i += kProjectPoints)
        project_points(points + i, count - i < kProjectPoints ? count - i : kProjectPoints, dim, mean,
                       basis.slabs, basis.width, out + i * basis.width);
}

float encode(const float* values, std::size_t count, float scale, std::int8_t* codes, std::int32_t* norm) {
    // Added to a number of up to 2^22 this leaves its nearest integer in the low bits.
    constexpr float kRounder = 12582912.0f;
    float rounded[kMostCodes];
    const float inverse = 1.0f / scale;
    const Reg factor = Simd::splat(inverse), minus_scale = Simd::splat(-scale),
              rounder = Simd::splat(kRounder);
    Reg residual = Simd::zero(), square = Simd::zero();
    for (std::size_t i = 0; i < count; i += kLanes) {
        const Reg value = Simd::load(values + i), zero = Simd::zero();
        Reg code = Simd::min_number(Simd::fma(value, factor, zero), Simd::splat(127.0f));
        code = Simd::sub(zero, Simd::min_number(Simd::sub(zero, code), Simd::splat(127.0f)));
        code = Simd::sub(Simd::add(code, rounder), rounder);
        const Reg error = Simd::fma(code, minus_scale, value);
        residual = Simd::fma(error, error, residual);
        square = Simd::fma(code, code, square);
        Simd::store(rounded + i, code);
    }
    for (std::size_t i = 0; i < count; ++i)
        codes[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(rounded[i]));
    *norm = static_cast<std::int32_t>(Simd::reduce_add(square));
    return Simd::reduce_add(residual);
}

// Plain loops, which the compiler turns into the vectors of the instruction set.
template <std::size_t kRows, bool kFirst>
EDGE_AD_INLINE void add_rows(const std::uint8_t* rows, std::ptrdiff_t stride, std::size_t count,
                             std::uint16_t* __restrict sums) {
    for (std::size_t i = 0; i < count; ++i) {
        std::uint16_t sum = kFirst ? 0 : sums[i];
        for (std::size_t r = 0; r < kRows; ++r)
            sum = static_cast<std::uint16_t>(
                sum + rows[static_cast<std::ptrdiff_t>(r) * stride + static_cast<std::ptrdiff_t>(i)]);
        sums[i] = sum;
    }
}

template <bool kFirst>
EDGE_AD_INLINE void add_up_to_four(const std::uint8_t* rows, std::ptrdiff_t stride, std::size_t left,
                                   std::size_t count, std::uint16_t* sums) {
    if (left >= 4) {
        add_rows<4, kFirst>(rows, stride, count, sums);
    } else if (left == 3) {
        add_rows<3, kFirst>(rows, stride, count, sums);
    } else if (left == 2) {
        add_rows<2, kFirst>(rows, stride, count, sums);
    } else {
        add_rows<1, kFirst>(rows, stride, count, sums);
    }
}

EDGE_AD_INLINE void add_pairs(const std::uint16_t* __restrict from, std::size_t count,
                              std::uint16_t* __restrict to) {
    for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<std::uint16_t>(from[2 * i] + from[2 * i + 1]);
}

// Sums of `factor` neighbours, in pairs while that is even: where they are, in sums or in spare.
EDGE_AD_INLINE const std::uint16_t* add_neighbours(std::uint16_t* sums, std::size_t width, std::size_t factor,
                                                   std::uint16_t* spare) {
    while (factor % 2 == 0) {
        factor /= 2;
        add_pairs(sums, width * factor, spare);
        std::uint16_t* const done = spare;
        spare = sums;
        sums = done;
    }
    for (std::size_t x = 0; factor > 1 && x < width;
         ++x) {  // what is written lies before what is yet to be read
        std::uint16_t sum = sums[x * factor];
        for (std::size_t j = 1; j < factor; ++j) sum = static_cast<std::uint16_t>(sum + sums[x * factor + j]);
        sums[x] = sum;
    }
    return sums;
}

// Likewise of three channels, in place, all in one 64-bit number: no sum of 16 bits carries over. The fourth
// is of the next pixel, and the next result overwrites it.
template <std::size_t kFactor>
EDGE_AD_INLINE void add_pixels(std::uint16_t* sums, std::size_t width, std::size_t any_factor) {
    const std::size_t factor = kFactor != 0 ? kFactor : any_factor;
    const std::uint16_t* from = sums;
    for (std::size_t x = 0; x < width; ++x) {
        std::uint64_t sum = 0;
        for (std::size_t j = 0; j < factor; ++j, from += 3) {
            std::uint64_t pixel;
            __builtin_memcpy(&pixel, from, sizeof pixel);
            sum += pixel;
        }
        __builtin_memcpy(sums + 3 * x, &sum, sizeof sum);
    }
}

void shrink_row(const std::uint8_t* rows, std::ptrdiff_t stride, std::size_t factor_y, std::size_t factor_x,
                std::size_t channels, std::size_t width, float nudge, std::uint16_t* sums,
                std::uint8_t* out) {
    const std::size_t count = width * factor_x * channels;
    add_up_to_four<true>(rows, stride, factor_y, count, sums);
    for (std::size_t r = 4; r < factor_y; r += 4)
        add_up_to_four<false>(rows + static_cast<std::ptrdiff_t>(r) * stride, stride, factor_y - r, count,
                              sums);
    const std::uint16_t* totals = sums;
    if (channels == 1) {
        totals = add_neighbours(sums, width, factor_x, sums + count);
    } else if (factor_x == 2) {
        add_pixels<2>(sums, width, 2);
    } else if (factor_x == 4) {
        add_pixels<4>(sums, width, 4);
    } else if (factor_x > 1) {
        add_pixels<0>(sums, width, factor_x);
    }
    constexpr float kRounder = 8388608.0f;  // added to a smaller number it leaves its nearest integer
    const float scale = 1.0f / static_cast<float>(factor_y * factor_x);
    for (std::size_t i = 0; i < width * channels; ++i) {
        const float rounded = static_cast<float>(totals[i]) * scale + nudge + kRounder - kRounder;
        out[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(rounded));
    }
}

// The sum of a projection is made of sums of kProjectChunk terms, each term by term.
constexpr Kernels make_kernels(const CodeKernels* codes) {
    return {Simd::kName, kLanes,          kMaxVectors,   kGroupRows,          group_minima,
            next_hit,    sqdist,          sqdist_rows,   sqdist_ids,          relax,
            sketch,      triangular_norm, project,       kProjectChunk + 3.0, 1.0 / kProjectChunk,
            false,       encode,          shrink_row,    resample_rows,       resample_column,
            samples_u8,  samples_u16,     normals_block, moved_products,      codes};
}
