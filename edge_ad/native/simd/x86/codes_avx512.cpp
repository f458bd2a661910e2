// AVX-512 without VNNI: 48 queries x 8 rows, pairs of codes as int16.
#include <immintrin.h>

#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

struct Dot {
    using Acc = __m512i;
    using Ints = __m512i;
    using Reg = __m512i;
    using Packed = std::int16_t;
    using Row = std::int16_t;
    static constexpr std::size_t kLanes = 16, kMaxVectors = 3, kGroupRows = 8, kStep = 2, kTake = 2;
    static constexpr std::int32_t kOffset = 0;

    EDGE_AD_INLINE Acc zero() { return _mm512_setzero_si512(); }
    EDGE_AD_INLINE Ints splat(std::int32_t x) { return _mm512_set1_epi32(x); }
    EDGE_AD_INLINE Ints load(const std::int32_t* p) { return _mm512_loadu_si512(p); }
    EDGE_AD_INLINE void store(std::int32_t* p, Ints a) { _mm512_storeu_si512(p, a); }
    EDGE_AD_INLINE Ints finish(Acc a) { return a; }
    EDGE_AD_INLINE Ints sub(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
    EDGE_AD_INLINE Ints max(Ints a, Ints b) { return _mm512_max_epi32(a, b); }
    EDGE_AD_INLINE std::uint32_t ge_mask(Ints a, Ints b) { return _mm512_cmpge_epi32_mask(a, b); }
    EDGE_AD_INLINE Reg load_packed(const Packed* p) { return _mm512_load_si512(p); }
    EDGE_AD_INLINE Reg broadcast(const Row* p) {
        std::int32_t together;
        __builtin_memcpy(&together, p, 4);
        return _mm512_set1_epi32(together);
    }
    EDGE_AD_INLINE Acc add(Acc sum, Reg queries, Reg row) {
        return _mm512_add_epi32(sum, _mm512_madd_epi16(queries, row));
    }
};

struct One {
    using Sum = __m512i;
    using Codes = __m512i;
    static constexpr std::size_t kTake = 32;

    EDGE_AD_INLINE Sum zero() { return _mm512_setzero_si512(); }
    EDGE_AD_INLINE Codes query(const std::int8_t* p) {
        return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    EDGE_AD_INLINE Sum add(Sum sum, Codes codes, const std::int8_t* row) {
        return _mm512_add_epi32(sum, _mm512_madd_epi16(codes, query(row)));
    }
    EDGE_AD_INLINE __m256i half(Sum a) {
        return _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    }
    EDGE_AD_INLINE void totals(const Sum* sums, std::int32_t* out) {
        const __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(half(sums[0]), half(sums[1])),
                                                _mm256_hadd_epi32(half(sums[2]), half(sums[3])));
        const __m128i all = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), all);
    }
};

#include "simd/codes.inl"

}  // namespace

const CodeKernels* codes_avx512() {
    return &kCodes;
}

}  // namespace edge_ad
