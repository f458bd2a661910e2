// Exact k nearest neighbours in two steps. A tile of queries runs over the coreset as a matrix product that
// keeps no distances, only the least value |c - m|^2 / 2 - <q - m, c> of each group of rows (m is the mean
// of the coreset: it takes a common offset out of the rounding). Then the groups that rounding allows to
// hold the nearest row, nearly always one, are computed again in the difference form, which decides.
#include "exact.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "isa.hpp"
#include "nearest.hpp"

namespace edge_ad {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr std::size_t kSegmentRows = 32768;     // bounds the memory of the groups' minima
constexpr std::size_t kBlockBytes = 320 << 10;  // coreset rows that stay in L2 while tiles pass
constexpr std::size_t kSmallCoresetBytes = 4 << 20;
constexpr std::size_t kStripeTiles = 4;
constexpr std::size_t kDirectQueries = 6;  // fewer than a tile is worth
constexpr std::size_t kDirectRows = 1024;  // rows a task of the direct search takes

// The squared distance from the mean; not finite for a query that cannot be answered.
float spread(const Coreset& coreset, const Kernels& with, const float* query) {
    return with.sqdist(query, coreset.mean.data(), coreset.dim);
}

// Rows [first, first + count) against one query, at most 64 at a time.
void offer_rows(const Coreset& coreset, const Kernels& kernels, const float* query, std::size_t first,
                std::size_t count, Nearest nearest) {
    float squared[64];
    while (count != 0) {
        const std::size_t now = std::min<std::size_t>(count, 64);
        kernels.sqdist_rows(query, coreset.row(first), now, coreset.dim, squared);
        for (std::size_t i = 0; i < now; ++i)
            if (squared[i] < nearest.bound() && std::isfinite(coreset.half_norms[first + i]))
                nearest.offer(squared[i], first + i);
        first += now;
        count -= now;
    }
}

// A few queries: the difference form for every row, tasks of kDirectRows rows.
void direct_search(const Coreset& coreset, const std::vector<Range>& ranges, const Queries& queries,
                   std::size_t k, Pool& pool, float* distances, std::int32_t* indices) {
    const Kernels& with = kernels();
    std::vector<Range> pieces;
    for (const Range& range : ranges)
        for (std::size_t first = 0; first < range.size; first += kDirectRows)
            pieces.push_back({range.first + first, std::min(kDirectRows, range.size - first)});
    const std::size_t tasks = pieces.size();
    std::vector<Best> found(tasks * queries.count * k);
    const auto of = [&](std::size_t task, std::size_t i) {
        return Nearest{found.data() + (task * queries.count + i) * k, k};
    };
    pool.run(tasks, [&](std::size_t task, Scratch&) {
        const Range& piece = pieces[task];
        for (std::size_t i = 0; i < queries.count; ++i)
            if (std::isfinite(spread(coreset, with, queries.row(i))))
                offer_rows(coreset, with, queries.row(i), piece.first, piece.size, of(task, i));
    });
    for (std::size_t i = 0; i < queries.count; ++i) {
        Nearest all = of(0, i);
        for (std::size_t task = 1; task < tasks; ++task)
            for (std::size_t j = 0; j < k && of(task, i).best[j].index >= 0; ++j)
                all.offer(of(task, i).best[j].squared, static_cast<std::size_t>(of(task, i).best[j].index));
        all.write(distances + i * k, indices + i * k);
    }
}

// The queries [first, first + count) of a call, packed for the kernels.
struct Tile {
    std::size_t first, count, vectors, width;
    float* packed;   // [dim][width] less the mean
    float* running;  // [width] least value so far
    float* limits;   // [width] what a group's minimum must not pass to be looked at
    double* norms;   // [width] of query - mean; negative: not a query, or not a usable one
    Best* best;      // [width][k]
    float* minima;   // [groups][width]
    std::size_t k;

    Nearest nearest(std::size_t lane) const { return {best + lane * k, k}; }
};

void pack(const Coreset& coreset, const Kernels& with, const Queries& queries, Tile& tile) {
    const std::size_t dim = coreset.dim, width = tile.width;
    for (std::size_t lane = 0; lane < width; ++lane) {
        const float* query = lane < tile.count ? queries.row(tile.first + lane) : nullptr;
        const float squared = query != nullptr ? spread(coreset, with, query) : kInf;
        const bool good = std::isfinite(squared);
        for (std::size_t k = 0; k < dim; ++k)
            tile.packed[k * width + lane] = good ? query[k] - coreset.mean[k] : 0.0f;
        const double norm = 1.001 * std::sqrt(static_cast<double>(squared)) + 4e-23 * std::sqrt(dim);
        tile.norms[lane] = good ? norm : -1.0;
        tile.running[lane] = kInf;
        tile.nearest(lane).clear();
    }
}

// A computed value that k rows of the lane do not pass: for k = 1 the least one, else the least but k of the
// groups' minima, as two groups may share their row. Infinite where there are no more groups.
float kth_value(const Tile& tile, std::size_t lane, std::size_t groups, float* column) {
    if (tile.k == 1) return tile.running[lane];
    if (groups <= tile.k) return kInf;
    for (std::size_t g = 0; g < groups; ++g) {
        const float least = tile.minima[g * tile.width + lane];
        column[g] = std::isnan(least) ? kInf : least;
    }
    std::nth_element(column, column + tile.k, column + groups);
    return column[tile.k];
}

// How far above the least computed value the true winner's computed value can be. A dot product of dim
// terms errs by at most dim * u * |a| |b| (u = 2^-24; Higham 2002, 3.5), a distance in the difference
// form by (dim + 8) * u of its square; a few u more for the rounded terms. Where squares underflow, each
// term errs by the smallest float too.
void set_limits(const Coreset& coreset, std::size_t groups, Tile& tile, Scratch& scratch) {
    constexpr double u = 1.0 / (1 << 24);
    const double terms = static_cast<double>(coreset.dim) + 8.0, lost = terms * 3e-45;
    float* column = scratch.get<float>(5, groups);
    for (std::size_t lane = 0; lane < tile.width; ++lane) {
        const double norm = tile.norms[lane], least = kth_value(tile, lane, groups, column);
        if (norm < 0.0 || tile.running[lane] == kInf) {
            tile.limits[lane] = -kInf;
            continue;
        }
        const double most_norm = coreset.most_norm + 4e-23 * std::sqrt(terms);
        const double error = u * (terms * norm * most_norm + 2.0 * coreset.most_half_norm) + lost;
        const double squared = std::max(0.0, 2.0 * (least + error) + norm * norm);
        const double limit = least + 2.0 * error + terms * u * squared + lost;
        tile.limits[lane] = std::nextafter(static_cast<float>(limit), kInf);
    }
}

void decide(const Coreset& coreset, const Kernels& with, const Queries& queries, const Range& range,
            std::size_t first_group, std::size_t groups, Tile& tile, Scratch& scratch) {
    set_limits(coreset, groups, tile, scratch);
    std::uint64_t lanes = 0;
    std::size_t g = with.next_hit(tile.minima, tile.vectors, tile.limits, 0, groups, &lanes);
    while (g < groups) {
        const std::size_t row =
            range.first + std::min((first_group + g) * with.group_rows, range.size - with.group_rows);
        for (; lanes != 0; lanes &= lanes - 1) {
            const auto lane = static_cast<std::size_t>(__builtin_ctzll(lanes));
            offer_rows(coreset, with, queries.row(tile.first + lane), row, with.group_rows,
                       tile.nearest(lane));
        }
        g = with.next_hit(tile.minima, tile.vectors, tile.limits, g + 1, groups, &lanes);
    }
}

// A few tiles over a range, a segment at a time, and of that a block at a time.
void search_range(const Coreset& coreset, const Kernels& with, const Queries& queries, const Range& range,
                  std::vector<Tile>& tiles, Scratch& scratch) {
    const std::size_t groups = (range.size + with.group_rows - 1) / with.group_rows;
    const std::size_t segment = kSegmentRows / with.group_rows;
    const std::size_t block = std::max<std::size_t>(1, kBlockBytes / (with.group_rows * coreset.dim * 4));
    for (std::size_t first = 0; first < groups; first += segment) {
        const std::size_t last = std::min(first + segment, groups);
        for (std::size_t g = first; g < last; g += block)
            for (Tile& tile : tiles)
                with.group_minima(tile.packed, tile.vectors, coreset.row(range.first), range.size,
                                  coreset.dim, coreset.half_norms.data() + range.first, g,
                                  std::min(g + block, last), tile.minima + (g - first) * tile.width,
                                  tile.running);
        for (Tile& tile : tiles) decide(coreset, with, queries, range, first, last - first, tile, scratch);
    }
}

void search_tiles(const Coreset& coreset, const Kernels& with, const Queries& queries,
                  const std::vector<Range>& ranges, std::vector<Tile>& tiles, Scratch& scratch) {
    for (const Range& range : ranges) {
        if (range.size >= with.group_rows) {
            search_range(coreset, with, queries, range, tiles, scratch);
            continue;
        }
        for (const Tile& tile : tiles)
            for (std::size_t lane = 0; lane < tile.count; ++lane)
                if (tile.norms[lane] >= 0.0)
                    offer_rows(coreset, with, queries.row(tile.first + lane), range.first, range.size,
                               tile.nearest(lane));
    }
}

std::vector<Tile> make_tiles(const Coreset& coreset, const Kernels& with, std::size_t first,
                             std::size_t count, std::size_t k, Scratch& scratch) {
    const std::size_t full = with.lanes * with.max_vectors;
    const std::size_t number = (count + full - 1) / full;
    const std::size_t groups = (std::min(coreset.size, kSegmentRows) + with.group_rows - 1) / with.group_rows;
    float* packed = scratch.get<float>(0, number * full * coreset.dim);
    float* minima = scratch.get<float>(1, number * full * groups);
    float* lanes = scratch.get<float>(2, number * full * 2);
    double* norms = scratch.get<double>(3, number * full);
    Best* best = scratch.get<Best>(4, number * full * k);
    std::vector<Tile> tiles;
    for (std::size_t t = 0; t < number; ++t) {
        const std::size_t now = std::min(full, count - t * full), at = t * full;
        const std::size_t vectors = (now + with.lanes - 1) / with.lanes;
        tiles.push_back({first + at, now, vectors, vectors * with.lanes, packed + at * coreset.dim,
                         lanes + 2 * at, lanes + 2 * at + full, norms + at, best + at * k,
                         minima + at * groups, k});
    }
    return tiles;
}

}  // namespace

std::vector<Range> ranges_of(const Coreset& coreset, const Parts& parts) {
    if (parts.ids == nullptr) return {{0, coreset.size}};
    std::vector<Range> ranges;
    for (std::size_t i = 0; i < parts.count; ++i) {
        const std::size_t first = static_cast<std::size_t>(parts.ids[i]) * coreset.part_rows;
        const std::size_t size = std::min(coreset.part_rows, coreset.size - first);
        if (!ranges.empty() && ranges.back().first + ranges.back().size == first) {
            ranges.back().size += size;
        } else {
            ranges.push_back({first, size});
        }
    }
    return ranges;
}

void brute_search(const Coreset& coreset, const Parts& parts, const Queries& queries, std::size_t k,
                  Pool& pool, float* distances, std::int32_t* indices) {
    const Kernels& with = kernels();
    if (queries.count == 0) return;
    const std::vector<Range> ranges = ranges_of(coreset, parts);
    if (queries.count <= kDirectQueries) {
        direct_search(coreset, ranges, queries, k, pool, distances, indices);
        return;
    }
    const bool small = coreset.size * coreset.dim <= kSmallCoresetBytes / 4;
    const std::size_t stripe = with.lanes * with.max_vectors * (small ? 1 : kStripeTiles);
    pool.run((queries.count + stripe - 1) / stripe, [&](std::size_t task, Scratch& scratch) {
        const std::size_t first = task * stripe;
        auto tiles = make_tiles(coreset, with, first, std::min(stripe, queries.count - first), k, scratch);
        for (Tile& tile : tiles) pack(coreset, with, queries, tile);
        search_tiles(coreset, with, queries, ranges, tiles, scratch);
        for (const Tile& tile : tiles)
            for (std::size_t lane = 0; lane < tile.count; ++lane)
                tile.nearest(lane).write(distances + (tile.first + lane) * k,
                                         indices + (tile.first + lane) * k);
    });
}

void exact_search(const Coreset& coreset, const Parts& parts, const Queries& queries, std::size_t k,
                  Pool& pool, float* distances, std::int32_t* indices) {
    const auto search = coreset.bounds == nullptr ? brute_search : bounded_search;
    search(coreset, parts, queries, k, pool, distances, indices);
}

}  // namespace edge_ad
