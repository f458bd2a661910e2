// Products of codes, once for the instruction sets that work on vectors of queries. Included by
// codes_<isa>.cpp after `struct Dot`, inside an unnamed namespace.
//
// Dot has: Acc, sums per lane; Ints, the same as int32; Packed and Row, what a code is stored as in packed
// and in the rows that are worked on; kLanes, kMaxVectors, kGroupRows, kOffset; kStep, the codes that stand
// together for each lane; kTake, the codes that one call of add() takes. `struct One` stands before it, too.

#include "simd/half_distances.inl"

using Acc = Dot::Acc;
using Ints = Dot::Ints;
using Packed = Dot::Packed;
using Row = Dot::Row;
constexpr std::size_t kLanes = Dot::kLanes;
constexpr std::size_t kMaxVectors = Dot::kMaxVectors;
constexpr std::size_t kGroupRows = Dot::kGroupRows;

void begin(void*) {}
void end(void*) {}

void pack(const std::int8_t* codes, std::size_t dim, void* packed) {
    auto* out = static_cast<Packed*>(packed);
    for (std::size_t k = 0; k < dim; k += Dot::kStep)
        for (std::size_t lane = 0; lane < kLanes; ++lane)
            for (std::size_t j = 0; j < Dot::kStep; ++j)
                *out++ = static_cast<Packed>(codes[lane * dim + k + j] + Dot::kOffset);
}

// The rows of a group as Row: where that is not int8, widened into `room`.
EDGE_AD_INLINE const std::int8_t* widened(const std::int8_t* rows, std::size_t, std::int8_t*) {
    return rows;
}

template <typename Wide>
EDGE_AD_INLINE const Wide* widened(const std::int8_t* rows, std::size_t dim, Wide* room) {
    for (std::size_t i = 0; i < kGroupRows * dim; ++i) room[i] = static_cast<Wide>(rows[i]);
    return room;
}

constexpr std::size_t kRoom = sizeof(Row) == 1 ? 1 : kGroupRows * kMostCodes;

template <std::size_t kVectors>
EDGE_AD_INLINE void group_values(const Packed* packed, const std::int8_t* codes, std::size_t dim,
                                 const std::int32_t* bias, Ints (*values)[kVectors]) {
    alignas(64) Row room[kRoom];
    const Row* rows = widened(codes, dim, room);
    Acc sums[kGroupRows][kVectors];
    for (std::size_t r = 0; r < kGroupRows; ++r)
        for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = Dot::zero();
    for (std::size_t k = 0; k < dim; k += Dot::kTake) {
        typename Dot::Reg queries[kVectors];
        for (std::size_t v = 0; v < kVectors; ++v)
            queries[v] = Dot::load_packed(packed + (v * dim + k) * kLanes);
        for (std::size_t r = 0; r < kGroupRows; ++r) {
            const auto element = Dot::broadcast(rows + r * dim + k);
            for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = Dot::add(sums[r][v], queries[v], element);
        }
    }
    for (std::size_t r = 0; r < kGroupRows; ++r)
        for (std::size_t v = 0; v < kVectors; ++v)
            values[r][v] = Dot::sub(Dot::finish(sums[r][v]), Dot::splat(bias[r]));
}

template <std::size_t kVectors>
void maxima_of(const Packed* packed, const std::int8_t* rows, std::size_t dim, const std::int32_t* bias,
               std::size_t groups, std::int32_t* maxima, std::int32_t* running) {
    Ints most[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) most[v] = Dot::load(running + v * kLanes);
    for (std::size_t g = 0; g < groups; ++g) {
        Ints values[kGroupRows][kVectors];
        group_values<kVectors>(packed, rows + g * kGroupRows * dim, dim, bias + g * kGroupRows, values);
        for (std::size_t v = 0; v < kVectors; ++v) {
            Ints largest = values[0][v];
            for (std::size_t r = 1; r < kGroupRows; ++r) largest = Dot::max(largest, values[r][v]);
            Dot::store(maxima + (g * kVectors + v) * kLanes, largest);
            most[v] = Dot::max(most[v], largest);
        }
    }
    for (std::size_t v = 0; v < kVectors; ++v) Dot::store(running + v * kLanes, most[v]);
}

void code_maxima(const void* packed, std::size_t vectors, const std::int8_t* rows, std::size_t dim,
                 const std::int32_t* bias, std::size_t groups, std::int32_t* maxima, std::int32_t* running) {
    const auto* queries = static_cast<const Packed*>(packed);
    if (vectors == 1) {
        maxima_of<1>(queries, rows, dim, bias, groups, maxima, running);
    } else if (vectors == 2) {
        maxima_of<2>(queries, rows, dim, bias, groups, maxima, running);
    } else {
        maxima_of<kMaxVectors>(queries, rows, dim, bias, groups, maxima, running);
    }
}

std::size_t next(const std::int32_t* maxima, std::size_t vectors, const std::int32_t* limits,
                 std::size_t group, std::size_t groups, std::uint64_t* lanes_hit) {
    for (; group < groups; ++group) {
        std::uint64_t hit = 0;
        for (std::size_t v = 0; v < vectors; ++v)
            hit |= static_cast<std::uint64_t>(Dot::ge_mask(Dot::load(maxima + (group * vectors + v) * kLanes),
                                                           Dot::load(limits + v * kLanes)))
                   << (v * kLanes);
        if (hit != 0) {
            *lanes_hit = hit;
            return group;
        }
    }
    return groups;
}

void code_rows(const void* packed, const std::int8_t* rows, std::size_t dim, const std::int32_t* bias,
               const std::int32_t* least, const std::int32_t* below, std::uint32_t* hits) {
    Ints values[kGroupRows][1];
    group_values<1>(static_cast<const Packed*>(packed), rows, dim, bias, values);
    const Ints low = Dot::load(least), high = Dot::load(below);
    for (std::size_t r = 0; r < kGroupRows; ++r)
        hits[r] = Dot::ge_mask(values[r][0], low) & ~Dot::ge_mask(values[r][0], high);
}

constexpr CodeKernels kCodes = {kLanes, kMaxVectors, kGroupRows, Dot::kOffset, sizeof(Packed), begin, end,
                                pack,   code_maxima, next,       code_rows,    half_distances};
