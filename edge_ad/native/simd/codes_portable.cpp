// Any CPU: codes as floats, which hold every sum exactly (kMostCodes * 127^2 < 2^24).
#include <cstring>

#include "simd/kernels.hpp"
#include "simd/simd_macros.hpp"

namespace edge_ad {
namespace {

using Four = float __attribute__((vector_size(16)));
using FourInts = std::int32_t __attribute__((vector_size(16)));
using FourIntsUnaligned = std::int32_t __attribute__((vector_size(16), aligned(4), may_alias));

struct Dot {
    using Acc = Four;
    using Ints = FourInts;
    using Reg = Four;
    using Packed = float;
    using Row = float;
    static constexpr std::size_t kLanes = 4, kMaxVectors = 2, kGroupRows = 4, kStep = 1, kTake = 1;
    static constexpr std::int32_t kOffset = 0;

    EDGE_AD_INLINE Acc zero() { return Acc{0.0f, 0.0f, 0.0f, 0.0f}; }
    EDGE_AD_INLINE Ints splat(std::int32_t x) { return Ints{x, x, x, x}; }
    EDGE_AD_INLINE Ints load(const std::int32_t* p) { return *reinterpret_cast<const FourIntsUnaligned*>(p); }
    EDGE_AD_INLINE void store(std::int32_t* p, Ints a) { *reinterpret_cast<FourIntsUnaligned*>(p) = a; }
    EDGE_AD_INLINE Ints finish(Acc a) { return __builtin_convertvector(a, Ints); }
    EDGE_AD_INLINE Ints sub(Ints a, Ints b) { return a - b; }
    EDGE_AD_INLINE Ints max(Ints a, Ints b) { return a > b ? a : b; }
    EDGE_AD_INLINE std::uint32_t ge_mask(Ints a, Ints b) {
        std::uint32_t mask = 0;
        for (unsigned i = 0; i < 4; ++i) mask |= static_cast<std::uint32_t>(a[i] >= b[i]) << i;
        return mask;
    }
    EDGE_AD_INLINE Reg load_packed(const Packed* p) { return *reinterpret_cast<const Four*>(p); }
    EDGE_AD_INLINE Reg broadcast(const Row* p) { return Reg{*p, *p, *p, *p}; }
    EDGE_AD_INLINE Acc add(Acc sum, Reg queries, Reg row) { return sum + queries * row; }
};

struct One {
    using Sum = std::int32_t;
    using Codes = const std::int8_t*;
    static constexpr std::size_t kTake = 16;

    EDGE_AD_INLINE Sum zero() { return 0; }
    EDGE_AD_INLINE Codes query(const std::int8_t* p) { return p; }
    EDGE_AD_INLINE Sum add(Sum sum, Codes codes, const std::int8_t* row) {
        for (std::size_t k = 0; k < kTake; ++k) sum += codes[k] * row[k];
        return sum;
    }
    EDGE_AD_INLINE void totals(const Sum* sums, std::int32_t* out) {
        std::memcpy(out, sums, 4 * sizeof(Sum));
    }
};

#include "simd/codes.inl"

}  // namespace

const CodeKernels* codes_portable() {
    return &kCodes;
}

}  // namespace edge_ad
