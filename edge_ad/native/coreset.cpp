#include "coreset.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace edge_ad {
namespace {

double squared_norm(const float* row, std::size_t dim) {
    double sum = 0.0;
    for (std::size_t k = 0; k < dim; ++k) sum += static_cast<double>(row[k]) * row[k];
    return sum;
}

// A squared norm must fit a float, or the distances do not.
bool usable(double squared) {
    return std::isfinite(static_cast<float>(squared));
}

}  // namespace

Coreset::Coreset(const float* rows_, std::size_t size_, std::size_t dim_)
    : rows(rows_), size(size_), dim(dim_), mean(dim_), half_norms(size_), most_norm(0), most_half_norm(0) {
    std::vector<double> sums(dim, 0.0);
    std::size_t finite = 0;
    for (std::size_t i = 0; i < size; ++i) {
        const double squared = squared_norm(row(i), dim);
        if (!usable(squared)) continue;
        most_norm = std::max(most_norm, std::sqrt(squared));
        for (std::size_t k = 0; k < dim; ++k) sums[k] += row(i)[k];
        ++finite;
    }
    for (std::size_t k = 0; k < dim && finite != 0; ++k)
        mean[k] = static_cast<float>(sums[k] / static_cast<double>(finite));
    for (std::size_t i = 0; i < size; ++i) {
        double squared = 0.0;
        for (std::size_t k = 0; k < dim; ++k) {
            const double difference = static_cast<double>(row(i)[k]) - mean[k];
            squared += difference * difference;
        }
        const bool good = usable(squared) && usable(squared_norm(row(i), dim));
        half_norms[i] = good ? static_cast<float>(0.5 * squared) : std::numeric_limits<float>::infinity();
        if (good) most_half_norm = std::max(most_half_norm, 0.5 * squared);
    }
}

}  // namespace edge_ad
