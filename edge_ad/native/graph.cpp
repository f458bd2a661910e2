// Best-first search of an HNSW graph (Malkov and Yashunin 2018, algorithms 2 and 5). Patches of a frame
// resemble their neighbours, so a query starts from the answers of the patches to its left and above.
#include "graph.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "error.hpp"
#include "isa.hpp"

namespace edge_ad {

Graph::Graph(const Coreset& coreset, const GraphArrays& arrays)
    : coreset_(coreset),
      levels_(arrays.levels, arrays.levels + coreset.size),
      upper_start_(coreset.size),
      links0_(arrays.links0, arrays.links0 + coreset.size * arrays.links0_width),
      upper_(arrays.upper, arrays.upper + arrays.upper_rows * arrays.upper_width),
      links0_width_(arrays.links0_width),
      upper_width_(arrays.upper_width),
      entry_(static_cast<std::int32_t>(arrays.entry)) {
    std::size_t rows = 0;
    for (std::size_t i = 0; i < coreset.size; ++i) {
        upper_start_[i] = rows;
        rows += levels_[i];
    }
    if (rows != arrays.upper_rows)
        throw Fault("the upper links do not match the levels", std::to_string(rows) + " rows of upper links",
                    std::to_string(arrays.upper_rows));
    if (arrays.entry < 0 || static_cast<std::size_t>(arrays.entry) >= coreset.size)
        throw Fault("the entry point is not a node", "0 .. " + std::to_string(coreset.size - 1),
                    std::to_string(arrays.entry));
    const std::size_t top = *std::max_element(levels_.begin(), levels_.end());
    if (level(entry_) != top)
        throw Fault("the entry point is not on the top level", "level " + std::to_string(top),
                    "level " + std::to_string(level(entry_)));
    for (std::size_t i = 0; i < coreset.size; ++i) {
        check_links(links0_, i, links0_width_, 0);
        for (std::size_t l = 1; l <= levels_[i]; ++l)
            check_links(upper_, upper_start_[i] + l - 1, upper_width_, l);
    }
}

void Graph::check_links(const std::vector<std::int32_t>& links, std::size_t row, std::size_t width,
                        std::size_t level) const {
    bool ended = false;
    for (std::size_t k = 0; k < width; ++k) {
        const std::int32_t id = links[row * width + k];
        if (id == -1) {
            ended = true;
            continue;
        }
        if (ended)
            throw Fault("a link stands behind the padding", "-1 to the end of the row", std::to_string(id));
        if (id < 0 || static_cast<std::size_t>(id) >= levels_.size())
            throw Fault("a link of level " + std::to_string(level) + " points outside the coreset",
                        "0 .. " + std::to_string(levels_.size() - 1), std::to_string(id));
        if (levels_[static_cast<std::size_t>(id)] < level)
            throw Fault("a link points to a node that is not on its level",
                        "a node of level " + std::to_string(level) + " or higher",
                        "node " + std::to_string(id) + " of level " +
                            std::to_string(levels_[static_cast<std::size_t>(id)]));
    }
}

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Candidate {
    float squared;
    std::int32_t node;
    bool expanded;
};

// The ef nearest nodes seen so far, nearest first.
class Beam {
  public:
    Beam(Candidate* storage, std::size_t capacity) : at_(storage), capacity_(capacity) {}

    void clear() { size_ = next_ = 0; }
    std::size_t size() const { return size_; }
    float worst() const { return size_ < capacity_ ? kInf : at_[size_ - 1].squared; }
    const Candidate& nearest() const { return at_[0]; }

    // NaN and Inf are never less than the worst, so they never get in.
    void offer(float squared, std::int32_t node) {
        if (!(squared < worst())) return;
        std::size_t place = size_ < capacity_ ? size_++ : size_ - 1;
        for (; place > 0 && squared < at_[place - 1].squared; --place) at_[place] = at_[place - 1];
        at_[place] = {squared, node, false};
        next_ = std::min(next_, place);
    }

    // The nearest node not yet expanded, or -1.
    std::int32_t expand() {
        while (next_ < size_ && at_[next_].expanded) ++next_;
        if (next_ == size_) return -1;
        at_[next_].expanded = true;
        return at_[next_++].node;
    }

  private:
    Candidate* at_;
    std::size_t capacity_, size_ = 0;
    std::size_t next_ = 0;  // all before are expanded
};

// One thread's search of one stripe.
class Walker {
  public:
    Walker(const Graph& graph, std::size_t ef, Scratch& scratch)
        : graph_(graph),
          coreset_(graph.coreset()),
          with_(kernels()),
          beam_(scratch.get<Candidate>(0, ef), ef),
          tags_(scratch.get<std::uint16_t>(1, coreset_.size)),
          ids_(scratch.get<std::int32_t>(2, std::max(graph.width(0), graph.width(1)) + 2)),
          squared_(scratch.get<float>(3, std::max(graph.width(0), graph.width(1)) + 2)) {
        std::memset(tags_, 0, coreset_.size * sizeof *tags_);
    }

    // seeds: nodes to start from, or none: then from the entry point, down the levels.
    Candidate search(const float* query, const std::int32_t* seeds, std::size_t count) {
        const std::int32_t entry = count == 0 ? descend(query) : -1;
        if (count == 0) {
            seeds = &entry;
            count = 1;
        }
        next_epoch();
        beam_.clear();
        visit(query, seeds, count);
        for (std::int32_t node = beam_.expand(); node >= 0; node = beam_.expand())
            visit(query, graph_.links(node, 0), graph_.width(0));
        return beam_.size() == 0 ? Candidate{kInf, -1, false} : beam_.nearest();
    }

  private:
    void next_epoch() {
        if (++epoch_ != 0) return;
        std::memset(tags_, 0, coreset_.size * sizeof *tags_);
        epoch_ = 1;
    }

    void visit(const float* query, const std::int32_t* nodes, std::size_t most) {
        std::size_t fresh = 0;
        for (std::size_t k = 0; k < most && nodes[k] >= 0; ++k) {
            if (tags_[nodes[k]] == epoch_) continue;
            tags_[nodes[k]] = epoch_;
            ids_[fresh++] = nodes[k];
        }
        with_.sqdist_ids(query, coreset_.rows, ids_, fresh, coreset_.dim, beam_.worst(), squared_);
        for (std::size_t k = 0; k < fresh; ++k) beam_.offer(squared_[k], ids_[k]);
    }

    // Greedy steps on the upper levels. A NaN query moves nowhere.
    std::int32_t descend(const float* query) {
        std::int32_t node = graph_.entry();
        float least = with_.sqdist(query, coreset_.row(static_cast<std::size_t>(node)), coreset_.dim);
        for (std::size_t level = graph_.level(node); level > 0; --level) {
            for (bool moved = true; moved;) {
                moved = false;
                const std::int32_t* links = graph_.links(node, level);
                std::size_t count = 0;
                while (count < graph_.width(level) && links[count] >= 0) ++count;
                with_.sqdist_ids(query, coreset_.rows, links, count, coreset_.dim, least, squared_);
                for (std::size_t k = 0; k < count; ++k) {
                    if (!(squared_[k] < least)) continue;
                    least = squared_[k];
                    node = links[k];
                    moved = true;
                }
            }
        }
        return node;
    }

    const Graph& graph_;
    const Coreset& coreset_;
    const Kernels& with_;
    Beam beam_;
    std::uint16_t* tags_;  // [size] the epoch that last visited a node
    std::uint16_t epoch_ = 0;
    std::int32_t* ids_;
    float* squared_;
};

// The queries [first, last) lie in one stripe; seeds never cross its border.
void search_stripe(Walker& walker, const Queries& queries, std::size_t first, std::size_t last,
                   std::size_t grid_width, std::int32_t* answers, float* distances, std::int32_t* indices) {
    const std::size_t top = queries.index(first) / (grid_width * kStripeRows) * kStripeRows;
    std::fill_n(answers, grid_width * kStripeRows, -1);
    for (std::size_t i = first; i < last; ++i) {
        const std::size_t y = queries.index(i) / grid_width - top, x = queries.index(i) % grid_width;
        std::int32_t* here = answers + y * grid_width + x;
        std::int32_t seeds[2];
        std::size_t count = 0;
        if (x > 0 && here[-1] >= 0) seeds[count++] = here[-1];
        if (y > 0 && here[-static_cast<std::ptrdiff_t>(grid_width)] >= 0)
            seeds[count++] = here[-static_cast<std::ptrdiff_t>(grid_width)];
        const Candidate found = walker.search(queries.row(i), seeds, count);
        *here = found.node;
        distances[i] = std::sqrt(found.squared);
        indices[i] = found.node;
    }
}

}  // namespace

void graph_search(const Graph& graph, const Queries& queries, Pool& pool, std::size_t ef,
                  std::size_t grid_width, float* distances, std::int32_t* indices) {
    const std::size_t stripe = grid_width * kStripeRows;
    std::vector<std::size_t> starts;  // of the stripes that hold queries
    for (std::size_t i = 0; i < queries.count; ++i)
        if (i == 0 || queries.index(i) / stripe != queries.index(i - 1) / stripe) starts.push_back(i);
    starts.push_back(queries.count);
    pool.run(starts.size() - 1, [&](std::size_t task, Scratch& scratch) {
        Walker walker(graph, ef, scratch);
        search_stripe(walker, queries, starts[task], starts[task + 1], grid_width,
                      scratch.get<std::int32_t>(4, stripe), distances, indices);
    });
}

}  // namespace edge_ad
