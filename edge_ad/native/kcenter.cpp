// The points are kept by their nearest centre. A point x with centre c stays with it when a new centre n
// comes, if d(n, c) >= 2 d(x, c): by the triangle inequality d(x, n) >= d(n, c) - d(x, c) >= d(x, c). So
// where that holds for the farthest point of a centre, a step passes over all of its points, and these are
// most of them.
//
// What is left is sieved by sketches. With a matrix Q of orthonormal rows, |Q x - Q n| <= |x - n|: kSketch
// numbers that show a distance to be too large save the reading of a point.
#include "kcenter.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "bounds.hpp"
#include "error.hpp"
#include "isa.hpp"

namespace edge_ad {
namespace {

constexpr std::size_t kChunk = 4096;    // points a task takes
constexpr std::size_t kShared = 16384;  // points that are worth waking other threads
constexpr double kUnit = 1.0 / (1 << 24);
constexpr double kShare = 1.0 / 1024;  // (a + e)^2 <= (1 + kShare) a^2 + (1 + 1 / kShare) e^2
constexpr float kTiny = 1e-30f;        // of squared distances: below it, what underflow can amount to

// What any two squared distances that are compared may err by, of themselves, and as much again.
double margin_of(std::size_t dim) {
    return 8.0 * (static_cast<double>(dim) + kSketch + 8.0) * kUnit;
}

}  // namespace

KCenter::KCenter(const float* points, std::size_t size, std::size_t dim, std::size_t start,
                 const float* basis, Pool& pool)
    : points_(points), size_(size), dim_(dim), clusters_(1), moved_(size), taken_(size) {
    const Kernels& with = kernels();
    Cluster& all = clusters_[0];
    all.ids.resize(size);
    all.squared.resize(size);
    const std::size_t tasks = (size + kChunk - 1) / kChunk;
    pool.run(tasks, [&](std::size_t task, Scratch&) {
        const std::size_t first = task * kChunk, count = std::min(kChunk, size_ - first);
        with.sqdist_rows(point(start), point(first), count, dim_, all.squared.data() + first);
        for (std::size_t i = first; i < first + count; ++i) all.ids[i] = static_cast<std::int32_t>(i);
    });
    for (std::size_t i = 0; i < size; ++i) {
        if (!std::isfinite(all.squared[i]))
            throw Fault("the distance from the first centre is not finite", "finite points",
                        std::to_string(all.squared[i]) + " at point " + std::to_string(i));
        farthest_ = std::max(farthest_, all.squared[i]);
    }
    selected_.push_back(static_cast<std::int32_t>(start));
    most_.push_back(farthest_);
    if (basis != nullptr) set_sketches(basis, start, pool);
}

// Sketches are Q (x - first centre), computed with a basis P instead of Q, its polar factor. A number of them
// errs by (dim + 3) u |x - first| |row| and by underflow, and |P - Q| <= |P P' - I|.
void KCenter::set_sketches(const float* basis, std::size_t start, Pool& pool) {
    const double skew = skew_of(basis, kSketch, dim_, pool), dim = static_cast<double>(dim_);
    if (margin_of(dim_) > 0.5) return;
    sketched_ = true;
    std::vector<float> columns(dim_ * kSketch);
    for (std::size_t i = 0; i < kSketch; ++i)
        for (std::size_t k = 0; k < dim_; ++k) columns[k * kSketch + i] = basis[i * dim_ + k];
    Cluster& all = clusters_[0];
    all.sketches.resize(size_ * kSketch);
    pool.run((size_ + kChunk - 1) / kChunk, [&](std::size_t task, Scratch&) {
        const std::size_t first = task * kChunk, count = std::min(kChunk, size_ - first);
        kernels().sketch(point(first), count, dim_, point(start), columns.data(),
                         all.sketches.data() + first * kSketch);
    });
    sketches_.assign(kSketch, 0.0f);
    const double most = 1.001 * std::sqrt(farthest_ + dim * kTiny);
    const double terms = std::sqrt(static_cast<double>(kSketch)) * (dim + 3.0) * kUnit * (1.0 + skew);
    const double error = 2.0 * (1.01 * terms + skew) * most;  // of two sketches
    factor_ = static_cast<float>((1.0 + kShare) * (1.0 + 2.0 * margin_of(dim_)));
    slack_ = static_cast<float>(std::min(1.01 * (1.0 + 1.0 / kShare) * error * error + dim * kTiny, 3e38));
}

float KCenter::radius() const {
    return std::sqrt(farthest_);
}

void KCenter::nearest(std::int32_t* found) const {
    for (std::size_t j = 0; j < clusters_.size(); ++j)
        for (const std::int32_t id : clusters_[j].ids)
            found[static_cast<std::size_t>(id)] = static_cast<std::int32_t>(j);
}

std::size_t KCenter::advance(std::size_t n, Pool& pool) {
    std::size_t picked = 0;
    for (; picked < n && farthest_ > 0.0f; ++picked) pick(pool);
    return picked;
}

void KCenter::pick(Pool& pool) {
    float sketch[kSketch];
    const std::int32_t id = take_farthest(sketch);
    const float* centre = point(static_cast<std::size_t>(id));
    find_open(centre, sketch);
    find_nearer(centre, sketch, pool);
    selected_.push_back(id);
    clusters_.emplace_back();
    most_.push_back(0.0f);
    if (sketched_) sketches_.insert(sketches_.end(), sketch, sketch + kSketch);
    move_nearer();
    farthest_ = *std::max_element(most_.begin(), most_.end());
}

// The lowest point of those that are farthest from their centres, and its sketch.
std::int32_t KCenter::take_farthest(float* sketch) const {
    std::int32_t lowest = std::numeric_limits<std::int32_t>::max();
    for (std::size_t j = 0; j < clusters_.size(); ++j) {
        if (most_[j] != farthest_) continue;
        const Cluster& of = clusters_[j];
        for (std::size_t i = 0; i < of.ids.size(); ++i) {
            if (of.squared[i] != farthest_ || of.ids[i] >= lowest) continue;
            lowest = of.ids[i];
            if (sketched_) std::copy_n(of.sketches.data() + i * kSketch, kSketch, sketch);
        }
    }
    return lowest;
}

// A limit is a quarter of the squared distance of two centres, less what rounding can amount to: both
// distances compared err by less than (dim + 8) * 2^-23 of themselves. Tiny ones rule nothing out.
void KCenter::find_open(const float* centre, const float* sketch) {
    const Kernels& with = kernels();
    const std::size_t centres = selected_.size();
    open_.clear();
    ids_.clear();
    apart_.resize(centres);
    if (sketched_) with.sqdist_rows(sketch, sketches_.data(), centres, kSketch, apart_.data());
    for (std::size_t j = 0; j < centres; ++j) {
        if (most_[j] == 0.0f || (sketched_ && apart_[j] > factor_ * (4.0f * most_[j]) + slack_)) continue;
        open_.push_back({j, 0.0f});
        ids_.push_back(selected_[j]);
    }
    with.sqdist_ids(centre, points_, ids_.data(), ids_.size(), dim_, std::numeric_limits<float>::infinity(),
                    apart_.data());
    const auto quarter = static_cast<float>(0.25 * std::max(0.0, 1.0 - margin_of(dim_)));
    std::size_t left = 0;
    for (std::size_t i = 0; i < ids_.size(); ++i) {
        const float limit = apart_[i] > kTiny ? apart_[i] * quarter : 0.0f;
        if (most_[open_[i].cluster] > limit) open_[left++] = {open_[i].cluster, limit};
    }
    open_.resize(left);
}

void KCenter::find_nearer(const float* centre, const float* sketch, Pool& pool) {
    const Kernels& with = kernels();
    std::size_t room = 0;
    pieces_.clear();
    for (const Open& open : open_) {
        const std::size_t count = clusters_[open.cluster].ids.size();
        for (std::size_t first = 0; first < count; first += kChunk) {
            const std::size_t last = std::min(first + kChunk, count);
            pieces_.push_back({open, first, last, room, 0, 0.0f});
            room += last - first;
        }
    }
    const auto search = [&](std::size_t number, Scratch&) {
        Piece& piece = pieces_[number];
        Cluster& of = clusters_[piece.open.cluster];
        const float* sketches = sketched_ ? of.sketches.data() + piece.first * kSketch : nullptr;
        piece.moved =
            with.relax(points_, dim_, centre, piece.open.limit, {sketch, sketches, factor_, slack_},
                       of.ids.data() + piece.first, of.squared.data() + piece.first, piece.last - piece.first,
                       moved_.data() + piece.room, taken_.data() + piece.room, &piece.most);
    };
    if (room >= kShared) {
        pool.run(pieces_.size(), search);
        return;
    }
    Scratch none;
    for (std::size_t number = 0; number < pieces_.size(); ++number) search(number, none);
}

// Into the newest cluster. A point that leaves gives its place to the last one, so the last one leaves first.
void KCenter::move_nearer() {
    for (const Open& open : open_) most_[open.cluster] = 0.0f;
    Cluster& to = clusters_.back();
    for (auto piece = pieces_.rbegin(); piece != pieces_.rend(); ++piece) {
        Cluster& from = clusters_[piece->open.cluster];
        float& most = most_[piece->open.cluster];
        most = std::max(most, piece->most);
        for (std::size_t i = piece->moved; i-- > 0;) {
            const std::size_t at = piece->first + static_cast<std::size_t>(moved_[piece->room + i]);
            const float distance = taken_[piece->room + i];
            to.add(from.ids[at], distance, sketched_ ? from.sketches.data() + at * kSketch : nullptr);
            most_.back() = std::max(most_.back(), distance);
            from.remove(at);
        }
    }
}

void KCenter::Cluster::add(std::int32_t id, float distance, const float* sketch) {
    ids.push_back(id);
    squared.push_back(distance);
    if (sketch != nullptr) sketches.insert(sketches.end(), sketch, sketch + kSketch);
}

void KCenter::Cluster::remove(std::size_t at) {
    const std::size_t last = ids.size() - 1;
    ids[at] = ids[last];
    squared[at] = squared[last];
    ids.pop_back();
    squared.pop_back();
    if (!sketches.empty()) {
        if (at != last)
            std::copy_n(sketches.data() + last * kSketch, kSketch, sketches.data() + at * kSketch);
        sketches.resize(last * kSketch);
    }
    if (ids.capacity() > 4 * (last + kChunk / kSketch)) {  // memory for the points that it still has
        ids.shrink_to_fit();
        squared.shrink_to_fit();
        sketches.shrink_to_fit();
    }
}

}  // namespace edge_ad
