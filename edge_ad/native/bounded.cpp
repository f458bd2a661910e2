// Exact k nearest neighbours by lower bounds from short codes; see Bounds for the inequality. A row can win
// or tie only if
//
//     s |c_q - c_x| - e_q - e_x <= B,    B the true distance at which a computed one is the k-th best so far,
//
// which for the largest e_x is an integer limit on the value c_q c_x - floor(|c_x|^2 / 2). A tile of queries
// runs over the codes and keeps the largest value of each group of rows. The rows with the largest values of
// all give the first B, nearly always the last one; then the groups above the limit give the other rows that
// may be nearer, some 5 to 50 of 16,000. The distances that decide are those of brute force, to the bit.
// Queries with too many such rows are left to brute force.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <mutex>
#include <vector>

#include "bounds.hpp"
#include "exact.hpp"
#include "isa.hpp"
#include "nearest.hpp"

namespace edge_ad {
namespace {

constexpr std::int32_t kAll = Bounds::kAll;
constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kSegmentRows = 32768;     // bounds the memory of the groups' maxima
constexpr std::size_t kBlockBytes = 256 << 10;  // codes that stay in L2 while tiles pass
constexpr std::size_t kStripeQueries = 256;     // of a task
constexpr std::size_t kBatch = 64;              // distances between looks at the bound
constexpr std::size_t kMostLanes = 64;

// Code rows [code_row, code_row + rows) stand for the coreset's rows from first_row on.
struct Run {
    std::size_t code_row, rows, first_row;
};

// The runs of a segment, their groups counted through.
struct Segment {
    std::vector<Run> runs;
    std::size_t groups;
};

std::vector<Segment> segments_of(const Coreset& coreset, const CodeKernels& with, const Parts& parts) {
    const std::size_t part_codes = coreset.bounds->part_codes();
    const std::size_t count =
        parts.ids == nullptr ? (coreset.size + coreset.part_rows - 1) / coreset.part_rows : parts.count;
    std::vector<Segment> segments;
    std::size_t room = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t part = parts.ids == nullptr ? i : static_cast<std::size_t>(parts.ids[i]);
        for (std::size_t done = 0; done < part_codes;) {
            if (room == 0) {
                segments.push_back({{}, 0});
                room = kSegmentRows;
            }
            const std::size_t now = std::min(room, part_codes - done);
            segments.back().runs.push_back({part * part_codes + done, now, part * coreset.part_rows + done});
            segments.back().groups += now / with.group_rows;
            done += now;
            room -= now;
        }
    }
    return segments;
}

// The queries [first, first + count) of a call.
struct Tile {
    std::size_t first, count, vectors, width;
    std::uint8_t* packed;   // a packed vector after the other
    std::int32_t* running;  // [width] largest value of the segment
    std::int32_t* limits;   // [width] least value that is looked at
    std::int32_t* below;    // [width] values from here on have been looked at
    Bounds::Coded* coded;   // [width]; kUnusable: not a query, or not one to be searched here
    Best* best;             // [width][k]
    std::int32_t* maxima;   // [groups][width]
    std::size_t k;

    Nearest nearest(std::size_t lane) const { return {best + lane * k, k}; }
    bool open(std::size_t lane) const { return coded[lane].error != Bounds::kUnusable; }
};

// What the search of one task needs beside its tiles.
class Task {
  public:
    Task(const Coreset& coreset, const Queries& queries, std::size_t k, std::size_t rows, Scratch& scratch)
        : coreset_(coreset),
          bounds_(*coreset.bounds),
          queries_(queries),
          with_(kernels()),
          codes_(*with_.codes),
          bias_(bounds_.bias(codes_.offset)),
          k_(k),
          most_(std::max(2 * k + 64, rows / 4)),
          scratch_(scratch),
          ids_(scratch.get<std::int32_t>(0, codes_.lanes * codes_.max_vectors * most_)),
          squared_(scratch.get<float>(1, kBatch)) {}

    std::vector<Tile> make_tiles(std::size_t first, std::size_t count, std::size_t groups);
    void search(const Segment& segment, std::vector<Tile>& tiles);

    // Queries that are left to brute force.
    std::vector<std::int32_t> hard;

  private:
    void pack(Tile& tile);
    void decide(const Segment& segment, Tile& tile);
    void seed(const Segment& segment, Tile& tile);
    std::int32_t kth_value(const Tile& tile, std::size_t lane, std::size_t groups);
    void gather(const Segment& segment, const Tile& tile);
    void keep(const Run& run, const Tile& tile, std::size_t group, std::uint64_t lanes);
    void measure(const Tile& tile);

    const Coreset& coreset_;
    const Bounds& bounds_;
    const Queries& queries_;
    const Kernels& with_;
    const CodeKernels& codes_;
    const std::int32_t* bias_;
    const std::size_t k_, most_;  // most_: rows that a lane's list holds
    Scratch& scratch_;
    std::int32_t* ids_;  // [width][most_]
    float* squared_;
    std::size_t counts_[kMostLanes];  // of the lists; above most_: a hard query
};

std::vector<Tile> Task::make_tiles(std::size_t first, std::size_t count, std::size_t groups) {
    const std::size_t full = codes_.lanes * codes_.max_vectors, number = (count + full - 1) / full;
    auto* packed = scratch_.get<std::uint8_t>(2, number * full * bounds_.dim() * codes_.packed_bytes);
    auto* lanes = scratch_.get<std::int32_t>(3, number * full * 3);
    auto* coded = scratch_.get<Bounds::Coded>(4, number * full);
    auto* best = scratch_.get<Best>(5, number * full * k_);
    auto* maxima = scratch_.get<std::int32_t>(6, number * full * groups);
    std::vector<Tile> tiles;
    for (std::size_t t = 0; t < number; ++t) {
        const std::size_t at = t * full, now = std::min(full, count - at);
        const std::size_t vectors = (now + codes_.lanes - 1) / codes_.lanes;
        tiles.push_back({first + at, now, vectors, vectors * codes_.lanes,
                         packed + at * bounds_.dim() * codes_.packed_bytes, lanes + 3 * at,
                         lanes + 3 * at + full, lanes + 3 * at + 2 * full, coded + at, best + at * k_,
                         maxima + at * groups, k_});
        pack(tiles.back());
    }
    return tiles;
}

void Task::pack(Tile& tile) {
    const std::size_t dim = bounds_.dim();
    auto* codes = scratch_.get<std::int8_t>(7, tile.width * dim);
    auto* values = scratch_.get<float>(8, tile.width * dim);
    const float* points[kMostLanes];
    for (std::size_t lane = 0; lane < tile.width; ++lane)
        points[lane] = lane < tile.count ? queries_.row(tile.first + lane) : coreset_.mean.data();
    bounds_.encode(points, tile.width, values, codes, tile.coded);
    for (std::size_t v = 0; v < tile.vectors; ++v)
        codes_.pack(codes + v * codes_.lanes * dim, dim,
                    tile.packed + v * codes_.lanes * dim * codes_.packed_bytes);
    for (std::size_t lane = 0; lane < tile.width; ++lane) {
        if (lane >= tile.count) tile.coded[lane].error = Bounds::kUnusable;
        tile.nearest(lane).clear();
    }
}

// A value that k rows of the segment reach, or kAll.
std::int32_t Task::kth_value(const Tile& tile, std::size_t lane, std::size_t groups) {
    if (k_ == 1) return std::max(tile.running[lane], kAll);
    if (groups < k_) return kAll;
    auto* column = scratch_.get<std::int32_t>(9, groups);
    for (std::size_t g = 0; g < groups; ++g) column[g] = tile.maxima[g * tile.width + lane];
    std::nth_element(column, column + k_ - 1, column + groups, std::greater<>());
    return std::max(column[k_ - 1], kAll);
}

void Task::keep(const Run& run, const Tile& tile, std::size_t group, std::uint64_t lanes) {
    const std::size_t dim = bounds_.dim(), row = group * codes_.group_rows;
    const std::uint64_t vector_lanes = (std::uint64_t{1} << codes_.lanes) - 1;
    for (std::size_t v = 0; v < tile.vectors; ++v) {
        if (((lanes >> (v * codes_.lanes)) & vector_lanes) == 0) continue;
        const std::size_t lane = v * codes_.lanes;
        std::uint32_t hits[kMostGroupRows];
        codes_.rows(tile.packed + lane * dim * codes_.packed_bytes, bounds_.codes(run.code_row + row), dim,
                    bias_ + run.code_row + row, tile.limits + lane, tile.below + lane, hits);
        for (std::size_t r = 0; r < codes_.group_rows; ++r)
            for (std::uint32_t left = hits[r]; left != 0; left &= left - 1) {
                const std::size_t at = lane + static_cast<std::size_t>(__builtin_ctz(left));
                std::size_t& count = counts_[at];
                if (count < most_)
                    ids_[at * most_ + count] = static_cast<std::int32_t>(run.first_row + row + r);
                ++count;
            }
    }
}

// The rows with values from limits on and less than `below`, into the lists.
void Task::gather(const Segment& segment, const Tile& tile) {
    std::fill_n(counts_, tile.width, 0);
    std::size_t before = 0;
    for (const Run& run : segment.runs) {
        const std::size_t groups = run.rows / codes_.group_rows;
        const std::int32_t* maxima = tile.maxima + before * tile.width;
        std::uint64_t lanes = 0;
        std::size_t g = codes_.next(maxima, tile.vectors, tile.limits, 0, groups, &lanes);
        while (g < groups) {
            keep(run, tile, g, lanes);
            g = codes_.next(maxima, tile.vectors, tile.limits, g + 1, groups, &lanes);
        }
        before += groups;
    }
}

// The distances of the rows in the lists.
void Task::measure(const Tile& tile) {
    for (std::size_t lane = 0; lane < tile.count; ++lane) {
        if (!tile.open(lane)) continue;
        if (counts_[lane] > most_) {
            hard.push_back(static_cast<std::int32_t>(tile.first + lane));
            tile.coded[lane].error = Bounds::kUnusable;
            continue;
        }
        Nearest nearest = tile.nearest(lane);
        const float* query = queries_.row(tile.first + lane);
        for (std::size_t done = 0; done < counts_[lane]; done += kBatch) {
            const std::int32_t* ids = ids_ + lane * most_ + done;
            const std::size_t now = std::min(kBatch, counts_[lane] - done);
            with_.sqdist_ids(query, coreset_.rows, ids, now, coreset_.dim, nearest.bound(), squared_);
            for (std::size_t i = 0; i < now; ++i)
                nearest.offer(squared_[i], static_cast<std::size_t>(ids[i]));
        }
    }
}

// The rows of the largest values, which give the first bound.
void Task::seed(const Segment& segment, Tile& tile) {
    bool any = false;
    for (std::size_t lane = 0; lane < tile.width; ++lane) {
        const bool open = tile.open(lane) && tile.nearest(lane).best[k_ - 1].index < 0;
        tile.limits[lane] = open ? kth_value(tile, lane, segment.groups) : kNone;
        tile.below[lane] = kNone;
        any = any || open;
    }
    if (!any) return;
    gather(segment, tile);
    measure(tile);
}

void Task::decide(const Segment& segment, Tile& tile) {
    seed(segment, tile);
    for (std::size_t lane = 0; lane < tile.width; ++lane) {
        tile.below[lane] = tile.limits[lane];
        // a row that is no farther than the k-th best so far
        tile.limits[lane] =
            tile.open(lane) ? bounds_.least_value(tile.coded[lane], tile.nearest(lane).bound()) : kNone;
    }
    gather(segment, tile);
    measure(tile);
}

void Task::search(const Segment& segment, std::vector<Tile>& tiles) {
    const std::size_t block = std::max<std::size_t>(1, kBlockBytes / (bounds_.dim() * codes_.group_rows));
    for (Tile& tile : tiles) std::fill_n(tile.running, tile.width, std::numeric_limits<std::int32_t>::min());
    std::size_t before = 0;
    for (const Run& run : segment.runs) {
        const std::size_t groups = run.rows / codes_.group_rows;
        for (std::size_t g = 0; g < groups; g += block) {
            const std::size_t row = run.code_row + g * codes_.group_rows;
            for (Tile& tile : tiles)
                codes_.maxima(tile.packed, tile.vectors, bounds_.codes(row), bounds_.dim(), bias_ + row,
                              std::min(block, groups - g), tile.maxima + (before + g) * tile.width,
                              tile.running);
        }
        before += groups;
    }
    for (Tile& tile : tiles) decide(segment, tile);
}

// A thread's state of the code kernels, for the length of a task.
class Begun {
  public:
    explicit Begun(const CodeKernels& with) : with_(with) { with_.begin(state_); }
    ~Begun() { with_.end(state_); }
    Begun(const Begun&) = delete;
    Begun& operator=(const Begun&) = delete;

  private:
    const CodeKernels& with_;
    alignas(64) std::uint8_t state_[kStateBytes];
};

void search_rest(const Coreset& coreset, const Parts& parts, const Queries& queries, std::size_t k,
                 Pool& pool, const std::vector<std::int32_t>& hard, float* distances, std::int32_t* indices) {
    std::vector<std::int32_t> rows(hard.size()), found(hard.size() * k);
    std::vector<float> lengths(hard.size() * k);
    for (std::size_t i = 0; i < hard.size(); ++i)
        rows[i] = static_cast<std::int32_t>(queries.index(static_cast<std::size_t>(hard[i])));
    brute_search(coreset, parts, {queries.data, queries.dim, rows.data(), rows.size()}, k, pool,
                 lengths.data(), found.data());
    for (std::size_t i = 0; i < hard.size(); ++i) {
        const std::size_t at = static_cast<std::size_t>(hard[i]) * k;
        std::copy_n(lengths.data() + i * k, k, distances + at);
        std::copy_n(found.data() + i * k, k, indices + at);
    }
}

}  // namespace

void bounded_search(const Coreset& coreset, const Parts& parts, const Queries& queries, std::size_t k,
                    Pool& pool, float* distances, std::int32_t* indices) {
    if (queries.count == 0) return;
    const CodeKernels& with = *kernels().codes;
    const std::vector<Segment> segments = segments_of(coreset, with, parts);
    std::size_t groups = 0, rows = 0;
    for (const Segment& segment : segments) {
        groups = std::max(groups, segment.groups);
        rows += segment.groups * with.group_rows;
    }
    const std::size_t tile = with.lanes * with.max_vectors;
    const std::size_t share = (queries.count + 2 * pool.threads() - 1) / (2 * pool.threads());
    const std::size_t stripe = (std::min(share, kStripeQueries) + tile - 1) / tile * tile;
    std::vector<std::int32_t> hard;
    std::mutex guard;
    pool.run((queries.count + stripe - 1) / stripe, [&](std::size_t number, Scratch& scratch) {
        const std::size_t first = number * stripe;
        Task task(coreset, queries, k, rows, scratch);
        std::vector<Tile> tiles = task.make_tiles(first, std::min(stripe, queries.count - first), groups);
        const Begun begun(with);
        for (const Segment& segment : segments) task.search(segment, tiles);
        for (const Tile& of : tiles)
            for (std::size_t lane = 0; lane < of.count; ++lane)
                of.nearest(lane).write(distances + (of.first + lane) * k, indices + (of.first + lane) * k);
        if (task.hard.empty()) return;
        const std::lock_guard lock(guard);
        hard.insert(hard.end(), task.hard.begin(), task.hard.end());
    });
    if (!hard.empty()) search_rest(coreset, parts, queries, k, pool, hard, distances, indices);
}

}  // namespace edge_ad
