// What every instruction set provides. This header is included by translation units built with
// ISA-specific flags, so it holds plain declarations only: no inline function, nothing from std.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edge_ad {

// Products of int8 codes, exact in int32. `dim` is a multiple of kCodeStep and at most kMostCodes; rows are
// [.][dim], 64-byte aligned; a group is group_rows of them. The value of a row for a query is their dot
// product less the row's bias, which takes `offset` times the sum of the row's codes out again, as pack()
// adds the offset to the query's codes.
struct CodeKernels {
    std::size_t lanes;        // queries of a vector, at most 16
    std::size_t max_vectors;  // of a tile; lanes * max_vectors <= 64
    std::size_t group_rows;   // divides kCodeRows
    std::int32_t offset;
    std::size_t packed_bytes;  // of one code in packed

    // Around any number of calls on one thread.
    void (*begin)(void* state);  // kStateBytes of memory, 64-byte aligned
    void (*end)(void* state);

    // codes [lanes][dim] of one vector to packed [dim * lanes * packed_bytes], 64-byte aligned.
    void (*pack)(const std::int8_t* codes, std::size_t dim, void* packed);

    // For each group the largest value per lane: maxima [groups][vectors * lanes], which also raise
    // running [vectors * lanes]. Packed vectors stand one after the other.
    void (*maxima)(const void* packed, std::size_t vectors, const std::int8_t* rows, std::size_t dim,
                   const std::int32_t* bias, std::size_t groups, std::int32_t* maxima, std::int32_t* running);

    // The first group at or after `group` with some lane's maximum >= that lane's limit, or `groups`; those
    // lanes are the bits of *lanes_hit.
    std::size_t (*next)(const std::int32_t* maxima, std::size_t vectors, const std::int32_t* limits,
                        std::size_t group, std::size_t groups, std::uint64_t* lanes_hit);

    // The lanes of one packed vector whose value is in [least, below), for each row of a group: hits
    // [group_rows].
    void (*rows)(const void* packed, const std::int8_t* rows, std::size_t dim, const std::int32_t* bias,
                 const std::int32_t* least, const std::int32_t* below, std::uint32_t* hits);

    // The values, times -1, of some rows for one query that is not packed: out [count]. That is half the
    // squared distance of the codes, less a term of the query alone.
    void (*half_distances)(const std::int8_t* query, const std::int8_t* rows, const std::int32_t* ids,
                           std::size_t count, std::size_t dim, const std::int32_t* bias, std::int32_t* out);
};

constexpr std::size_t kCodeStep = 64;    // codes of a point are padded to a multiple of this
constexpr std::size_t kMostCodes = 256;  // so that every sum fits a float exactly
constexpr std::size_t kCodeRows = 32;    // rows are padded to a multiple of this
constexpr std::size_t kMostGroupRows = 32;
constexpr std::size_t kStateBytes = 64;
constexpr std::size_t kProjectSlab = 16;  // columns of a basis that stand together
constexpr std::size_t kHalvesStep = 32;
constexpr std::size_t kProjectChunk = 128;  // terms of one running sum of a projection
constexpr std::size_t kMostShrink = 16;     // so that the sum of a block of u8 pixels fits 16 bits
constexpr std::size_t kResampleRows = 4;    // filtered at once
constexpr std::size_t kResampleBeyond = 16;
constexpr int kFraction = 4;  // bits behind the point of a row that was filtered
constexpr std::int16_t kMostMiddle = 255 << kFraction;

// `width` columns of `dim` numbers, width a multiple of kCodeStep.
struct Basis {
    std::size_t width;
    const float* slabs;  // [width / kProjectSlab][dim][kProjectSlab]
    // The same in two parts, the number rounded to bf16 and what that leaves rounded likewise, after each
    // other; each [width / kProjectSlab][half the dim][kProjectSlab][2], dim padded to kHalvesStep by 0.
    const std::uint16_t* halves;
};

constexpr std::size_t kNormalsBlock = 64;  // pixels at once, a multiple of the lanes of every instruction set
constexpr std::size_t kMostPictures = 128;
constexpr std::size_t kMostLanes = 16;
// reference_normals.py says what these are.
constexpr std::size_t kRounds = 8;
constexpr float kShadow = 0.2f, kNear = 0.03f, kFlat = 1e-4f, kFlatter = 1e-3f * 1e-4f, kSpark = 0.1f;
constexpr float kThird = 1.0f / 3.0f, kLargest = 3.0e38f;

// The lights of a stack of pictures, and how normals are found.
struct Lighting {
    std::size_t count;      // 3 .. kMostPictures
    const float* lights;    // [count][3]
    const float* products;  // [count][6]: xx, xy, xz, yy, yz, zz
    const float* solver;    // [3][count]: g = solver b by least squares
    const float* null;      // [4]: times four samples of a matt surface 0; read for four lights only
    // Each two samples in turn that change places where the first is larger; then sample count / 2 is the
    // median.
    const std::uint8_t* pairs;  // [pair_count][2]
    std::size_t pair_count;
    bool robust;
    float tau;   // weight of a residual above
    float dark;  // what is not above it is no light
};

constexpr std::size_t kMostMoved = 4096;  // pixels of a side, so that 32 bits number all
constexpr std::size_t kMostPlanes = 15;

// A picture that is moved by a matrix, and planes of the same size beside it.
struct Moved {
    std::size_t height, width;  // 2 or more; of all of them
    const float* picture;       // [height][width]
    const float* weights;       // [height][width]
    const float* planes;        // [count][height][width]
    std::size_t count;
    float matrix[6];  // from (x, y) of a plane to (x, y) of the picture
};

constexpr std::size_t kSketch = 32;

// Shows without their distance that points are not nearer than s^2 to a centre: their sketches are farther
// apart than factor * s^2 + slack.
struct Sieve {
    const float* centre;    // [kSketch]
    const float* sketches;  // [.][kSketch], or null for none
    float factor, slack;
};

struct Kernels {
    const char* name;
    // Exact search works on a tile of lanes * vectors queries (vectors <= max_vectors) packed as
    // [dim][lanes * vectors], and on groups of group_rows coreset rows.
    std::size_t lanes;
    std::size_t max_vectors;
    std::size_t group_rows;

    // Half the squared distance, less a term of the query alone: value = half_norm(row) - <query, row>.
    // Group g covers the rows from min(g * group_rows, size - group_rows), so the last one overlaps its
    // neighbour rather than be short; size >= group_rows. For each group in [first, last) write the
    // minimum of value per lane to minima[(g - first) * width ..] and lower running[width]. NaN is ignored.
    void (*group_minima)(const float* packed, std::size_t vectors, const float* rows, std::size_t size,
                         std::size_t dim, const float* half_norms, std::size_t first, std::size_t last,
                         float* minima, float* running);

    // The first group at or after `group` with some lane's minimum <= that lane's limit, or `groups`;
    // those lanes are the bits of *lanes_hit.
    std::size_t (*next_hit)(const float* minima, std::size_t vectors, const float* limits, std::size_t group,
                            std::size_t groups, std::uint64_t* lanes_hit);

    // Squared distances in the difference form. The three give the same bits for the same pair of rows.
    // With a limit, a result above the limit may be any partial sum above it.
    float (*sqdist)(const float* a, const float* b, std::size_t dim);
    void (*sqdist_rows)(const float* query, const float* rows, std::size_t count, std::size_t dim,
                        float* out);
    void (*sqdist_ids)(const float* query, const float* base, const std::int32_t* ids, std::size_t count,
                       std::size_t dim, float limit, float* out);

    // One step of greedy k-centre over the `count` points of a centre: where sqdist[i] > limit the point
    // ids[i] may be nearer to the new centre. If neither its sketch shows that it is not nor its distance,
    // its number goes to moved, the distance to taken, and its sqdist becomes negative. Returns how many
    // these are, and the largest sqdist of the others, at least 0.
    std::size_t (*relax)(const float* points, std::size_t dim, const float* centre, float limit,
                         const Sieve& sieve, const std::int32_t* ids, float* sqdist, std::size_t count,
                         std::int32_t* moved, float* taken, float* most);

    // out [count][kSketch] = (point - origin) times columns [dim][kSketch], the sums term by term.
    void (*sketch)(const float* points, std::size_t count, std::size_t dim, const float* origin,
                   const float* columns, float* out);

    // |W v|^2 of a lower triangular W, packed by its columns from the diagonal down; `product` [dim] is
    // working memory and must not overlap the others.
    float (*triangular_norm)(const float* packed, const float* vector, std::size_t dim, float* product);

    // out [count][width] = (point - mean) times the basis. A sum errs by at most (project_fixed + dim *
    // project_each) * 2^-24 |point - mean| |column|, and by underflow; by_halves, what two parts of the point
    // and of the column leave over comes on top, and the product of their second parts.
    void (*project)(const float* const* points, std::size_t count, std::size_t dim, const float* mean,
                    const Basis& basis, float* out);
    double project_fixed, project_each;
    bool by_halves;

    // codes[i] = values[i] / scale, rounded and limited to -127 .. 127; *norm is the sum of their squares,
    // exact. Returns the sum of (values[i] - scale * codes[i])^2. count: a multiple of 16, at most
    // kMostCodes.
    float (*encode)(const float* values, std::size_t count, float scale, std::int8_t* codes,
                    std::int32_t* norm);

    // One row of area averages: out [width][channels] of factor_y rows [width * factor_x][channels], `stride`
    // bytes apart. Factors are 1 .. kMostShrink, channels 1 or 3. A sum times 1 / area in float, plus
    // `nudge`, is rounded to the nearest integer, halves to even. `sums` is working memory of
    // 2 * width * factor_x * channels elements and at least 8.
    void (*shrink_row)(const std::uint8_t* rows, std::ptrdiff_t stride, std::size_t factor_y,
                       std::size_t factor_x, std::size_t channels, std::size_t width, float nudge,
                       std::uint16_t* sums, std::uint8_t* out);

    // Rows at another width, kResampleRows of them: out [width][channels], and perhaps one number more. Pixel
    // x is the sum of `taps` pixels from starts[x] on times weights [width][taps], over 2^shift, rounded,
    // halves up, and limited to 0 .. kMostMiddle. taps: a multiple of 4 for 3 channels, of 8 for one. Up to
    // kResampleBeyond bytes behind the last pixel of a sum are read.
    void (*resample_rows)(const std::uint8_t* const* rows, std::size_t channels, const std::int32_t* starts,
                          const std::int16_t* weights, std::size_t taps, int shift, std::size_t width,
                          std::int16_t* const* out);

    // Of such rows one row of pixels: the sum of `taps` rows times their weights, over 2^shift, rounded,
    // halves up, and limited to 0 .. 255. taps is even. Rows are read up to a multiple of 16.
    void (*resample_column)(const std::int16_t* const* rows, const std::int16_t* weights, std::size_t taps,
                            int shift, std::size_t count, std::uint8_t* out);

    // One row of samples of a picture: samples [count], the channels less the ambient ones (or null) times
    // scales [channels], not below 0; fits [count], 0 where a channel is at white or above, else 1.
    void (*samples_u8)(const std::uint8_t* pixels, const std::uint8_t* ambient, std::size_t channels,
                       const float* scales, float white, std::size_t count, float* samples, float* fits);
    void (*samples_u16)(const std::uint16_t* pixels, const std::uint16_t* ambient, std::size_t channels,
                        const float* scales, float white, std::size_t count, float* samples, float* fits);

    // Normals of a block: samples and fits [lighting.count][kNormalsBlock]; out [6][kNormalsBlock]: x, y, z,
    // albedo and residual, all 0 where there is no normal, and how many samples are lit. work: 2 *
    // lighting.count * kMostLanes.
    void (*normals_block)(const Lighting& lighting, const float* samples, const float* fits, float* work,
                          float* out);

    // Adds to sums [1 + count][1 + count], from the diagonal on, what moved.hpp says of rows [first, last).
    // work: 2 * (last - first) * width.
    void (*moved_products)(const Moved& of, std::size_t first, std::size_t last, float* work, double* sums);

    const CodeKernels* codes;
};

const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();
const Kernels* kernels_neon();
void project_by_amx(Kernels* kernels);  // sets the projection to that of AMX

const CodeKernels* codes_portable();
const CodeKernels* codes_avx2();
const CodeKernels* codes_avxvnni();
const CodeKernels* codes_avx512();
const CodeKernels* codes_avx512vnni();
const CodeKernels* codes_amx();
const CodeKernels* codes_neon();
const CodeKernels* codes_neondot();

}  // namespace edge_ad
