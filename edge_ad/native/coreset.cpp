#include "coreset.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bounds.hpp"
#include "pool.hpp"

namespace edge_ad {
namespace {

constexpr std::size_t kTaskRows = 256;
constexpr std::size_t kChains = 8;  // independent sums, so that none waits for the one before

double squared_distance(const float* row, const float* from, std::size_t dim) {
    double sums[kChains] = {};
    std::size_t k = 0;
    for (; k + kChains <= dim; k += kChains)
        for (std::size_t c = 0; c < kChains; ++c) {
            const double difference = static_cast<double>(row[k + c]) - from[k + c];
            sums[c] += difference * difference;
        }
    for (; k < dim; ++k) {
        const double difference = static_cast<double>(row[k]) - from[k];
        sums[0] += difference * difference;
    }
    double sum = 0.0;
    for (const double part : sums) sum += part;
    return sum;
}

// A squared norm must fit a float, or the distances do not.
bool usable(double squared) {
    return std::isfinite(static_cast<float>(squared));
}

}  // namespace

Coreset::~Coreset() = default;

void Coreset::bound(const float* basis, std::size_t width, Pool& pool) {
    bounds = std::make_unique<const Bounds>(*this, basis, width, pool);
}

Coreset::Coreset(const float* rows_, std::size_t size_, std::size_t dim_, std::size_t part_rows_, Pool& pool)
    : rows(rows_),
      size(size_),
      dim(dim_),
      part_rows(part_rows_),
      mean(dim_),
      half_norms(size_),
      most_norm(0),
      most_half_norm(0) {
    const std::size_t tasks = (size + kTaskRows - 1) / kTaskRows;
    const auto end_of = [&](std::size_t task) { return std::min((task + 1) * kTaskRows, size); };
    // sums of each task's rows, added up in order: the mean must not depend on the threads
    std::vector<double> squares(size), sums(tasks * dim, 0.0), total(dim, 0.0);
    pool.run(tasks, [&](std::size_t task, Scratch&) {
        double* sum = sums.data() + task * dim;
        const std::vector<float> origin(dim, 0.0f);
        for (std::size_t i = task * kTaskRows; i < end_of(task); ++i) {
            squares[i] = squared_distance(row(i), origin.data(), dim);
            if (!usable(squares[i])) continue;
            for (std::size_t k = 0; k < dim; ++k) sum[k] += row(i)[k];
        }
    });
    std::size_t finite = 0;
    for (std::size_t i = 0; i < size; ++i) {
        if (!usable(squares[i])) continue;
        most_norm = std::max(most_norm, std::sqrt(squares[i]));
        ++finite;
    }
    for (std::size_t task = 0; task < tasks; ++task)
        for (std::size_t k = 0; k < dim; ++k) total[k] += sums[task * dim + k];
    for (std::size_t k = 0; k < dim && finite != 0; ++k)
        mean[k] = static_cast<float>(total[k] / static_cast<double>(finite));
    pool.run(tasks, [&](std::size_t task, Scratch&) {
        for (std::size_t i = task * kTaskRows; i < end_of(task); ++i) {
            const double squared = squared_distance(row(i), mean.data(), dim);
            const bool good = usable(squared) && usable(squares[i]);
            half_norms[i] = good ? static_cast<float>(0.5 * squared) : std::numeric_limits<float>::infinity();
        }
    });
    for (const float half : half_norms)
        if (std::isfinite(half)) most_half_norm = std::max(most_half_norm, static_cast<double>(half));
}

}  // namespace edge_ad
