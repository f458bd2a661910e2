// Local scale and smoothing: what the values of patches are at most, their means over the patch grid, and
// which of them must be known exactly to be sure of the largest mean.
#include "local.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "error.hpp"

namespace edge_ad {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kTwice = 2.01f;  // more than 2, as distances are rounded

}  // namespace

void value_bounds(const Reach& reach, const float* distances, const std::int32_t* nearest, std::size_t count,
                  float* bounds) {
    for (std::size_t i = 0; i < count; ++i) {
        const float least = distances[i] * kTwice;
        std::size_t level = reach.count;
        if (nearest[i] >= 0) {
            const float* far = reach.far + static_cast<std::size_t>(nearest[i]) * reach.count;
            level = 0;
            for (std::size_t k = 0; k < reach.count; ++k) level += far[k] <= least;
        }
        bounds[i] = distances[i] * (level == reach.count ? reach.largest : reach.levels[level]);
    }
}

Smoothing::Smoothing(std::vector<float> weights, std::size_t height, std::size_t width,
                     const std::vector<std::int32_t>& rows)
    : weights_(std::move(weights)), radius_(weights_.size() - 1), height_(height), width_(width) {
    constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
    if (radius_ > most / 4 || height + 2 * radius_ > most / (width + 2 * radius_))
        throw Fault("the grid with its borders is too large", "2^32 - 1 patches at most",
                    std::to_string(height) + " x " + std::to_string(width) + ", borders of " +
                        std::to_string(radius_));
    const std::size_t count = rows.empty() ? height * width : rows.size();
    places_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t patch = rows.empty() ? i : static_cast<std::size_t>(rows[i]);
        places_.push_back(static_cast<std::uint32_t>(at(patch / width, patch % width)));
    }
    totals_.resize(height * width);
    const std::vector<float> ones(count, 1.0f), filled = plane(ones.data()), sums = sums_of(filled);
    for (std::size_t y = 0; y < height_; ++y) {
        float* totals = totals_.data() + y * width_;
        across(sums.data(), y, 0, width_, totals);
        for (std::size_t x = 0; x < width_; ++x) totals[x] *= filled[at(y, x)];
    }
    // A sum of 0 would hide its cell from `choose`, which would end too early; one of Inf makes NaN of it.
    for (const std::uint32_t place : places_) {
        const float total = totals_[(place / stride() - radius_) * width_ + place % stride() - radius_];
        if (!(total > 0.0f && total < kInf))
            throw Fault("the weights of a window have no sum", "above 0 and finite", std::to_string(total));
    }
}

// The values in their places, 0 elsewhere and around.
std::vector<float> Smoothing::plane(const float* values) const {
    std::vector<float> filled((height_ + 2 * radius_) * stride(), 0.0f);
    for (std::size_t i = 0; i < count(); ++i) filled[places_[i]] = values[i];
    return filled;
}

// Weighted sums down the columns [x0, x1) of a plane, in the rows [y0, y1) of another one: the middle first,
// then each pair from inside out.
void Smoothing::down(const float* plane, std::size_t y0, std::size_t y1, std::size_t x0, std::size_t x1,
                     float* sums) const {
    const std::size_t count = x1 - x0;
    for (std::size_t y = y0; y < y1; ++y) {
        const float* middle = plane + at(y, x0);
        float* sum = sums + at(y, x0);
        for (std::size_t x = 0; x < count; ++x) sum[x] = middle[x] * weights_[0];
        for (std::size_t k = 1; k <= radius_; ++k) {
            const float *above = middle - k * stride(), *below = middle + k * stride(), weight = weights_[k];
            for (std::size_t x = 0; x < count; ++x) sum[x] += (above[x] + below[x]) * weight;
        }
    }
}

// The same along a row, of what `down` gave.
void Smoothing::across(const float* sums, std::size_t y, std::size_t x0, std::size_t x1, float* row) const {
    const std::size_t count = x1 - x0;
    const float* middle = sums + at(y, x0);
    for (std::size_t x = 0; x < count; ++x) row[x] = middle[x] * weights_[0];
    for (std::size_t k = 1; k <= radius_; ++k) {
        const float *left = middle - k, *right = middle + k, weight = weights_[k];
        for (std::size_t x = 0; x < count; ++x) row[x] += (left[x] + right[x]) * weight;
    }
}

std::vector<float> Smoothing::sums_of(const std::vector<float>& plane) const {
    std::vector<float> sums(plane.size(), 0.0f);
    down(plane.data(), 0, height_, 0, width_, sums.data());
    return sums;
}

// The cells of a part of a row; less than any where there is no patch.
void Smoothing::cells_of(const float* sums, std::size_t y, std::size_t x0, std::size_t x1, float* row) const {
    across(sums, y, x0, x1, row);
    const float* totals = totals_.data() + y * width_ + x0;
    for (std::size_t x = 0; x < x1 - x0; ++x) row[x] = totals[x] == 0.0f ? -kInf : row[x] / totals[x];
}

void Smoothing::smooth(const float* values, float* cells) const {
    const std::vector<float> sums = sums_of(plane(values));
    if (count() == height_ * width_) {
        for (std::size_t y = 0; y < height_; ++y) cells_of(sums.data(), y, 0, width_, cells + y * width_);
        return;
    }
    std::vector<float> row(width_);
    for (std::size_t i = 0, y = 0; y < height_ && i < count(); ++y) {
        const std::size_t first = at(y, 0), last = first + width_;
        if (places_[i] >= last) continue;
        cells_of(sums.data(), y, 0, width_, row.data());
        for (; i < count() && places_[i] < last; ++i) cells[i] = row[places_[i] - first];
    }
}

namespace {

// A cell of a row that is not smaller than the others.
struct Largest {
    float cell;
    std::size_t x;
};

// An open patch in the window of a cell, and how much smaller its expected value makes the cell.
struct Gain {
    double gain;
    std::size_t at;
};

}  // namespace

// What is known when the patches chosen so far are exact, if their exact values are the expected ones: the
// cells of the frame, with the bounds of all patches that stay open.
class Choice {
  public:
    Choice(const Smoothing& by, const float* values, const float* bounds, const std::uint8_t* open)
        : by_(by),
          expected_(by.plane(values)),
          most_(by.plane(bounds)),
          open_(most_.size(), 0),
          chosen_(most_.size(), 0),
          cells_(by.height_ * by.width_),
          rows_(by.height_),
          fewest_(1 + by.radius_ * by.radius_ / 16) {
        for (std::vector<float>* plane : {&expected_, &most_})
            for (float& value : *plane) value = std::isnan(value) ? kInf : value;
        for (std::size_t i = 0; i < by.count(); ++i) open_[by.places_[i]] = open[i] != 0;
        fill(expected_);
        target_ = largest().cell;
        fill(most_);
    }

    std::vector<std::int32_t> choose(std::size_t least) {
        std::size_t count = 0;
        for (bool certain = false;;) {
            const std::size_t y = largest_row(), x = rows_[y].x;
            if (rows_[y].cell == -kInf) break;
            window(y, x);
            if (gains_.empty()) {
                if (count == 0 || count >= least) break;
                certain = true;  // the rest because a search of a few costs as much as one of `least`
                cells_[y * by_.width_ + x] = -kInf;
                look(y);
            } else {
                count += take(y, x, certain);
                if (certain && count >= least) break;
            }
        }
        std::vector<std::int32_t> found;
        found.reserve(count);
        for (std::size_t i = 0; i < by_.count(); ++i)
            if (chosen_[by_.places_[i]] != 0) found.push_back(static_cast<std::int32_t>(i));
        return found;
    }

  private:
    void fill(const std::vector<float>& plane) {
        sums_ = by_.sums_of(plane);
        for (std::size_t y = 0; y < by_.height_; ++y) {
            by_.cells_of(sums_.data(), y, 0, by_.width_, &cells_[y * by_.width_]);
            look(y);
        }
    }

    void look(std::size_t y) {
        const float* cells = &cells_[y * by_.width_];
        rows_[y] = {cells[0], 0};
        for (std::size_t x = 1; x < by_.width_; ++x)
            if (cells[x] > rows_[y].cell) rows_[y] = {cells[x], x};
    }

    // The row of the first of the largest cells.
    std::size_t largest_row() const {
        std::size_t best = 0;
        for (std::size_t y = 1; y < by_.height_; ++y)
            if (rows_[y].cell > rows_[best].cell) best = y;
        return best;
    }
    Largest largest() const { return rows_[largest_row()]; }

    // The open patches of a window, the greatest gain first.
    void window(std::size_t y, std::size_t x) {
        const std::size_t r = by_.radius_;
        gains_.clear();
        for (std::size_t dy = 0; dy <= 2 * r; ++dy) {
            const double down = by_.weights_[dy < r ? r - dy : dy - r];
            const std::size_t first = (y + dy) * by_.stride() + x;  // at(y + dy - r, x - r)
            for (std::size_t dx = 0; dx <= 2 * r; ++dx) {
                const std::size_t p = first + dx;
                if (open_[p] == 0) continue;
                const double weight = down * by_.weights_[dx < r ? r - dx : dx - r];
                gains_.push_back(
                    {most_[p] > expected_[p] ? weight * (static_cast<double>(most_[p]) - expected_[p]) : 0.0,
                     p});
            }
        }
        std::sort(gains_.begin(), gains_.end(), [](const Gain& a, const Gain& b) {
            return a.gain != b.gain ? a.gain > b.gain : a.at < b.at;
        });
    }

    // As many of the window as bring the cell to what is expected of the largest, or all. Returns how many.
    std::size_t take(std::size_t y, std::size_t x, bool all) {
        const std::size_t cell = y * by_.width_ + x;
        const double excess = (static_cast<double>(cells_[cell]) - target_) * by_.totals_[cell];
        double gained = 0.0;
        std::size_t count = 0, y0 = by_.height_, y1 = 0, x0 = by_.width_, x1 = 0;
        while (count < gains_.size() && (all || count < fewest_ || !(gained > excess))) {
            const std::size_t p = gains_[count].at;
            gained += gains_[count++].gain;
            most_[p] = expected_[p];
            open_[p] = 0;
            chosen_[p] = 1;
            const std::size_t py = p / by_.stride() - by_.radius_, px = p % by_.stride() - by_.radius_;
            y0 = std::min(y0, py), y1 = std::max(y1, py + 1), x0 = std::min(x0, px),
            x1 = std::max(x1, px + 1);
        }
        renew(y0, y1, x0, x1);
        return count;
    }

    // The cells in whose windows a patch of this box lies.
    void renew(std::size_t y0, std::size_t y1, std::size_t x0, std::size_t x1) {
        const std::size_t r = by_.radius_, first = x0 - std::min(x0, r), last = std::min(x1 + r, by_.width_);
        const std::size_t top = y0 - std::min(y0, r), bottom = std::min(y1 + r, by_.height_);
        by_.down(most_.data(), top, bottom, x0, x1, sums_.data());
        for (std::size_t y = top; y < bottom; ++y) {
            by_.cells_of(sums_.data(), y, first, last, &cells_[y * by_.width_ + first]);
            look(y);
        }
    }

    const Smoothing& by_;
    std::vector<float> expected_, most_, sums_;  // padded
    std::vector<std::uint8_t> open_, chosen_;    // padded
    std::vector<float> cells_;                   // [height][width], of most_
    std::vector<Largest> rows_;                  // of cells_
    std::vector<Gain> gains_;
    float target_ = 0.0f;  // the largest cell of expected_
    // Patches of a window at a time, for each time the cells around are computed again: more of a large
    // window.
    std::size_t fewest_;
};

std::vector<std::int32_t> Smoothing::choose(const float* values, const float* bounds,
                                            const std::uint8_t* open, std::size_t least) const {
    return Choice(*this, values, bounds, open).choose(least);
}

}  // namespace edge_ad
