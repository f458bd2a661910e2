// NEON: 12 queries x 4 rows; two products of codes fit an int16 (2 * 127^2 < 2^15).
#include <arm_neon.h>

#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

struct Dot {
    using Acc = int32x4_t;
    using Ints = int32x4_t;
    using Reg = int8x8x2_t;
    using Packed = std::int8_t;
    using Row = std::int8_t;
    static constexpr std::size_t kLanes = 4, kMaxVectors = 3, kGroupRows = 4, kStep = 2, kTake = 4;
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
    EDGE_AD_INLINE Reg load_packed(const Packed* p) { return {{vld1_s8(p), vld1_s8(p + 8)}}; }
    EDGE_AD_INLINE int8x8_t pair(const Row* p) {
        std::int16_t together;
        __builtin_memcpy(&together, p, 2);
        return vreinterpret_s8_s16(vdup_n_s16(together));
    }
    EDGE_AD_INLINE Reg broadcast(const Row* p) { return {{pair(p), pair(p + 2)}}; }
    EDGE_AD_INLINE Acc add(Acc sum, Reg queries, Reg row) {
        const int16x8_t products = vmull_s8(queries.val[0], row.val[0]);
        return vpadalq_s16(sum, vmlal_s8(products, queries.val[1], row.val[1]));
    }
};

struct One {
    using Sum = int32x4_t;
    using Codes = int8x16_t;
    static constexpr std::size_t kTake = 16;

    EDGE_AD_INLINE Sum zero() { return vdupq_n_s32(0); }
    EDGE_AD_INLINE Codes query(const std::int8_t* p) { return vld1q_s8(p); }
    EDGE_AD_INLINE Sum add(Sum sum, Codes codes, const std::int8_t* row) {
        const int8x16_t with = vld1q_s8(row);
        const int16x8_t products = vmull_s8(vget_low_s8(codes), vget_low_s8(with));
        return vpadalq_s16(sum, vmlal_s8(products, vget_high_s8(codes), vget_high_s8(with)));
    }
    EDGE_AD_INLINE void totals(const Sum* sums, std::int32_t* out) {
        vst1q_s32(out, vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3])));
    }
};

#include "simd/codes.inl"

}  // namespace

const CodeKernels* codes_neon() {
    return &kCodes;
}

}  // namespace edge_ad
