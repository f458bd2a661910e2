// AVX-VNNI: 24 queries x 4 rows, four codes an instruction and lane; unsigned times signed.
#include <immintrin.h>

#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

struct Dot {
    using Acc = __m256i;
    using Ints = __m256i;
    using Reg = __m256i;
    using Packed = std::uint8_t;
    using Row = std::int8_t;
    static constexpr std::size_t kLanes = 8, kMaxVectors = 3, kGroupRows = 4, kStep = 4, kTake = 4;
    static constexpr std::int32_t kOffset = 128;

    EDGE_AD_INLINE Acc zero() { return _mm256_setzero_si256(); }
    EDGE_AD_INLINE Ints splat(std::int32_t x) { return _mm256_set1_epi32(x); }
    EDGE_AD_INLINE Ints load(const std::int32_t* p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    EDGE_AD_INLINE void store(std::int32_t* p, Ints a) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a);
    }
    EDGE_AD_INLINE Ints finish(Acc a) { return a; }
    EDGE_AD_INLINE Ints sub(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
    EDGE_AD_INLINE Ints max(Ints a, Ints b) { return _mm256_max_epi32(a, b); }
    EDGE_AD_INLINE std::uint32_t ge_mask(Ints a, Ints b) {
        const __m256i less = _mm256_cmpgt_epi32(b, a);
        return ~static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(less))) & 0xFFu;
    }
    EDGE_AD_INLINE Reg load_packed(const Packed* p) {
        return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
    }
    EDGE_AD_INLINE Reg broadcast(const Row* p) {
        std::int32_t together;
        __builtin_memcpy(&together, p, 4);
        return _mm256_set1_epi32(together);
    }
    EDGE_AD_INLINE Acc add(Acc sum, Reg queries, Reg row) {
        return _mm256_dpbusd_avx_epi32(sum, queries, row);
    }
};

struct One {
    using Sum = __m256i;
    using Codes = __m256i;
    static constexpr std::size_t kTake = 32;

    EDGE_AD_INLINE Sum zero() { return _mm256_setzero_si256(); }
    EDGE_AD_INLINE Sum load(const std::int8_t* p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    EDGE_AD_INLINE Codes query(const std::int8_t* p) {
        return _mm256_xor_si256(load(p), _mm256_set1_epi8(-128));  // adds the offset
    }
    EDGE_AD_INLINE Sum add(Sum sum, Codes codes, const std::int8_t* row) {
        return _mm256_dpbusd_avx_epi32(sum, codes, load(row));
    }
    EDGE_AD_INLINE void totals(const Sum* sums, std::int32_t* out) {
        const __m256i pairs =
            _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
        const __m128i all = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), all);
    }
};

#include "simd/codes.inl"

}  // namespace

const CodeKernels* codes_avxvnni() {
    return &kCodes;
}

}  // namespace edge_ad
