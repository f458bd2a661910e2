// AVX-512 (F, BW, DQ, VL): 48 queries x 8 coreset rows in 24 of 32 registers.
#include <immintrin.h>

#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

struct Simd {
    using Reg = __m512;
    static constexpr const char* kName = "avx512";
    static constexpr std::size_t kLanes = 16;
    static constexpr std::size_t kMaxVectors = 3;
    static constexpr std::size_t kGroupRows = 8;
    static constexpr std::size_t kProjectRows = 6;
    static constexpr std::size_t kProjectVectors = 4;

    EDGE_AD_INLINE Reg zero() { return _mm512_setzero_ps(); }
    EDGE_AD_INLINE Reg splat(float x) { return _mm512_set1_ps(x); }
    EDGE_AD_INLINE Reg broadcast(const float* p) { return _mm512_set1_ps(*p); }
    EDGE_AD_INLINE Reg load(const float* p) { return _mm512_loadu_ps(p); }
    EDGE_AD_INLINE Reg load_partial(const float* p, std::size_t n) {
        return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
    }
    EDGE_AD_INLINE void store(float* p, Reg a) { _mm512_storeu_ps(p, a); }
    EDGE_AD_INLINE Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
    EDGE_AD_INLINE Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
    EDGE_AD_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
    // The second operand where either is NaN: a NaN in `a` leaves `other` as it was.
    EDGE_AD_INLINE Reg min_number(Reg a, Reg other) { return _mm512_min_ps(a, other); }
    EDGE_AD_INLINE Reg max_number(Reg a, Reg other) { return _mm512_max_ps(a, other); }
    EDGE_AD_INLINE Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
    EDGE_AD_INLINE Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
    EDGE_AD_INLINE Reg abs(Reg a) { return _mm512_abs_ps(a); }
    EDGE_AD_INLINE Reg sqrt(Reg a) { return _mm512_sqrt_ps(a); }
    EDGE_AD_INLINE Reg select_gt(Reg a, Reg b, Reg yes, Reg no) {
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
    }
    EDGE_AD_INLINE float reduce_add(Reg a) { return _mm512_reduce_add_ps(a); }
    EDGE_AD_INLINE std::uint32_t le_mask(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
    EDGE_AD_INLINE std::uint32_t gt_mask(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
    EDGE_AD_INLINE Reg gather(const float* base, const std::int32_t* ids) {
        return _mm512_i32gather_ps(_mm512_loadu_si512(ids), base, 4);
    }
    EDGE_AD_INLINE void prefetch(const float* p) {
        _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
    }
};

#include "simd/x86/resample_avx2.inl"

#include "simd/moved.inl"
#include "simd/normals.inl"

#include "simd/kernels.inl"  // after the others: it lists what they define

}  // namespace

const Kernels* kernels_avx512() {
    static const Kernels kernels = make_kernels(codes_avx512());
    return &kernels;
}

}  // namespace edge_ad
