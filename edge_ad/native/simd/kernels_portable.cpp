// Any CPU: vectors of four floats that the compiler maps onto whatever the ABI baseline has.
#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

using Four = float __attribute__((vector_size(16)));
using FourUnaligned = float __attribute__((vector_size(16), aligned(4), may_alias));

struct Simd {
    using Reg = Four;
    static constexpr const char* kName = "portable";
    static constexpr std::size_t kLanes = 4;
    static constexpr std::size_t kMaxVectors = 2;
    static constexpr std::size_t kGroupRows = 4;
    static constexpr std::size_t kProjectRows = 4;
    static constexpr std::size_t kProjectVectors = 2;

    EDGE_AD_INLINE Reg zero() { return Reg{0.0f, 0.0f, 0.0f, 0.0f}; }
    EDGE_AD_INLINE Reg splat(float x) { return Reg{x, x, x, x}; }
    EDGE_AD_INLINE Reg broadcast(const float* p) { return splat(*p); }
    EDGE_AD_INLINE Reg load(const float* p) { return *reinterpret_cast<const FourUnaligned*>(p); }
    EDGE_AD_INLINE Reg load_partial(const float* p, std::size_t n) {
        return Reg{p[0], n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, 0.0f};
    }
    EDGE_AD_INLINE void store(float* p, Reg a) { *reinterpret_cast<FourUnaligned*>(p) = a; }
    EDGE_AD_INLINE Reg add(Reg a, Reg b) { return a + b; }
    EDGE_AD_INLINE Reg sub(Reg a, Reg b) { return a - b; }
    EDGE_AD_INLINE Reg fma(Reg a, Reg b, Reg c) {
        return a * b + c;
    }  // two roundings: no FMA in the baseline
    EDGE_AD_INLINE Reg min_number(Reg a, Reg other) { return a < other ? a : other; }
    EDGE_AD_INLINE Reg max_number(Reg a, Reg other) { return a > other ? a : other; }
    EDGE_AD_INLINE Reg mul(Reg a, Reg b) { return a * b; }
    EDGE_AD_INLINE Reg div(Reg a, Reg b) { return a / b; }
    EDGE_AD_INLINE Reg abs(Reg a) { return a < zero() ? -a : a; }
    EDGE_AD_INLINE Reg select_gt(Reg a, Reg b, Reg yes, Reg no) { return a > b ? yes : no; }
    EDGE_AD_INLINE Reg sqrt(Reg a) {
        return Reg{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]),
                   __builtin_sqrtf(a[3])};
    }
    EDGE_AD_INLINE float reduce_add(Reg a) { return (a[0] + a[2]) + (a[1] + a[3]); }
    EDGE_AD_INLINE std::uint32_t le_mask(Reg a, Reg b) {
        std::uint32_t mask = 0;
        for (unsigned i = 0; i < 4; ++i) mask |= static_cast<std::uint32_t>(a[i] <= b[i]) << i;
        return mask;
    }
    EDGE_AD_INLINE std::uint32_t gt_mask(Reg a, Reg b) {
        std::uint32_t mask = 0;
        for (unsigned i = 0; i < 4; ++i) mask |= static_cast<std::uint32_t>(a[i] > b[i]) << i;
        return mask;
    }
    EDGE_AD_INLINE Reg gather(const float* base, const std::int32_t* ids) {
        return Reg{base[ids[0]], base[ids[1]], base[ids[2]], base[ids[3]]};
    }
    EDGE_AD_INLINE void prefetch(const float* p) { __builtin_prefetch(p); }
};

#include "simd/resample.inl"

#include "simd/moved.inl"
#include "simd/normals.inl"

#include "simd/kernels.inl"  // after the others: it lists what they define

}  // namespace

const Kernels* kernels_portable() {
    static const Kernels kernels = make_kernels(codes_portable());
    return &kernels;
}

}  // namespace edge_ad
