// AMX bf16: the projection of 32 points on 32 columns in four tiles of sums. A number is taken as the sum of
// two bf16, h + l, and of their products l l is left out:
//
//     sum y p = sum h_y h_p + h_y l_p + l_y h_p + error
//
// An instruction adds up 16 pairs of products in order, even and odd ones apart, with rounding to nearest;
// Intel SDM vol. 2, TDPBF16PS.
#include <immintrin.h>

#include "amx.inl"
#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

constexpr std::size_t kPoints = 32, kTile = 16, kTerms = 256;  // kTerms: of a pass
constexpr std::size_t kAhead = 3;  // points whose numbers are fetched before they are needed
constexpr std::size_t kStep = kHalvesStep;

// Sixteen floats to their upper parts and what those leave; NaN need not stay NaN.
EDGE_AD_INLINE void split(__m512 x, std::uint16_t* high, std::uint16_t* low) {
    const auto rounded = [](__m512 of) {
        const __m512i bits = _mm512_castps_si512(of),
                      even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        return _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7FFF))),
                                 16);
    };
    const __m512i upper = rounded(x);
    const __m512 rest = _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(upper, 16)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high), _mm512_cvtepi32_epi16(upper));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low), _mm512_cvtepi32_epi16(rounded(rest)));
}

struct alignas(64) Halves {
    std::uint16_t high[kPoints * kTerms], low[kPoints * kTerms];
};

// The terms [start, start + terms) of the points less the mean, padded by 0 to kStep terms and kPoints
// points.
void split_points(const float* const* points, std::size_t count, std::size_t start, std::size_t terms,
                  const float* mean, Halves* halves) {
    for (std::size_t i = 0; i < kPoints; ++i)
        for (std::size_t k = 0; k < (terms + kStep - 1) / kStep * kStep; k += kTile) {
            const std::size_t left = k < terms && i < count ? terms - k : 0;
            const auto mask = static_cast<__mmask16>(left < kTile ? (1u << left) - 1u : 0xFFFFu);
            __m512 centred = _mm512_setzero_ps();
            if (left != 0 && i + kAhead < count)
                _mm_prefetch(reinterpret_cast<const char*>(points[i + kAhead] + start + k), _MM_HINT_T0);
            if (left != 0)
                centred = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, points[i] + start + k),
                                        _mm512_maskz_loadu_ps(mask, mean + start + k));
            split(centred, halves->high + i * kTerms + k, halves->low + i * kTerms + k);
        }
}

// Adds to out [kPoints][width], or sets it. Tiles 0-3: sums, 4-5: points, 6-7: columns. high and low: of the
// columns, from the first slab and term on; slab: from one to the next.
void add_products(const Halves& halves, std::size_t terms, const std::uint16_t* high,
                  const std::uint16_t* low, std::size_t slab, std::size_t width, bool first, float* out) {
    const std::size_t stride = width * sizeof(float), below = kTile * width;
    constexpr std::size_t kRow = kTerms * sizeof(std::uint16_t), kSecond = kTile * kTerms;
    for (std::size_t column = 0; column < width; column += 2 * kTile, high += 2 * slab, low += 2 * slab) {
        float* to = out + column;
        if (first) {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
        } else {
            _tile_loadd(0, to, stride);
            _tile_loadd(1, to + kTile, stride);
            _tile_loadd(2, to + below, stride);
            _tile_loadd(3, to + below + kTile, stride);
        }
        for (std::size_t k = 0; k < terms; k += kStep) {
            const std::size_t at = k * kProjectSlab;
            _tile_loadd(4, halves.high + k, kRow);
            _tile_loadd(5, halves.high + kSecond + k, kRow);
            _tile_loadd(6, low + at, 64);
            _tile_loadd(7, low + slab + at, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            _tile_loadd(6, high + at, 64);
            _tile_loadd(7, high + slab + at, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            _tile_loadd(4, halves.low + k, kRow);
            _tile_loadd(5, halves.low + kSecond + k, kRow);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, to, stride);
        _tile_stored(1, to + kTile, stride);
        _tile_stored(2, to + below, stride);
        _tile_stored(3, to + below + kTile, stride);
    }
}

void project(const float* const* points, std::size_t count, std::size_t dim, const float* mean,
             const Basis& basis, float* out) {
    const std::size_t padded = (dim + kStep - 1) / kStep * kStep, width = basis.width;
    Halves halves;
    float room[kPoints * kMostCodes];
    alignas(64) std::uint8_t state[kStateBytes];
    begin_tiles(state);
    for (std::size_t i = 0; i < count; i += kPoints, out += kPoints * width) {
        const std::size_t now = count - i < kPoints ? count - i : kPoints;
        float* to = now == kPoints ? out : room;
        for (std::size_t start = 0; start < dim; start += kTerms) {
            const std::size_t terms = dim - start < kTerms ? dim - start : kTerms;
            split_points(points + i, now, start, terms, mean, &halves);
            const std::uint16_t* high = basis.halves + start * kProjectSlab;
            add_products(halves, terms, high, high + padded * width, padded * kProjectSlab, width, start == 0,
                         to);
        }
        if (to == room) __builtin_memcpy(out, room, now * width * sizeof(float));
    }
    end_tiles(state);
}

}  // namespace

void project_by_amx(Kernels* kernels) {
    kernels->project = project;
    kernels->by_halves = true;
    // 16 + 2 roundings on the way through an instruction and one for each that follows, of which there are
    // three for kStep terms; some more, as what is added up are rounded numbers
    kernels->project_fixed = 32.0;
    kernels->project_each = 4.0 / kStep;
}

}  // namespace edge_ad
