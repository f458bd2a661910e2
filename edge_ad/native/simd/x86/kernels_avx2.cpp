// AVX2 and FMA: 16 queries x 6 coreset rows in 12 of 16 registers.
#include <immintrin.h>

#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

alignas(32) constexpr std::int32_t kPartialMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                       0,  0,  0,  0,  0,  0,  0,  0};

struct Simd {
    using Reg = __m256;
    static constexpr const char* kName = "avx2";
    static constexpr std::size_t kLanes = 8;
    static constexpr std::size_t kMaxVectors = 2;
    static constexpr std::size_t kGroupRows = 6;
    static constexpr std::size_t kProjectRows = 6;
    static constexpr std::size_t kProjectVectors = 2;

    EDGE_AD_INLINE Reg zero() { return _mm256_setzero_ps(); }
    EDGE_AD_INLINE Reg splat(float x) { return _mm256_set1_ps(x); }
    EDGE_AD_INLINE Reg broadcast(const float* p) { return _mm256_broadcast_ss(p); }
    EDGE_AD_INLINE Reg load(const float* p) { return _mm256_loadu_ps(p); }
    EDGE_AD_INLINE Reg load_partial(const float* p, std::size_t n) {
        const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kPartialMask + 8 - n));
        return _mm256_maskload_ps(p, mask);
    }
    EDGE_AD_INLINE void store(float* p, Reg a) { _mm256_storeu_ps(p, a); }
    EDGE_AD_INLINE Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
    EDGE_AD_INLINE Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
    EDGE_AD_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
    // The second operand where either is NaN: a NaN in `a` leaves `other` as it was.
    EDGE_AD_INLINE Reg min_number(Reg a, Reg other) { return _mm256_min_ps(a, other); }
    EDGE_AD_INLINE Reg max_number(Reg a, Reg other) { return _mm256_max_ps(a, other); }
    EDGE_AD_INLINE Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
    EDGE_AD_INLINE Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
    EDGE_AD_INLINE Reg abs(Reg a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
    EDGE_AD_INLINE Reg sqrt(Reg a) { return _mm256_sqrt_ps(a); }
    EDGE_AD_INLINE Reg select_gt(Reg a, Reg b, Reg yes, Reg no) {
        return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
    }
    EDGE_AD_INLINE float reduce_add(Reg a) {
        __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
    }
    EDGE_AD_INLINE std::uint32_t le_mask(Reg a, Reg b) {
        return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LE_OQ)));
    }
    EDGE_AD_INLINE std::uint32_t gt_mask(Reg a, Reg b) {
        return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
    }
    EDGE_AD_INLINE Reg gather(const float* base, const std::int32_t* ids) {
        return _mm256_i32gather_ps(base, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids)), 4);
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

const Kernels* kernels_avx2() {
    static const Kernels kernels = make_kernels(codes_avx2());
    return &kernels;
}

}  // namespace edge_ad
