// NEON (aarch64): 12 queries x 8 coreset rows in 24 of 32 registers.
#include <arm_neon.h>

#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

struct Simd {
    using Reg = float32x4_t;
    static constexpr const char* kName = "neon";
    static constexpr std::size_t kLanes = 4;
    static constexpr std::size_t kMaxVectors = 3;
    static constexpr std::size_t kGroupRows = 8;
    static constexpr std::size_t kProjectRows = 6;
    static constexpr std::size_t kProjectVectors = 4;

    EDGE_AD_INLINE Reg zero() { return vdupq_n_f32(0.0f); }
    EDGE_AD_INLINE Reg splat(float x) { return vdupq_n_f32(x); }
    EDGE_AD_INLINE Reg broadcast(const float* p) { return vld1q_dup_f32(p); }
    EDGE_AD_INLINE Reg load(const float* p) { return vld1q_f32(p); }
    EDGE_AD_INLINE Reg load_partial(const float* p, std::size_t n) {
        float padded[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (std::size_t i = 0; i < n; ++i) padded[i] = p[i];
        return vld1q_f32(padded);
    }
    EDGE_AD_INLINE void store(float* p, Reg a) { vst1q_f32(p, a); }
    EDGE_AD_INLINE Reg add(Reg a, Reg b) { return vaddq_f32(a, b); }
    EDGE_AD_INLINE Reg sub(Reg a, Reg b) { return vsubq_f32(a, b); }
    EDGE_AD_INLINE Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
    EDGE_AD_INLINE Reg min_number(Reg a, Reg other) { return vminnmq_f32(a, other); }
    EDGE_AD_INLINE Reg max_number(Reg a, Reg other) { return vmaxnmq_f32(a, other); }
    EDGE_AD_INLINE Reg mul(Reg a, Reg b) { return vmulq_f32(a, b); }
    EDGE_AD_INLINE Reg div(Reg a, Reg b) { return vdivq_f32(a, b); }
    EDGE_AD_INLINE Reg abs(Reg a) { return vabsq_f32(a); }
    EDGE_AD_INLINE Reg sqrt(Reg a) { return vsqrtq_f32(a); }
    EDGE_AD_INLINE Reg select_gt(Reg a, Reg b, Reg yes, Reg no) {
        return vbslq_f32(vcgtq_f32(a, b), yes, no);
    }
    EDGE_AD_INLINE float reduce_add(Reg a) { return vaddvq_f32(a); }
    EDGE_AD_INLINE std::uint32_t mask_of(uint32x4_t lanes) {
        const uint32x4_t bits = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(lanes, bits));
    }
    EDGE_AD_INLINE std::uint32_t le_mask(Reg a, Reg b) { return mask_of(vcleq_f32(a, b)); }
    EDGE_AD_INLINE std::uint32_t gt_mask(Reg a, Reg b) { return mask_of(vcgtq_f32(a, b)); }
    EDGE_AD_INLINE Reg gather(const float* base, const std::int32_t* ids) {
        const float values[4] = {base[ids[0]], base[ids[1]], base[ids[2]], base[ids[3]]};
        return vld1q_f32(values);
    }
    EDGE_AD_INLINE void prefetch(const float* p) { __builtin_prefetch(p); }
};

#include "simd/arm/resample_neon.inl"
#include "simd/moved.inl"
#include "simd/normals.inl"

#include "simd/kernels.inl"

}  // namespace

const Kernels* kernels_neon() {
    static const Kernels kernels = make_kernels(codes_neon());
    return &kernels;
}

}  // namespace edge_ad
