#include "bounds.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "error.hpp"
#include "isa.hpp"

namespace edge_ad {
namespace {

constexpr double u = 1.0 / (1 << 24);
constexpr std::size_t kMostDim = 1 << 16;  // longer sums would need other bounds
constexpr std::size_t kMostCopies = 4;
constexpr std::size_t kTaskRows = 128;
constexpr double kMostSkew = 1e-3;
constexpr double kInf = std::numeric_limits<double>::infinity();

// A norm from its square as a kernel computes it, rounded up, underflow of the squares included.
double norm_above(double squared, double dim) {
    return 1.001 * std::sqrt(squared) + 4e-23 * std::sqrt(dim);
}

// To the nearest, ties to even; finite numbers.
std::uint16_t rounded_to_bf16(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

float of_bf16(std::uint16_t x) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 16);
}

}  // namespace

double skew_of(const float* basis, std::size_t width, std::size_t dim, Pool& pool) {
    std::vector<float> columns(dim * width);
    for (std::size_t i = 0; i < width; ++i)
        for (std::size_t k = 0; k < dim; ++k) columns[k * width + i] = basis[i * dim + k];
    // at most the root of the sum of the squared elements
    std::vector<double> squares(width, 0.0);
    pool.run(width, [&](std::size_t i, Scratch& scratch) {
        double* products = scratch.get<double>(0, i + 1);
        std::fill_n(products, i + 1, 0.0);
        for (std::size_t k = 0; k < dim; ++k) {
            const double factor = basis[i * dim + k];
            const float* column = columns.data() + k * width;
            for (std::size_t j = 0; j <= i; ++j) products[j] += factor * column[j];
        }
        products[i] -= 1.0;
        for (std::size_t j = 0; j <= i; ++j) squares[i] += (j == i ? 1.0 : 2.0) * products[j] * products[j];
    });
    double sum = 0.0;
    for (const double square : squares) sum += square;
    if (!(sum <= kMostSkew * kMostSkew))
        throw Fault("the rows of the basis are not orthonormal",
                    "|P P' - I| of " + std::to_string(kMostSkew) + " at most",
                    std::isfinite(sum) ? std::to_string(std::sqrt(sum)) : "NaN or Inf");
    return 1.001 * std::sqrt(sum) + 1e-15 * static_cast<double>(dim * width);
}

Bounds::Bounds(const Coreset& coreset, const float* basis, std::size_t width, Pool& pool)
    : coreset_(coreset),
      width_(width),
      dim_((width + kCodeStep - 1) / kCodeStep * kCodeStep),
      copies_(std::min(dim_ - width, kMostCopies)),
      part_codes_((coreset.part_rows + kCodeRows - 1) / kCodeRows * kCodeRows) {
    if (width == 0 || width > kMostCodes || width > coreset.dim || coreset.dim > kMostDim)
        throw Fault("this basis cannot be used",
                    "1 .. " + std::to_string(std::min(kMostCodes, coreset.dim)) + " rows of at most " +
                        std::to_string(kMostDim) + " numbers",
                    std::to_string(width) + " of " + std::to_string(coreset.dim));
    set_basis(basis, pool);
    code_rows(pool);
}

void Bounds::set_basis(const float* basis, Pool& pool) {
    const std::size_t n = coreset_.dim;
    basis_.assign(n * dim_, 0.0f);
    for (std::size_t i = 0; i < width_; ++i)
        for (std::size_t k = 0; k < n; ++k)
            basis_[(i / kProjectSlab * n + k) * kProjectSlab + i % kProjectSlab] = basis[i * n + k];
    skew_ = skew_of(basis, width_, n, pool);
    set_halves();
}

void Bounds::set_halves() {
    const std::size_t n = coreset_.dim, padded = (n + kHalvesStep - 1) / kHalvesStep * kHalvesStep;
    halves_.assign(2 * padded * dim_, 0);
    double left = 0.0, lower = 0.0;  // squares of what both parts leave over, and of the second one
    for (std::size_t slab = 0; slab < dim_ / kProjectSlab; ++slab)
        for (std::size_t k = 0; k < n; ++k)
            for (std::size_t i = 0; i < kProjectSlab; ++i) {
                const float value = basis_[(slab * n + k) * kProjectSlab + i];
                const std::size_t at = (slab * padded + k / 2 * 2) * kProjectSlab + 2 * i + k % 2;
                std::uint16_t &high = halves_[at], &low = halves_[padded * dim_ + at];
                high = rounded_to_bf16(value);
                const float rest = value - of_bf16(high);  // exact
                low = rounded_to_bf16(rest);
                const double more = rest - of_bf16(low);
                left += more * more;
                lower += static_cast<double>(of_bf16(low)) * of_bf16(low);
            }
    // bf16 rounds by at most 2^-8 of a number: of a point the second part has at most 2^-8, 2^-16 is left
    // over
    constexpr double of_part = 1.0 / 256;
    halves_error_ = 1.01 * (of_part * of_part + std::sqrt(left) + of_part * std::sqrt(lower));
}

void Bounds::project(const float* const* points, std::size_t count, float* values,
                     Projected* projected) const {
    const Kernels& with = kernels();
    const double n = static_cast<double>(coreset_.dim), d = static_cast<double>(dim_);
    // roundings on the way to any one sum; of squares by the kernel that has the fewest lanes
    const double terms = with.project_fixed + n * with.project_each;
    const double square_terms = n / 16.0 + d / 16.0 + 40.0;
    const float zeros[kMostCodes] = {};
    with.project(points, count, coreset_.dim, coreset_.mean.data(), {dim_, basis_.data(), halves_.data()},
                 values);
    for (std::size_t i = 0; i < count; ++i) {
        const double squared = with.sqdist(points[i], coreset_.mean.data(), coreset_.dim);
        const double inside = with.sqdist(values + i * dim_, zeros, dim_);
        const double norm = norm_above(squared, n);
        const double error = (1.001 * std::sqrt(static_cast<double>(width_)) * terms * u + skew_ + 2.0 * u +
                              (with.by_halves ? halves_error_ : 0.0)) *
                             norm;
        // t^2 = |x - m|^2 - |Q(x - m)|^2 errs by at most `of_square`
        const double of_square =
            square_terms * u * norm * norm + (2.01 * norm + error) * error + 3e-45 * (n + d);
        const double tail = std::sqrt(std::max(0.0, squared - inside));
        double of_tail = std::sqrt(of_square);
        if (tail > of_tail) of_tail = of_square / tail;
        projected[i] = {static_cast<float>(tail), error, of_tail};
        if (!std::isfinite(tail + error + of_tail)) projected[i] = {0.0f, kInf, kInf};
        if (!std::isfinite(squared)) projected[i].error = kUnusable;
    }
}

Bounds::Coded Bounds::code(float* values, const Projected& projected, std::int8_t* codes) const {
    const double share = copies_ == 0 ? 0.0 : 1.0 / std::sqrt(static_cast<double>(copies_));
    for (std::size_t i = 0; i < copies_; ++i)
        values[width_ + i] = static_cast<float>(share * (static_cast<double>(projected.tail) - tail_mean_));
    Coded coded{};
    const double residual = kernels().encode(values, dim_, scale_, codes, &coded.norm);
    coded.error = kUnusable;
    if (projected.error == kUnusable) return coded;
    const double size = std::sqrt(static_cast<double>(coded.norm)) + 1.0;
    const double off = norm_above(residual, static_cast<double>(dim_));
    // the residuals were rounded, relative to themselves and to scale * code, and t when it was spread
    coded.error = off + projected.error + (copies_ == 0 ? 0.0 : projected.tail_error) +
                  4.0 * u * (off + scale_ * size + std::fabs(projected.tail) + std::fabs(tail_mean_));
    return coded;
}

void Bounds::encode(const float* const* points, std::size_t count, float* values, std::int8_t* codes,
                    Coded* coded) const {
    constexpr std::size_t kMost = 64;
    Projected projected[kMost];
    for (std::size_t first = 0; first < count; first += kMost) {
        const std::size_t now = std::min(kMost, count - first);
        project(points + first, now, values + first * dim_, projected);
        for (std::size_t i = first; i < first + now; ++i)
            coded[i] = code(values + i * dim_, projected[i - first], codes + i * dim_);
    }
}

std::int32_t Bounds::least_value(const Coded& query, float squared) const {
    const double terms = static_cast<double>(coreset_.dim) + 8.0;
    // a squared distance in the difference form errs by terms * u of itself, and by underflow
    const double distance = std::sqrt((squared + terms * 3e-45) * (1.0 + 2.0 * terms * u));
    const double codes = (distance + query.error + row_error_) / scale_;
    const double least = std::floor(0.5 * (query.norm - codes * codes * (1.0 + 1e-9)) - 1.0);
    return least > kAll ? static_cast<std::int32_t>(least) : kAll;
}

// The scale with which no row is cut off; any positive one would be right. The tails are left out where their
// rounding would cost more than that to codes: where next to nothing is left of a row, its norm is all
// rounding.
void Bounds::set_scale(const std::vector<float>& values, const std::vector<Projected>& projected) {
    double sum = 0.0, tail_error = 0.0;
    float most = 0.0f, least_tail = std::numeric_limits<float>::infinity(), most_tail = 0.0f;
    std::size_t usable = 0;
    for (std::size_t i = 0; i < coreset_.size; ++i) {
        if (!std::isfinite(coreset_.half_norms[i])) continue;
        ++usable;
        sum += projected[i].tail;
        tail_error = std::max(tail_error, projected[i].tail_error);
        least_tail = std::min(least_tail, projected[i].tail);
        most_tail = std::max(most_tail, projected[i].tail);
        for (std::size_t j = 0; j < width_; ++j) most = std::max(most, std::fabs(values[i * dim_ + j]));
    }
    if (tail_error > most / 127.0 * std::sqrt(static_cast<double>(dim_) / 12.0)) copies_ = 0;
    if (copies_ != 0 && usable != 0) {
        tail_mean_ = static_cast<float>(sum / static_cast<double>(usable));
        const float farthest = std::max(most_tail - tail_mean_, tail_mean_ - least_tail);
        most = std::max(most, farthest / std::sqrt(static_cast<float>(copies_)));
    }
    scale_ = std::max(most / 127.0f, 1e-30f);
}

void Bounds::code_rows(Pool& pool) {
    const std::size_t size = coreset_.size, parts = (size + coreset_.part_rows - 1) / coreset_.part_rows;
    const std::size_t rows = parts * part_codes_, tasks = (size + kTaskRows - 1) / kTaskRows;
    std::vector<float> values(size * dim_);
    std::vector<Projected> projected(size);
    const auto row_range = [&](std::size_t task) {
        return std::pair(task * kTaskRows, std::min((task + 1) * kTaskRows, size));
    };
    pool.run(tasks, [&](std::size_t task, Scratch&) {
        const auto [first, last] = row_range(task);
        const float* points[kTaskRows];
        for (std::size_t i = first; i < last; ++i)
            points[i - first] =
                std::isfinite(coreset_.half_norms[i]) ? coreset_.row(i) : coreset_.mean.data();
        project(points, last - first, values.data() + first * dim_, projected.data() + first);
    });
    set_scale(values, projected);
    memory_.assign(rows * dim_ + 64, 0);
    codes_ = memory_.data() + (64 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64) % 64;
    plain_bias_.assign(rows, kNever);
    offset_bias_.assign(rows, kNever);
    std::vector<double> errors(tasks, 0.0);
    pool.run(tasks, [&](std::size_t task, Scratch&) {
        const auto [first, last] = row_range(task);
        for (std::size_t i = first; i < last; ++i) {
            if (!std::isfinite(coreset_.half_norms[i])) continue;
            const std::size_t at = i / coreset_.part_rows * part_codes_ + i % coreset_.part_rows;
            std::int8_t* codes = codes_ + at * dim_;
            const Coded coded = code(values.data() + i * dim_, projected[i], codes);
            std::int32_t sum = 0;
            for (std::size_t k = 0; k < dim_; ++k) sum += codes[k];
            plain_bias_[at] = coded.norm / 2;
            offset_bias_[at] = coded.norm / 2 + kOffset * sum;
            errors[task] = std::max(errors[task], coded.error);
        }
    });
    row_error_ = *std::max_element(errors.begin(), errors.end());
}

}  // namespace edge_ad
