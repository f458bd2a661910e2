// NEON with the dot product instructions (Armv8.2 and later): 12 queries x 8 rows.
#include <arm_neon.h>

#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

struct Dot {
    using Acc = int32x4_t;
    using Ints = int32x4_t;
    using Reg = int8x16_t;
    using Packed = std::int8_t;
    using Row = std::int8_t;
    static constexpr std::size_t kLanes = 4, kMaxVectors = 3, kGroupRows = 8, kStep = 4, kTake = 4;
    static constexpr std::int32_t kOffset = 0;

    EDGE_AD_INLINE Acc zero() { return vdupq_n_s32(0); }
    EDGE_AD_INLINE Ints splat(std::int32_t x) { return vdupq_n_s32(x); }
    EDGE_AD_INLINE Ints load(const std::int32_t* p) { return vld1q_s32(p); }
    EDGE_AD_INLINE void store(std::int32_t* p, Ints a) { vst1q_s32(p, a); }
    EDGE_AD_INLINE Ints finish(Acc a) { return a; }
    EDGE_AD_INLINE Ints sub(Ints a, Ints b) { return vsubq_s32(a, b); }
    EDGE_AD_INLINE Ints max(Ints a, Ints b) { return vmaxq_s32(a, b); }
    EDGE_AD_INLINE std::uint32_t ge_mask(Ints a, Ints b) {
        const uint32x4_t bits = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(vcgeq_s32(a, b), bits));
    }
    EDGE_AD_INLINE Reg load_packed(const Packed* p) { return vld1q_s8(p); }
    EDGE_AD_INLINE Reg broadcast(const Row* p) {
        std::int32_t together;
        __builtin_memcpy(&together, p, 4);
        return vreinterpretq_s8_s32(vdupq_n_s32(together));
    }
    EDGE_AD_INLINE Acc add(Acc sum, Reg queries, Reg row) { return vdotq_s32(sum, queries, row); }
};

struct One {
    using Sum = int32x4_t;
    using Codes = int8x16_t;
    static constexpr std::size_t kTake = 16;

    EDGE_AD_INLINE Sum zero() { return vdupq_n_s32(0); }
    EDGE_AD_INLINE Codes query(const std::int8_t* p) { return vld1q_s8(p); }
    EDGE_AD_INLINE Sum add(Sum sum, Codes codes, const std::int8_t* row) {
        return vdotq_s32(sum, codes, vld1q_s8(row));
    }
    EDGE_AD_INLINE void totals(const Sum* sums, std::int32_t* out) {
        vst1q_s32(out, vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3])));
    }
};

#include "simd/codes.inl"

}  // namespace

const CodeKernels* codes_neondot() {
    return &kCodes;
}

}  // namespace edge_ad
