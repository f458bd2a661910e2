// The nearest row of a query, from a row g that is near. Any row x that is as near as the best one so far, b,
// is near g too: d(g, x) <= d(g, q) + d(q, x) <= d(g, q) + d(q, b). So the rows are offered in the order of
// their distance from g, and the search ends at the first that is farther than that. Where the list of g's
// neighbours ends before, exact search answers.
#include "guessed.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "isa.hpp"
#include "nearest.hpp"

namespace edge_ad {
namespace {

constexpr std::size_t kTaskQueries = 256;
constexpr std::size_t kBatch = 4;  // distances between looks at the bound
constexpr double kUnit = 1.0 / (1 << 24);

// Whether a distance of two rows, as a search gives it, proves that it is more than the sum of two others. A
// squared distance errs by (dim + 8) u of itself, and by underflow.
class Proof {
  public:
    explicit Proof(std::size_t dim)
        : margin_(2.0 * (static_cast<double>(dim) + 8.0) * kUnit),
          tiny_(1e-22 * std::sqrt(static_cast<double>(dim) + 8.0)) {}

    bool beyond(float apart, float squared, float best) const {
        const double sum = std::sqrt(static_cast<double>(squared)) + std::sqrt(static_cast<double>(best));
        return apart * (1.0 - margin_) > sum * (1.0 + margin_) + tiny_;
    }

  private:
    double margin_, tiny_;
};

// Whether the nearest row is certain.
bool find(const Coreset& coreset, const Kernels& with, const Neighbours& neighbours, const Proof& proof,
          const float* query, std::int32_t guess, Best& best) {
    if (guess < 0) return false;
    const auto from = static_cast<std::size_t>(guess);
    if (!std::isfinite(coreset.half_norms[from])) return false;
    const float squared = with.sqdist(query, coreset.row(from), coreset.dim);
    if (!std::isfinite(squared)) return false;
    const std::int32_t* ids = neighbours.ids + from * neighbours.count;
    const float* apart = neighbours.distances + from * neighbours.count;
    best = {squared, guess};
    Nearest nearest{&best, 1};
    for (std::size_t first = 0; first < neighbours.count; first += kBatch) {
        if (proof.beyond(apart[first], squared, best.squared)) return true;
        const std::size_t now = std::min(kBatch, neighbours.count - first);
        if (ids[first + now - 1] < 0) return false;  // there are no more usable rows
        float found[kBatch];
        with.sqdist_ids(query, coreset.rows, ids + first, now, coreset.dim, best.squared, found);
        for (std::size_t i = 0; i < now; ++i)
            nearest.offer(found[i], static_cast<std::size_t>(ids[first + i]));
    }
    return proof.beyond(apart[neighbours.count - 1], squared, best.squared);
}

}  // namespace

void guessed_search(const Coreset& coreset, const Neighbours& neighbours, const Queries& queries,
                    const std::int32_t* guesses, Pool& pool, float* distances, std::int32_t* indices) {
    const Kernels& with = kernels();
    const Proof proof(coreset.dim);
    std::vector<std::int32_t> open;
    std::mutex guard;
    pool.run((queries.count + kTaskQueries - 1) / kTaskQueries, [&](std::size_t task, Scratch&) {
        std::vector<std::int32_t> own;
        const std::size_t last = std::min((task + 1) * kTaskQueries, queries.count);
        for (std::size_t i = task * kTaskQueries; i < last; ++i) {
            Best best;
            if (find(coreset, with, neighbours, proof, queries.row(i), guesses[i], best)) {
                Nearest{&best, 1}.write(distances + i, indices + i);
            } else {
                own.push_back(static_cast<std::int32_t>(i));
            }
        }
        const std::lock_guard lock(guard);
        open.insert(open.end(), own.begin(), own.end());
    });
    if (open.empty()) return;
    std::vector<std::int32_t> rows(open.size()), found(open.size());
    std::vector<float> lengths(open.size());
    for (std::size_t i = 0; i < open.size(); ++i)
        rows[i] = static_cast<std::int32_t>(queries.index(static_cast<std::size_t>(open[i])));
    exact_search(coreset, {nullptr, 0}, {queries.data, queries.dim, rows.data(), rows.size()}, 1, pool,
                 lengths.data(), found.data());
    for (std::size_t i = 0; i < open.size(); ++i) {
        distances[open[i]] = lengths[i];
        indices[open[i]] = found[i];
    }
}

}  // namespace edge_ad
