// AVX-512 VNNI: 48 queries x 8 rows, four codes an instruction and lane; unsigned times signed.
#include <immintrin.h>

#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

struct Dot {
    using Acc = __m512i;
    using Ints = __m512i;
    using Reg = __m512i;
    using Packed = std::uint8_t;
    using Row = std::int8_t;
    static constexpr std::size_t kLanes = 16, kMaxVectors = 3, kGroupRows = 8, kStep = 4, kTake = 4;
    static constexpr std::int32_t kOffset = 128;

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
    EDGE_AD_INLINE Acc add(Acc sum, Reg queries, Reg row) { return _mm512_dpbusd_epi32(sum, queries, row); }
};

#include "half_distances_vnni.inl"

#include "simd/codes.inl"

}  // namespace

const CodeKernels* codes_avx512vnni() {
    return &kCodes;
}

}  // namespace edge_ad
