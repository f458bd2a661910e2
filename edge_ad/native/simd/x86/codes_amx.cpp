// AMX int8: 32 queries x 32 rows in four tiles of sums. Rows are the signed operand as they stand, queries
// the unsigned one, packed as for VNNI.
#include <immintrin.h>

#include "amx.inl"
#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

constexpr std::size_t kLanes = 16, kMaxVectors = 2, kGroupRows = 32;
constexpr std::size_t kTileRows = 16;
constexpr std::int32_t kOffset = 128;

void pack(const std::int8_t* codes, std::size_t dim, void* packed) {
    auto* out = static_cast<std::uint8_t*>(packed);
    for (std::size_t k = 0; k < dim; k += 4)
        for (std::size_t lane = 0; lane < kLanes; ++lane, out += 4) {
            std::uint32_t four;
            __builtin_memcpy(&four, codes + lane * dim + k, 4);
            four ^= 0x80808080u;  // adds kOffset to each
            __builtin_memcpy(out, &four, 4);
        }
}

// Sums of a group to sums [kVectors][kGroupRows][kLanes]. Tiles 0-3: sums, 4-5: rows, 6-7: queries.
template <std::size_t kVectors>
EDGE_AD_INLINE void group_sums(const std::uint8_t* packed, const std::int8_t* rows, std::size_t dim,
                               std::int32_t* sums) {
    const std::uint8_t* second = packed + dim * kLanes;
    _tile_zero(0);
    _tile_zero(1);
    if (kVectors == 2) _tile_zero(2);
    if (kVectors == 2) _tile_zero(3);
    for (std::size_t k = 0; k < dim; k += kCodeStep) {
        _tile_loadd(6, packed + k * kLanes, 64);
        _tile_loadd(4, rows + k, dim);
        _tile_dpbsud(0, 4, 6);
        _tile_loadd(5, rows + kTileRows * dim + k, dim);
        _tile_dpbsud(1, 5, 6);
        if (kVectors == 2) _tile_loadd(7, second + k * kLanes, 64);
        if (kVectors == 2) _tile_dpbsud(2, 4, 7);
        if (kVectors == 2) _tile_dpbsud(3, 5, 7);
    }
    constexpr std::size_t kTile = kTileRows * kLanes;
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + kTile, 64);
    if (kVectors == 2) _tile_stored(2, sums + 2 * kTile, 64);
    if (kVectors == 2) _tile_stored(3, sums + 3 * kTile, 64);
}

// The largest of a group's values per lane.
EDGE_AD_INLINE __m512i largest_of(const std::int32_t* sums, const std::int32_t* bias) {
    __m512i largest[4];
    for (std::size_t r = 0; r < kGroupRows; ++r) {
        const __m512i value =
            _mm512_sub_epi32(_mm512_load_si512(sums + r * kLanes), _mm512_set1_epi32(bias[r]));
        largest[r % 4] = r < 4 ? value : _mm512_max_epi32(largest[r % 4], value);
    }
    return _mm512_max_epi32(_mm512_max_epi32(largest[0], largest[1]),
                            _mm512_max_epi32(largest[2], largest[3]));
}

template <std::size_t kVectors>
void maxima_of(const std::uint8_t* packed, const std::int8_t* rows, std::size_t dim, const std::int32_t* bias,
               std::size_t groups, std::int32_t* maxima, std::int32_t* running) {
    alignas(64) std::int32_t sums[2][kVectors * kGroupRows * kLanes];
    __m512i most[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) most[v] = _mm512_loadu_si512(running + v * kLanes);
    // the tiles of a group are under way while the sums of the one before are looked at
    for (std::size_t g = 0; g <= groups; ++g) {
        if (g < groups) group_sums<kVectors>(packed, rows + g * kGroupRows * dim, dim, sums[g % 2]);
        if (g == 0) continue;
        for (std::size_t v = 0; v < kVectors; ++v) {
            const __m512i largest =
                largest_of(sums[(g - 1) % 2] + v * kGroupRows * kLanes, bias + (g - 1) * kGroupRows);
            _mm512_storeu_si512(maxima + ((g - 1) * kVectors + v) * kLanes, largest);
            most[v] = _mm512_max_epi32(most[v], largest);
        }
    }
    for (std::size_t v = 0; v < kVectors; ++v) _mm512_storeu_si512(running + v * kLanes, most[v]);
}

void maxima(const void* packed, std::size_t vectors, const std::int8_t* rows, std::size_t dim,
            const std::int32_t* bias, std::size_t groups, std::int32_t* out, std::int32_t* running) {
    const auto* queries = static_cast<const std::uint8_t*>(packed);
    if (vectors == 1) {
        maxima_of<1>(queries, rows, dim, bias, groups, out, running);
    } else {
        maxima_of<2>(queries, rows, dim, bias, groups, out, running);
    }
}

std::size_t next(const std::int32_t* maxima, std::size_t vectors, const std::int32_t* limits,
                 std::size_t group, std::size_t groups, std::uint64_t* lanes_hit) {
    for (; group < groups; ++group) {
        std::uint64_t hit = 0;
        for (std::size_t v = 0; v < vectors; ++v)
            hit |= static_cast<std::uint64_t>(
                       _mm512_cmpge_epi32_mask(_mm512_loadu_si512(maxima + (group * vectors + v) * kLanes),
                                               _mm512_loadu_si512(limits + v * kLanes)))
                   << (v * kLanes);
        if (hit != 0) {
            *lanes_hit = hit;
            return group;
        }
    }
    return groups;
}

void rows(const void* packed, const std::int8_t* codes, std::size_t dim, const std::int32_t* bias,
          const std::int32_t* least, const std::int32_t* below, std::uint32_t* hits) {
    alignas(64) std::int32_t sums[kGroupRows * kLanes];
    group_sums<1>(static_cast<const std::uint8_t*>(packed), codes, dim, sums);
    const __m512i low = _mm512_loadu_si512(least), high = _mm512_loadu_si512(below);
    for (std::size_t r = 0; r < kGroupRows; ++r) {
        const __m512i value =
            _mm512_sub_epi32(_mm512_load_si512(sums + r * kLanes), _mm512_set1_epi32(bias[r]));
        hits[r] = _mm512_cmpge_epi32_mask(value, low) & _mm512_cmplt_epi32_mask(value, high);
    }
}

#include "half_distances_vnni.inl"

#include "simd/half_distances.inl"

constexpr CodeKernels kCodes = {kLanes,    kMaxVectors, kGroupRows, kOffset, 1,    begin_tiles,
                                end_tiles, pack,        maxima,     next,    rows, half_distances};

}  // namespace

const CodeKernels* codes_amx() {
    return &kCodes;
}

}  // namespace edge_ad
