// Best-first search of an HNSW graph (Malkov and Yashunin 2018, algorithms 2 and 5). Patches of a frame
// resemble their neighbours, so a query starts from the answers of the patches to its left and above. Where
// the coreset has codes (Bounds) the walk goes by the distances of codes, and those of the vectors themselves
// decide among the candidates that it ends with.
#include "graph.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "bounds.hpp"
#include "error.hpp"
#include "isa.hpp"
#include "nearest.hpp"

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

inline void prefetch(const void* bytes, std::size_t count) {
    for (std::size_t i = 0; i < count; i += 64) __builtin_prefetch(static_cast<const char*>(bytes) + i);
}

// The ef nearest nodes seen so far, nearest first.
template <typename Value>
class Beam {
  public:
    struct Candidate {
        Value value;
        std::int32_t node;
        bool expanded;
    };

    // Values from `never` on do not get in, NaN neither.
    Beam(Candidate* storage, std::size_t capacity, Value never)
        : at_(storage), capacity_(capacity), never_(never) {}

    void clear() { size_ = next_ = 0; }
    std::size_t size() const { return size_; }
    Value worst() const { return size_ < capacity_ ? never_ : at_[size_ - 1].value; }
    const Candidate& operator[](std::size_t i) const { return at_[i]; }

    bool offer(Value value, std::int32_t node) {
        if (!(value < worst())) return false;
        std::size_t place = size_ < capacity_ ? size_++ : size_ - 1;
        for (; place > 0 && value < at_[place - 1].value; --place) at_[place] = at_[place - 1];
        at_[place] = {value, node, false};
        next_ = std::min(next_, place);
        return true;
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
    std::size_t capacity_;
    Value never_;
    std::size_t size_ = 0, next_ = 0;  // next_: all before are expanded
};

// Squared distances from a query.
class VectorSpace {
  public:
    using Value = float;
    static constexpr Value kNever = kInf;

    VectorSpace(const Coreset& coreset, const Queries& queries, std::size_t, std::size_t, Scratch&)
        : coreset_(coreset), queries_(queries), with_(kernels()) {}

    // Whether the query can be answered; the following is about this one.
    bool ask(std::size_t i) {
        query_ = queries_.row(i);
        return true;
    }
    // Those above the worst may be anything above it.
    void measure(const std::int32_t* ids, std::size_t count, Value worst, Value* values) const {
        with_.sqdist_ids(query_, coreset_.rows, ids, count, coreset_.dim, worst, values);
    }
    Best answer(const Beam<Value>& beam) const {
        return beam.size() == 0 ? Best{} : Best{beam[0].value, beam[0].node};
    }

  private:
    const Coreset& coreset_;
    const Queries& queries_;
    const Kernels& with_;
    const float* query_ = nullptr;
};

// Half the squared distances of codes, less a term of the query alone.
class CodeSpace {
  public:
    using Value = std::int32_t;
    static constexpr Value kNever = Bounds::kNever / 2;  // above any usable row, below the others

    // The queries [.., last) are asked for in ascending order.
    CodeSpace(const Coreset& coreset, const Queries& queries, std::size_t last, std::size_t ef,
              Scratch& scratch)
        : coreset_(coreset),
          bounds_(*coreset.bounds),
          queries_(queries),
          with_(kernels()),
          bias_(bounds_.bias(with_.codes->offset)),
          last_(last),
          codes_(scratch.get<std::int8_t>(5, kBatch * bounds_.dim())),
          values_(scratch.get<float>(6, kBatch * bounds_.dim())),
          ids_(scratch.get<std::int32_t>(7, ef)),
          squared_(scratch.get<float>(8, ef)) {}

    bool ask(std::size_t i) {
        if (i >= end_) encode(i);
        current_ = i - begin_;
        return coded_[current_].error != Bounds::kUnusable;
    }
    void measure(const std::int32_t* ids, std::size_t count, Value, Value* values) const {
        with_.codes->half_distances(codes_ + current_ * bounds_.dim(), bounds_.codes(0), ids, count,
                                    bounds_.dim(), bias_, values);
    }
    // The nearest of the beam, ties to the lowest row. Only those are measured that may be nearer than the
    // first.
    Best answer(const Beam<Value>& beam) const {
        Best best;
        if (beam.size() == 0) return best;
        const float* query = queries_.row(begin_ + current_);
        Nearest nearest{&best, 1};
        const auto measure = [&](std::size_t count) {
            with_.sqdist_ids(query, coreset_.rows, ids_, count, coreset_.dim, nearest.bound(), squared_);
            for (std::size_t i = 0; i < count; ++i)
                nearest.offer(squared_[i], static_cast<std::size_t>(ids_[i]));
        };
        ids_[0] = beam[0].node;
        measure(1);
        const std::int32_t least = bounds_.least_value(coded_[current_], nearest.bound());
        std::size_t count = 0;
        for (std::size_t i = 1; i < beam.size() && -beam[i].value >= least; ++i) ids_[count++] = beam[i].node;
        measure(count);
        return best;
    }

  private:
    static constexpr std::size_t kBatch = 64;

    void encode(std::size_t first) {
        begin_ = first;
        end_ = std::min(first + kBatch, last_);
        const float* points[kBatch];
        for (std::size_t i = begin_; i < end_; ++i) points[i - begin_] = queries_.row(i);
        bounds_.encode(points, end_ - begin_, values_, codes_, coded_);
    }

    const Coreset& coreset_;
    const Bounds& bounds_;
    const Queries& queries_;
    const Kernels& with_;
    const std::int32_t* bias_;
    const std::size_t last_;
    std::size_t begin_ = 0, end_ = 0, current_ = 0;  // the queries that are encoded; one of them
    std::int8_t* codes_;
    float* values_;
    Bounds::Coded coded_[kBatch];
    std::int32_t* ids_;
    float* squared_;
};

// One thread's search of one stripe.
template <typename Space>
class Walker {
  public:
    using Value = typename Space::Value;
    using Candidate = typename Beam<Value>::Candidate;

    Walker(const Graph& graph, Space& space, std::size_t ef, Scratch& scratch)
        : graph_(graph),
          space_(space),
          beam_(scratch.get<Candidate>(0, ef), ef, Space::kNever),
          tags_(scratch.get<std::uint16_t>(1, graph.coreset().size)),
          ids_(scratch.get<std::int32_t>(2, std::max(graph.width(0), graph.width(1)) + 2)),
          values_(scratch.get<Value>(3, std::max(graph.width(0), graph.width(1)) + 2)) {
        std::memset(tags_, 0, graph.coreset().size * sizeof *tags_);
    }

    // seeds: nodes to start from, or none: then from the entry point, down the levels.
    Best search(std::size_t query, const std::int32_t* seeds, std::size_t count) {
        if (!space_.ask(query)) return {};
        const std::int32_t entry = count == 0 ? descend() : -1;
        if (count == 0) {
            seeds = &entry;
            count = 1;
        }
        next_epoch();
        beam_.clear();
        visit(seeds, count);
        for (std::int32_t node = beam_.expand(); node >= 0; node = beam_.expand())
            visit(graph_.links(node, 0), graph_.width(0));
        return space_.answer(beam_);
    }

  private:
    void next_epoch() {
        if (++epoch_ != 0) return;
        std::memset(tags_, 0, graph_.coreset().size * sizeof *tags_);
        epoch_ = 1;
    }

    void visit(const std::int32_t* nodes, std::size_t most) {
        std::size_t fresh = 0;
        for (std::size_t k = 0; k < most && nodes[k] >= 0; ++k) {
            std::uint16_t& tag = tags_[nodes[k]];
            ids_[fresh] = nodes[k];
            fresh += tag != epoch_;  // no branch: every other guess would be wrong
            tag = epoch_;
        }
        space_.measure(ids_, fresh, beam_.worst(), values_);
        for (std::size_t k = 0; k < fresh; ++k)
            if (beam_.offer(values_[k], ids_[k]))
                prefetch(graph_.links(ids_[k], 0), graph_.width(0) * sizeof(std::int32_t));
    }

    // Greedy steps on the upper levels. A NaN query moves nowhere.
    std::int32_t descend() {
        std::int32_t node = graph_.entry();
        Value least;
        space_.measure(&node, 1, Space::kNever, &least);
        for (std::size_t level = graph_.level(node); level > 0; --level) {
            for (bool moved = true; moved;) {
                moved = false;
                const std::int32_t* links = graph_.links(node, level);
                std::size_t count = 0;
                while (count < graph_.width(level) && links[count] >= 0) ++count;
                space_.measure(links, count, least, values_);
                for (std::size_t k = 0; k < count; ++k) {
                    if (!(values_[k] < least)) continue;
                    least = values_[k];
                    node = links[k];
                    moved = true;
                }
            }
        }
        return node;
    }

    const Graph& graph_;
    Space& space_;
    Beam<Value> beam_;
    std::uint16_t* tags_;  // [size] the epoch that last visited a node
    std::uint16_t epoch_ = 0;
    std::int32_t* ids_;
    Value* values_;
};

// Where a search writes its answers.
struct Answers {
    float* distances;
    std::int32_t* indices;
};

// The queries [first, last) lie in one stripe; seeds never cross its border.
template <typename Space>
void search_stripe(const Graph& graph, const Queries& queries, std::size_t first, std::size_t last,
                   std::size_t ef, std::size_t grid_width, Scratch& scratch, const Answers& out) {
    Space space(graph.coreset(), queries, last, ef, scratch);
    Walker<Space> walker(graph, space, ef, scratch);
    const std::size_t top = queries.index(first) / (grid_width * kStripeRows) * kStripeRows;
    auto* answers = scratch.get<std::int32_t>(4, grid_width * kStripeRows);
    std::fill_n(answers, grid_width * kStripeRows, -1);
    for (std::size_t i = first; i < last; ++i) {
        const std::size_t y = queries.index(i) / grid_width - top, x = queries.index(i) % grid_width;
        std::int32_t* here = answers + y * grid_width + x;
        std::int32_t seeds[2];
        std::size_t count = 0;
        if (x > 0 && here[-1] >= 0) seeds[count++] = here[-1];
        if (y > 0 && here[-static_cast<std::ptrdiff_t>(grid_width)] >= 0)
            seeds[count++] = here[-static_cast<std::ptrdiff_t>(grid_width)];
        const Best found = walker.search(i, seeds, count);
        *here = found.index;
        out.distances[i] = std::sqrt(found.squared);
        out.indices[i] = found.index;
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
    const Coreset& coreset = graph.coreset();
    const bool coded = coreset.bounds != nullptr && coreset.part_rows >= coreset.size;  // in the nodes' order
    const auto search = coded ? search_stripe<CodeSpace> : search_stripe<VectorSpace>;
    pool.run(starts.size() - 1, [&](std::size_t task, Scratch& scratch) {
        search(graph, queries, starts[task], starts[task + 1], ef, grid_width, scratch, {distances, indices});
    });
}

}  // namespace edge_ad
