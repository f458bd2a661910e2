// Checks every instruction set of a CPU without Python: for CPUs that only an emulator has here, and for
// sanitizers. It is the CMake target of -DEDGE_AD_CROSS_CHECK=ON; `make cross` and `make sanitize` build and
// run it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "coreset.hpp"
#include "error.hpp"
#include "exact.hpp"
#include "graph.hpp"
#include "guessed.hpp"
#include "isa.hpp"
#include "kcenter.hpp"
#include "local.hpp"
#include "mahalanobis.hpp"
#include "moved.hpp"
#include "normals.hpp"
#include "pool.hpp"
#include "resample.hpp"
#include "shrink.hpp"

namespace {

int failures = 0;

void expect(bool holds, const char* what, std::size_t size, std::size_t dim) {
    if (holds) return;
    std::printf("FAILED [%s] %s: size %zu, dim %zu\n", edge_ad::kernels().name, what, size, dim);
    ++failures;
}

// Small integers: every distance is exact, so the answers must be equal to the last bit.
std::vector<float> integers(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<float> values(count + 1);
    for (float& value : values) value = static_cast<float>(random() % 8);
    return values;
}

double squared(const float* a, const float* b, std::size_t dim) {
    double sum = 0.0;
    for (std::size_t k = 0; k < dim; ++k) sum += (static_cast<double>(a[k]) - b[k]) * (a[k] - b[k]);
    return sum;
}

// By bounds the same comes out; rows of the unit matrix are a basis.
void check_bounds(const std::vector<float>& vectors, const edge_ad::Queries& queries, std::size_t dim,
                  edge_ad::Pool& pool, const std::vector<float>& distances,
                  const std::vector<std::int32_t>& found) {
    const std::size_t size = (vectors.size() - 1) / dim;  // integers() gives one more
    for (const std::size_t width : {dim, std::size_t{1}, std::size_t{60}, std::size_t{130}}) {
        if (width > dim || width > edge_ad::kMostCodes) continue;
        std::vector<float> basis(width * dim, 0.0f), lengths(distances.size());
        std::vector<std::int32_t> nearest(found.size());
        for (std::size_t i = 0; i < width; ++i) basis[i * dim + i] = 1.0f;
        edge_ad::Coreset coreset(vectors.data(), size, dim, size, pool);
        coreset.bound(basis.data(), width, pool);
        edge_ad::exact_search(coreset, {nullptr, 0}, queries, 1, pool, lengths.data(), nearest.data());
        expect(lengths == distances && nearest == found, "bounds", size, dim);
    }
}

// Weights and values are small integers: sums are exact, so each cell is that of the plain double sum.
void check_local(std::size_t height, std::size_t width, std::size_t radius, bool masked) {
    std::vector<std::int32_t> rows;
    for (std::size_t i = 0; i < height * width; ++i)
        if (!masked || i % 3 != 1) rows.push_back(static_cast<std::int32_t>(i));
    const std::size_t count = rows.size();
    std::vector<float> weights(radius + 1, 1.0f), values = integers(count, 7), bounds(count), cells(count);
    weights[0] = 2.0f;
    const edge_ad::Smoothing smoothing(weights, height, width, masked ? rows : std::vector<std::int32_t>{});
    smoothing.smooth(values.data(), cells.data());
    for (std::size_t i = 0; i < count; ++i) {
        double sum = 0.0, total = 0.0;
        for (std::size_t k = 0; k < count; ++k) {
            const auto grid_width = static_cast<std::int32_t>(width);
            const auto dy = static_cast<std::size_t>(std::abs(rows[i] / grid_width - rows[k] / grid_width));
            const auto dx = static_cast<std::size_t>(std::abs(rows[i] % grid_width - rows[k] % grid_width));
            if (dy > radius || dx > radius) continue;
            sum += static_cast<double>(weights[dy]) * weights[dx] * values[k];
            total += static_cast<double>(weights[dy]) * weights[dx];
        }
        expect(cells[i] == static_cast<float>(sum) / static_cast<float>(total), "smoothing", height, width);
    }
    const float levels[] = {2.0f, 4.0f}, far[] = {0.5f, 8.0f, 3.0f, 20.0f};
    std::vector<std::int32_t> nearest(count);
    for (std::size_t i = 0; i < count; ++i) nearest[i] = static_cast<std::int32_t>(i % 2);
    edge_ad::value_bounds({levels, far, 2, 5.0f}, values.data(), nearest.data(), count, bounds.data());
    std::vector<std::uint8_t> open(count, 1);
    std::vector<float> most = bounds;
    for (;;) {  // the patches of even numbers are at their bounds, the others at their values
        const auto chosen = smoothing.choose(values.data(), most.data(), open.data(), 4);
        if (chosen.empty()) break;
        for (const std::int32_t i : chosen) {
            const auto at = static_cast<std::size_t>(i);
            if (at % 2 != 0) most[at] = values[at];
            values[at] = most[at];
            open[at] = 0;
        }
    }
    for (std::size_t i = 0; i < count; ++i)
        if (i % 2 == 0) values[i] = bounds[i];
    std::vector<float> found(count);
    smoothing.smooth(values.data(), cells.data());
    smoothing.smooth(most.data(), found.data());
    const auto largest = std::max_element(cells.begin(), cells.end()) - cells.begin();
    const auto proven = std::max_element(found.begin(), found.end()) - found.begin();
    expect(largest == proven &&
               cells[static_cast<std::size_t>(largest)] == found[static_cast<std::size_t>(largest)],
           "largest cell", height, width);
}

void check_mahalanobis(std::size_t dim, edge_ad::Pool& pool) {
    const std::size_t count = 35, packed = dim * (dim + 1) / 2;
    const auto patches = integers(count * dim, 4), means = integers(count * dim, 5);
    const auto factors = integers(count * packed, 6);
    std::vector<std::int32_t> channels(dim);
    for (std::size_t i = 0; i < dim; ++i) channels[i] = static_cast<std::int32_t>(dim - 1 - i);
    std::vector<float> distances(count);
    edge_ad::mahalanobis({channels.data(), means.data(), factors.data(), dim},
                         {patches.data(), dim, nullptr, count}, pool, distances.data());
    for (std::size_t i = 0; i < count; ++i) {
        std::vector<double> product(dim, 0.0);
        const float* factor = factors.data() + i * packed;
        for (std::size_t column = 0; column < dim; ++column)
            for (std::size_t row = column; row < dim; ++row)
                product[row] += static_cast<double>(*factor++) *
                                (patches[i * dim + dim - 1 - column] - means[i * dim + column]);
        double sum = 0.0;
        for (const double value : product) sum += value * value;
        expect(std::fabs(distances[i] - std::sqrt(sum)) <= 1e-5 * std::sqrt(sum), "mahalanobis", count, dim);
    }
}

void check_guessed(const edge_ad::Coreset& coreset, const edge_ad::Queries& queries,
                   const std::vector<float>& distances, const std::vector<std::int32_t>& found,
                   edge_ad::Pool& pool) {
    const std::size_t count = std::min<std::size_t>(coreset.size, 5);
    std::vector<float> apart(coreset.size * count), lengths(queries.count);
    std::vector<std::int32_t> near(coreset.size * count), guesses(found), rows(queries.count);
    edge_ad::exact_search(coreset, {nullptr, 0}, {coreset.rows, coreset.dim, nullptr, coreset.size}, count,
                          pool, apart.data(), near.data());
    for (std::size_t i = 0; i < guesses.size(); i += 3) guesses[i] = static_cast<std::int32_t>(i % 2) - 1;
    edge_ad::guessed_search(coreset, {near.data(), apart.data(), count}, queries, guesses.data(), pool,
                            lengths.data(), rows.data());
    expect(lengths == distances && rows == found, "guessed", coreset.size, coreset.dim);
}

void check_search(std::size_t size, std::size_t dim, std::size_t count, edge_ad::Pool& pool) {
    const auto vectors = integers(size * dim, 1), asked = integers(count * dim, 2);
    const edge_ad::Coreset coreset(vectors.data(), size, dim, size, pool);
    auto queries = asked;
    if (count > 2) queries[dim] = std::numeric_limits<float>::quiet_NaN();
    std::vector<std::int32_t> links(size * 2), none, found(count), walked(count);
    for (std::size_t i = 0; i < size; ++i) {
        links[2 * i] = static_cast<std::int32_t>((i + 1) % size);
        links[2 * i + 1] = static_cast<std::int32_t>((i + size - 1) % size);
    }
    const std::vector<std::uint8_t> levels(size, 0);
    const edge_ad::Graph graph(coreset, {levels.data(), links.data(), 2, none.data(), 0, 2, 0});
    std::vector<float> distances(count), lengths(count);
    const edge_ad::Queries all{queries.data(), dim, nullptr, count};
    edge_ad::exact_search(coreset, {nullptr, 0}, all, 1, pool, distances.data(), found.data());
    check_bounds(vectors, all, dim, pool, distances, found);
    edge_ad::graph_search(graph, all, pool, size, 1, lengths.data(), walked.data());
    check_guessed(coreset, all, distances, found, pool);
    for (std::size_t i = 0; i < count; ++i) {
        double least = std::numeric_limits<double>::infinity();
        std::int32_t nearest = -1;
        for (std::size_t j = 0; j < size; ++j) {
            const double distance = squared(queries.data() + i * dim, vectors.data() + j * dim, dim);
            if (!(distance < least)) continue;
            least = distance;
            nearest = static_cast<std::int32_t>(j);
        }
        expect(found[i] == nearest, "nearest row", size, dim);
        expect(distances[i] == std::sqrt(static_cast<float>(least)), "distance", size, dim);
        expect(lengths[i] == distances[i] && (walked[i] < 0) == (nearest < 0), "graph", size, dim);
    }
}

void check_selection(std::size_t size, std::size_t dim, bool sketched, edge_ad::Pool& pool) {
    const auto points = integers(size * dim, 3);
    std::vector<float> basis(edge_ad::kSketch * dim);  // the first axes
    for (std::size_t i = 0; i < edge_ad::kSketch && i < dim; ++i) basis[i * dim + i] = 1.0f;
    edge_ad::KCenter selection(points.data(), size, dim, 0, sketched ? basis.data() : nullptr, pool);
    const std::size_t picked = selection.advance(20, pool);
    std::vector<double> least(size);
    for (std::size_t i = 0; i < size; ++i) least[i] = squared(points.data(), points.data() + i * dim, dim);
    for (std::size_t pick = 1; pick <= picked; ++pick) {
        std::size_t farthest = 0;
        for (std::size_t i = 1; i < size; ++i)
            if (least[i] > least[farthest]) farthest = i;
        expect(static_cast<std::size_t>(selection.selected()[pick]) == farthest, "pick", size, dim);
        for (std::size_t i = 0; i < size; ++i)
            least[i] =
                std::fmin(least[i], squared(points.data() + farthest * dim, points.data() + i * dim, dim));
    }
}

// The mean as shrink.hpp has it, by the C library's rounding.
std::uint8_t mean_of(const std::uint8_t* pixels, std::ptrdiff_t stride, std::size_t factor_y,
                     std::size_t factor_x, std::size_t channels) {
    int sum = 0;
    for (std::size_t y = 0; y < factor_y; ++y)
        for (std::size_t x = 0; x < factor_x; ++x)
            sum +=
                pixels[static_cast<std::ptrdiff_t>(y) * stride + static_cast<std::ptrdiff_t>(x * channels)];
    if (factor_y == 2 && factor_x == 2) return static_cast<std::uint8_t>((sum + 2) / 4);
    const float scale = 1.0f / static_cast<float>(factor_y * factor_x);
    return static_cast<std::uint8_t>(std::nearbyint(static_cast<float>(sum) * scale));
}

void check_shrink(std::size_t factor_y, std::size_t factor_x, std::size_t channels, std::size_t width) {
    constexpr std::size_t kHeight = 3, kGap = 5;  // bytes between the rows
    const std::size_t stride = width * factor_x * channels + kGap;
    std::mt19937 random(7);
    std::vector<std::uint8_t> pixels(kHeight * factor_y * stride), small(kHeight * width * channels);
    for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(random());
    // From the last row up, as of a flipped image.
    const std::uint8_t* last = pixels.data() + (kHeight * factor_y - 1) * stride;
    const std::ptrdiff_t step = -static_cast<std::ptrdiff_t>(stride);
    edge_ad::shrink({last, step, channels}, factor_y, factor_x, kHeight, width, nullptr, small.data());
    for (std::size_t i = 0; i < small.size(); ++i) {
        const std::size_t y = i / (width * channels), x = i / channels % width;
        const std::uint8_t* block = last + static_cast<std::ptrdiff_t>(y * factor_y) * step +
                                    static_cast<std::ptrdiff_t>(x * factor_x * channels + i % channels);
        expect(small[i] == mean_of(block, step, factor_y, factor_x, channels), "shrink", factor_y, factor_x);
    }
}

// Resampling of rows of pixels with a gap between them, the last row first; [height][width][channels].
template <typename Pixel>
std::vector<Pixel> resampled(std::size_t height, std::size_t width, std::size_t channels,
                             std::size_t to_height, std::size_t to_width, edge_ad::Pool* pool) {
    constexpr std::size_t kGap = 5;  // pixels between the rows
    const std::size_t row = width * channels + kGap;
    std::mt19937 random(8);
    std::vector<Pixel> pixels(height * row), out;
    for (Pixel& pixel : pixels) pixel = static_cast<Pixel>(random());
    const edge_ad::Picture<Pixel> picture{pixels.data() + (height - 1) * row,
                                          -static_cast<std::ptrdiff_t>(row * sizeof(Pixel)), height, width,
                                          channels};
    for (const edge_ad::Filter filter :
         {edge_ad::Filter::kBilinear, edge_ad::Filter::kBicubic, edge_ad::Filter::kBox}) {
        std::vector<Pixel> result(to_height * to_width * channels);
        edge_ad::resample(picture, filter, to_height, to_width, pool, result.data());
        out.insert(out.end(), result.begin(), result.end());
    }
    return out;
}

// Every instruction set gives what plain loops give, whatever the threads.
void check_resample(std::size_t channels, std::size_t width, std::size_t to_width, edge_ad::Pool& pool) {
    const std::string name = edge_ad::kernels().name;
    const auto found = resampled<std::uint8_t>(11, width, channels, 6, to_width, nullptr);
    const auto words = resampled<std::uint16_t>(11, width, channels, 6, to_width, nullptr);
    const auto large = resampled<std::uint8_t>(400, width + 230, channels, 70, to_width, nullptr);
    const auto pooled = resampled<std::uint8_t>(400, width + 230, channels, 70, to_width, &pool);
    edge_ad::use_isa("portable");
    expect(found == resampled<std::uint8_t>(11, width, channels, 6, to_width, nullptr), "resample", width,
           to_width);
    expect(words == resampled<std::uint16_t>(11, width, channels, 6, to_width, nullptr),
           "resample of 16 bits", width, to_width);
    edge_ad::use_isa(name);
    expect(large == pooled, "resample by threads", width, to_width);
}

// A shift by whole pixels of small integers: every sum is exact.
void check_moved(std::size_t height, std::size_t width, std::size_t count) {
    constexpr std::ptrdiff_t kRight = 2, kUp = 1;
    const std::size_t pixels = height * width, side = count + 1;
    // each ends with its last number, so that a sanitizer sees a read beyond it
    auto picture = integers(pixels, 4), weights = integers(pixels, 5), planes = integers(pixels * count, 6);
    for (auto* values : {&picture, &weights, &planes}) {
        values->pop_back();
        values->shrink_to_fit();
    }
    const edge_ad::Moved of{height,
                            width,
                            picture.data(),
                            weights.data(),
                            planes.data(),
                            count,
                            {1, 0, static_cast<float>(kRight), 0, 1, -static_cast<float>(kUp)}};
    std::vector<double> found(side * side), wanted(side * side, 0.0), values(side);
    edge_ad::moved_products(of, found.data());
    for (std::size_t at = 0; at < pixels; ++at) {
        const auto y = static_cast<std::ptrdiff_t>(at / width) - kUp,
                   x = static_cast<std::ptrdiff_t>(at % width) + kRight,
                   row = static_cast<std::ptrdiff_t>(width);
        if (y < 0 || x >= row) continue;
        values[0] = picture[static_cast<std::size_t>(y * row + x)];
        for (std::size_t i = 0; i < count; ++i) values[1 + i] = planes[i * pixels + at];
        for (std::size_t i = 0; i < side * side; ++i)
            wanted[i] += weights[at] * values[i / side] * values[i % side];
    }
    expect(found == wanted, "moved", height, width);
}

// Normals of noise under lights on a cone, [normals, albedo, residual, lit]. The rows have a gap between
// them.
template <typename Pixel>
std::vector<float> normals_of(std::size_t count, std::size_t channels, std::size_t height, std::size_t width,
                              bool robust, edge_ad::Pool* pool) {
    constexpr std::size_t kGap = 5;
    const std::size_t row = width * channels + kGap, pixels = height * width;
    std::mt19937 random(9);
    std::vector<std::vector<Pixel>> pictures(count, std::vector<Pixel>(height * row));
    edge_ad::Stack<Pixel> stack{height, width, channels, {}, {}, nullptr, 0, nullptr, nullptr};
    for (auto& picture : pictures) {
        for (Pixel& pixel : picture) pixel = static_cast<Pixel>(random());
        stack.pictures.push_back(picture.data());
        stack.strides.push_back(static_cast<std::ptrdiff_t>(row * sizeof(Pixel)));
    }
    // Numbers that are exact in binary, so that no C library rounds them otherwise.
    std::vector<float> directions(3 * count), scales(count * channels, 1.0f / 1024.0f), solver(3 * count);
    for (std::size_t n = 0; n < count; ++n) {
        directions[3 * n] = static_cast<float>(n % 3) / 4.0f - 0.25f;
        directions[3 * n + 1] = static_cast<float>(n % 2) / 4.0f - 0.125f;
        directions[3 * n + 2] = 0.875f;
        for (std::size_t k = 0; k < 3; ++k) solver[k * count + n] = directions[3 * n + k];
    }
    const float null[4] = {0.5f, -0.5f, 0.5f, -0.5f};
    std::vector<float> normals(3 * pixels), albedo(pixels), residual(pixels);
    std::vector<std::uint8_t> lit(pixels);
    const edge_ad::Lights lights{
        directions.data(), scales.data(), solver.data(), null, robust, 0.001f, 255.0f};
    edge_ad::photometric(stack, lights, pool, {normals.data(), albedo.data(), residual.data(), lit.data()});
    for (const auto& more : {albedo, residual}) normals.insert(normals.end(), more.begin(), more.end());
    for (const std::uint8_t number : lit) normals.push_back(number);
    return normals;
}

template <typename Pixel>
void check_normals(std::size_t count, std::size_t channels, std::size_t width, bool robust,
                   edge_ad::Pool& pool) {
    const std::string name = edge_ad::kernels().name;
    const auto found = normals_of<Pixel>(count, channels, 2, width, robust, nullptr);
    const auto large = normals_of<Pixel>(count, channels, 90, width + 60, robust, nullptr);
    const auto pooled = normals_of<Pixel>(count, channels, 90, width + 60, robust, &pool);
    edge_ad::use_isa("portable");
    expect(found == normals_of<Pixel>(count, channels, 2, width, robust, nullptr), "normals", count, width);
    edge_ad::use_isa(name);
    expect(large == pooled, "normals by threads", count, width);
}

// Threads that share a pool and a coreset, while others make pools and end them: the same answers as alone.
// What it does is there for the thread sanitizer to see.
void check_threads() {
    constexpr std::size_t kSize = 300, kDim = 20, kCount = 40, kThreads = 4, kRounds = 10;
    const auto vectors = integers(kSize * kDim, 1), queries = integers(kCount * kDim, 2);
    edge_ad::Pool pool(3, {}), streams(2, {}, 2);
    const edge_ad::Coreset coreset(vectors.data(), kSize, kDim, kSize, pool);
    const edge_ad::Queries all{queries.data(), kDim, nullptr, kCount};
    std::vector<float> lengths(kCount);
    std::vector<std::int32_t> nearest(kCount);
    edge_ad::exact_search(coreset, {nullptr, 0}, all, 1, pool, lengths.data(), nearest.data());
    std::vector<char> same(kThreads, 1);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            std::vector<float> distances(kCount);
            std::vector<std::int32_t> found(kCount);
            for (std::size_t round = 0; round < kRounds; ++round) {
                std::unique_ptr<edge_ad::Pool> own;
                if (t % 2 == 1) own = std::make_unique<edge_ad::Pool>(2, std::vector<int>{});
                edge_ad::Pool& shared = round % 2 == 0 ? pool : streams;
                edge_ad::exact_search(coreset, {nullptr, 0}, all, 1, own ? *own : shared, distances.data(),
                                      found.data());
                same[t] = same[t] && distances == lengths && found == nearest;
            }
        });
    for (std::thread& thread : threads) thread.join();
    for (const char is : same) expect(is != 0, "threads", kSize, kDim);
}

}  // namespace

int main() try {
    std::printf("%s is in use\n",
                edge_ad::kernels().name);  // minds EDGE_AD_FORCE_ISA, as the first search would
    edge_ad::Pool pool(2, {});
    for (const edge_ad::Kernels* kernels : edge_ad::supported_kernels()) {
        edge_ad::use_isa(kernels->name);
        for (const std::size_t dim : {1, 3, 4, 5, 15, 16, 17, 100, 384}) {
            check_mahalanobis(dim, pool);
            for (const std::size_t size : {1, 3, 7, 8, 9, 16, 17, 100}) {
                for (const std::size_t count : {1, 6, 7, 11, 12, 13, 24, 50})
                    check_search(size, dim, count, pool);
                check_selection(size, dim, false, pool);
                if (dim >= edge_ad::kSketch) check_selection(size, dim, true, pool);
            }
        }
        for (const bool sketched : {false, true}) check_selection(20000, 40, sketched, pool);  // shared out
        for (std::size_t factors = 0; factors < edge_ad::kMostShrink * edge_ad::kMostShrink; ++factors)
            for (const std::size_t channels : {1, 3})
                for (const std::size_t width : {1, 5, 16, 67})
                    check_shrink(factors / edge_ad::kMostShrink + 1, factors % edge_ad::kMostShrink + 1,
                                 channels, width);
        for (const std::size_t channels : {1, 3})
            for (const std::size_t width : {1, 3, 4, 5, 8, 9, 17, 100})
                for (const std::size_t to_width : {1, 2, 7, 16, 33})
                    check_resample(channels, width, to_width, pool);
        for (const std::size_t height : {1, 2, 7, 12})
            for (const std::size_t width : {1, 3, 4, 5, 8, 9, 17})
                for (const std::size_t radius : {0, 1, 3, 20})
                    for (const bool masked : {false, true}) check_local(height, width, radius, masked);
        for (const std::size_t width : {2, 3, 15, 16, 17, 31, 32, 33, 64, 1025})
            for (const std::size_t height : {2, 3, 40})
                for (const std::size_t count : {0, 1, 6, 15}) check_moved(height, width, count);
        for (const std::size_t count : {3, 4, 7, 17})
            for (const std::size_t width : {1, 15, 16, 17, 64, 65})
                for (const bool robust : {false, true}) {
                    check_normals<std::uint8_t>(count, 1, width, robust, pool);
                    check_normals<std::uint16_t>(count, 3, width, robust, pool);
                }
        check_threads();
        std::printf("%s: checked\n", kernels->name);
    }
    return failures == 0 ? 0 : 1;
} catch (const edge_ad::Fault& fault) {
    std::printf("%s; expected %s; got %s. %s\n", fault.what(), fault.expected.c_str(), fault.got.c_str(),
                fault.remedy.c_str());
    return 2;
}
