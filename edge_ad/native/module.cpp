// The only file that knows Python. edge_ad/native/__init__.py has checked dtypes and shapes and documents
// the meaning; what can make a kernel leave its memory is checked here again.
// Over 400 lines: one binding a kernel, and no other file may know Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <thread>
#include <tuple>
#include <vector>

#include "bounds.hpp"
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

namespace nb = nanobind;

namespace {

using edge_ad::Fault;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Links = nb::ndarray<const std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Levels = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Ids = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using DistancesOut = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using IdsOut = nb::ndarray<std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

using Pixels = nb::ndarray<const std::uint8_t, nb::device::cpu>;  // rows may lie apart, as those of a crop do
using PixelsOut = nb::ndarray<std::uint8_t, nb::c_contig, nb::device::cpu>;
template <typename Pixel>
using PictureIn = nb::ndarray<const Pixel, nb::device::cpu>;
template <typename Pixel>
using PictureOut = nb::ndarray<Pixel, nb::c_contig, nb::device::cpu>;

// As nb::gil_scoped_release; but a thread that comes back while Python shuts down, as a daemon thread may,
// sleeps until the process ends. CPython before 3.14 ends it by pthread_exit, which on Linux unwinds the
// stack as an exception does, and so aborts the process at the first noexcept function: a destructor, or
// nanobind.
class Released {
  public:
    Released() : state_(PyEval_SaveThread()) {}
    ~Released() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;

  private:
    PyThreadState* state_;
};

constexpr std::size_t kMostRows = static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max());

void require(bool holds, const char* what, const std::string& expected, const std::string& got) {
    if (!holds) throw Fault(what, expected, got);
}

void require_rows(const Matrix& array, const char* what) {
    require(array.shape(0) >= 1 && array.shape(1) >= 1 && array.shape(0) <= kMostRows, what,
            "at least one row and one column",
            std::to_string(array.shape(0)) + " x " + std::to_string(array.shape(1)));
}

// The array is held so that its memory outlives every search.
struct PyCoreset {
    PyCoreset(Matrix array, std::size_t part_rows, const std::optional<Matrix>& basis, edge_ad::Pool& pool)
        : vectors(std::move(array)) {
        edge_ad::kernels();  // chosen while the GIL is held (isa.hpp)
        require_rows(vectors, "the coreset is empty or too large");
        require(part_rows >= 1 && part_rows <= vectors.shape(0), "part_rows is out of its range",
                "1 .. " + std::to_string(vectors.shape(0)), std::to_string(part_rows));
        require(!basis || basis->shape(1) == vectors.shape(1),
                "the basis does not match the coreset's dimension", std::to_string(vectors.shape(1)),
                basis ? std::to_string(basis->shape(1)) : "none");
        Released released;
        core = std::make_unique<edge_ad::Coreset>(vectors.data(), vectors.shape(0), vectors.shape(1),
                                                  part_rows, pool);
        if (basis) core->bound(basis->data(), basis->shape(0), pool);
    }
    Matrix vectors;
    std::unique_ptr<edge_ad::Coreset> core;
};

// The coreset is kept alive by nb::keep_alive.
struct PyGraph {
    PyGraph(const PyCoreset& coreset, const Levels& levels, const Links& links0, const Links& upper,
            std::int64_t entry) {
        const std::size_t size = coreset.core->size;
        require(levels.shape(0) == size, "levels do not match the coreset", std::to_string(size),
                std::to_string(levels.shape(0)));
        require(links0.shape(0) == size, "level-0 links do not match the coreset", std::to_string(size),
                std::to_string(links0.shape(0)));
        const edge_ad::GraphArrays arrays{levels.data(), links0.data(),  links0.shape(1),
                                          upper.data(),  upper.shape(0), upper.shape(1),
                                          entry};
        Released released;
        core = std::make_unique<edge_ad::Graph>(*coreset.core, arrays);
    }
    std::unique_ptr<edge_ad::Graph> core;
};

struct PyKCenter {
    PyKCenter(Matrix array, std::int64_t start, const std::optional<Matrix>& basis, edge_ad::Pool& pool)
        : points(std::move(array)) {
        edge_ad::kernels();  // chosen while the GIL is held (isa.hpp)
        require_rows(points, "there are no points to select from, or too many");
        require(start >= 0 && static_cast<std::size_t>(start) < points.shape(0), "start is not a point",
                "0 .. " + std::to_string(points.shape(0) - 1), std::to_string(start));
        require(!basis || (basis->shape(0) == edge_ad::kSketch && basis->shape(1) == points.shape(1)),
                "the basis does not match the points",
                std::to_string(edge_ad::kSketch) + " x " + std::to_string(points.shape(1)),
                basis ? std::to_string(basis->shape(0)) + " x " + std::to_string(basis->shape(1)) : "none");
        Released released;
        core = std::make_unique<edge_ad::KCenter>(points.data(), points.shape(0), points.shape(1),
                                                  static_cast<std::size_t>(start),
                                                  basis ? basis->data() : nullptr, pool);
    }
    Matrix points;
    std::unique_ptr<edge_ad::KCenter> core;
};

edge_ad::Queries checked_queries(const edge_ad::Coreset& coreset, const Matrix& queries,
                                 const std::optional<Ids>& rows, const DistancesOut& distances,
                                 const IdsOut& indices, std::size_t k, bool ascending) {
    require(queries.shape(1) == coreset.dim, "queries do not match the coreset's dimension",
            std::to_string(coreset.dim), std::to_string(queries.shape(1)));
    require(queries.shape(0) <= kMostRows, "too many queries", std::to_string(kMostRows),
            std::to_string(queries.shape(0)));
    const std::size_t count = rows ? rows->shape(0) : queries.shape(0);
    require(k >= 1 && k <= coreset.size, "k is out of its range", "1 .. " + std::to_string(coreset.size),
            std::to_string(k));
    require(distances.shape(0) == count * k && indices.shape(0) == count * k,
            "results do not match the queries", std::to_string(count * k),
            std::to_string(distances.shape(0)));
    for (std::size_t i = 0; rows && i < count; ++i) {
        const std::int32_t row = rows->data()[i];
        require(row >= 0 && static_cast<std::size_t>(row) < queries.shape(0), "a row is not a query",
                "0 <= row < " + std::to_string(queries.shape(0)), std::to_string(row));
        require(!ascending || i == 0 || rows->data()[i - 1] < row, "rows are not ascending",
                "each row greater than the one before", std::to_string(row));
    }
    return {queries.data(), coreset.dim, rows ? rows->data() : nullptr, count};
}

edge_ad::Parts checked_parts(const edge_ad::Coreset& coreset, const std::optional<Ids>& parts) {
    if (!parts) return {nullptr, 0};
    const std::size_t most = (coreset.size + coreset.part_rows - 1) / coreset.part_rows;
    require(parts->shape(0) >= 1, "there are no parts to search", "1 or more", "0");
    for (std::size_t i = 0; i < parts->shape(0); ++i) {
        const std::int32_t part = parts->data()[i];
        require(part >= 0 && static_cast<std::size_t>(part) < most && (i == 0 || parts->data()[i - 1] < part),
                "a part is not one of the coreset's, or they are not ascending",
                "0 <= part < " + std::to_string(most) + ", each greater than the one before",
                std::to_string(part));
    }
    return {parts->data(), parts->shape(0)};
}

// For tests: what the bounds take the projection of points to be, and how far off at most.
std::vector<std::tuple<std::vector<float>, float, double, double>> project(const PyCoreset& coreset,
                                                                           const Matrix& points) {
    const edge_ad::Bounds* bounds = coreset.core->bounds.get();
    require(bounds != nullptr, "the coreset has no bounds", "a basis", "none");
    require(points.shape(1) == coreset.core->dim, "points do not match the coreset's dimension",
            std::to_string(coreset.core->dim), std::to_string(points.shape(1)));
    std::vector<const float*> rows;
    for (std::size_t i = 0; i < points.shape(0); ++i) rows.push_back(points.data() + i * points.shape(1));
    std::vector<float> values(rows.size() * bounds->dim());
    std::vector<edge_ad::Bounds::Projected> projected(rows.size());
    bounds->project(rows.data(), rows.size(), values.data(), projected.data());
    std::vector<std::tuple<std::vector<float>, float, double, double>> found;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const float* first = values.data() + i * bounds->dim();
        const edge_ad::Bounds::Projected& p = projected[i];
        found.emplace_back(std::vector<float>(first, first + bounds->width()), p.tail, p.error, p.tail_error);
    }
    return found;
}

void exact_search(const PyCoreset& coreset, const Matrix& queries, const std::optional<Ids>& rows,
                  const std::optional<Ids>& parts, std::size_t k, edge_ad::Pool& pool, DistancesOut distances,
                  IdsOut indices) {
    const auto checked = checked_queries(*coreset.core, queries, rows, distances, indices, k, false);
    const auto among = checked_parts(*coreset.core, parts);
    Released released;
    edge_ad::exact_search(*coreset.core, among, checked, k, pool, distances.data(), indices.data());
}

void guessed_search(const PyCoreset& coreset, const Matrix& queries, const Ids& guesses,
                    const Links& neighbours, const Matrix& apart, const std::optional<Ids>& rows,
                    edge_ad::Pool& pool, DistancesOut distances, IdsOut indices) {
    const auto checked = checked_queries(*coreset.core, queries, rows, distances, indices, 1, false);
    const auto size = static_cast<std::int32_t>(coreset.core->size);
    require(guesses.shape(0) == checked.count, "guesses do not match the queries",
            std::to_string(checked.count), std::to_string(guesses.shape(0)));
    require(neighbours.shape(0) == coreset.core->size && neighbours.shape(1) >= 1 &&
                apart.shape(0) == neighbours.shape(0) && apart.shape(1) == neighbours.shape(1),
            "neighbours do not match the coreset", std::to_string(size) + " rows, 1 or more of each",
            std::to_string(neighbours.shape(0)) + " x " + std::to_string(neighbours.shape(1)));
    const auto require_ids = [&](const std::int32_t* ids, std::size_t count) {
        const auto wrong =
            std::find_if(ids, ids + count, [&](std::int32_t id) { return id < -1 || id >= size; });
        if (wrong != ids + count)
            throw Fault("a guess or a neighbour is no row of the coreset",
                        "-1 .. " + std::to_string(size - 1), std::to_string(*wrong));
    };
    require_ids(guesses.data(), checked.count);
    require_ids(neighbours.data(), neighbours.size());
    Released released;
    edge_ad::guessed_search(*coreset.core, {neighbours.data(), apart.data(), neighbours.shape(1)}, checked,
                            guesses.data(), pool, distances.data(), indices.data());
}

void graph_search(const PyGraph& graph, const Matrix& queries, const std::optional<Ids>& rows,
                  edge_ad::Pool& pool, std::size_t ef, std::size_t grid_width, DistancesOut distances,
                  IdsOut indices) {
    const auto checked = checked_queries(graph.core->coreset(), queries, rows, distances, indices, 1, true);
    require(ef >= 1 && ef <= kMostRows, "ef is out of its range", "1 or more", std::to_string(ef));
    require(grid_width >= 1 && grid_width <= kMostRows && queries.shape(0) % grid_width == 0,
            "queries do not fill a grid", "a multiple of grid_width " + std::to_string(grid_width),
            std::to_string(queries.shape(0)));
    Released released;
    edge_ad::graph_search(*graph.core, checked, pool, ef, grid_width, distances.data(), indices.data());
}

void mahalanobis(const Matrix& patches, const std::optional<Ids>& rows, const Ids& channels,
                 const Matrix& means, const Matrix& factors, edge_ad::Pool& pool, DistancesOut distances) {
    edge_ad::kernels();  // chosen while the GIL is held (isa.hpp)
    const std::size_t dim = channels.shape(0), count = rows ? rows->shape(0) : patches.shape(0);
    require(patches.shape(0) <= kMostRows && patches.shape(1) <= kMostRows && dim <= kMostRows,
            "there are too many patches or channels", std::to_string(kMostRows),
            std::to_string(patches.shape(0)) + " x " + std::to_string(patches.shape(1)));
    for (std::size_t i = 0; i < dim; ++i)
        require(channels.data()[i] >= 0 && static_cast<std::size_t>(channels.data()[i]) < patches.shape(1),
                "a channel is not one of a patch's", "0 <= channel < " + std::to_string(patches.shape(1)),
                std::to_string(channels.data()[i]));
    for (std::size_t i = 0; rows && i < count; ++i)
        require(rows->data()[i] >= 0 && static_cast<std::size_t>(rows->data()[i]) < patches.shape(0),
                "a row is not a patch", "0 <= row < " + std::to_string(patches.shape(0)),
                std::to_string(rows->data()[i]));
    require(means.shape(0) == count && means.shape(1) == dim && factors.shape(0) == count &&
                factors.shape(1) == dim * (dim + 1) / 2 && distances.shape(0) == count,
            "means, factors or distances do not match the patches",
            std::to_string(count) + " patches of " + std::to_string(dim) + " channels",
            std::to_string(means.shape(0)) + " x " + std::to_string(means.shape(1)));
    const edge_ad::Gaussians gaussians{channels.data(), means.data(), factors.data(), dim};
    const edge_ad::Queries queries{patches.data(), patches.shape(1), rows ? rows->data() : nullptr, count};
    Released released;
    edge_ad::mahalanobis(gaussians, queries, pool, distances.data());
}

// Channels of an image that goes with the result.
template <typename Image, typename Out>
std::size_t checked_channels(const Image& image, const Out& out) {
    const std::size_t rank = image.ndim(), channels = rank == 3 ? image.shape(2) : 1;
    require((rank == 2 || rank == 3) && out.ndim() == rank && (channels == 1 || channels == 3) &&
                (rank == 2 || (out.shape(2) == channels && image.stride(2) == 1)) &&
                image.stride(1) == static_cast<std::int64_t>(channels),
            "image and result do not go together", "(H, W) or (H, W, 3), pixels side by side",
            std::to_string(rank) + " and " + std::to_string(out.ndim()) + " dimensions");
    return channels;
}

template <typename Pixel>
void resample(const PictureIn<Pixel>& image, PictureOut<Pixel> out, std::size_t number, edge_ad::Pool* pool) {
    edge_ad::kernels();  // chosen while the GIL is held (isa.hpp)
    const std::size_t channels = checked_channels(image, out);
    for (std::size_t axis = 0; axis < 2; ++axis)
        for (const std::size_t side : {image.shape(axis), out.shape(axis)})
            require(side >= 1 && side <= edge_ad::kMostSide, "a side of image or result is out of its range",
                    "1 .. " + std::to_string(edge_ad::kMostSide), std::to_string(side));
    const auto stride =
        static_cast<std::ptrdiff_t>(image.stride(0)) * static_cast<std::ptrdiff_t>(sizeof(Pixel));
    const edge_ad::Picture<Pixel> picture{image.data(), stride, image.shape(0), image.shape(1), channels};
    require(number <= static_cast<std::size_t>(edge_ad::Filter::kBox), "there is no such filter", "0, 1 or 2",
            std::to_string(number));
    const auto filter = static_cast<edge_ad::Filter>(number);
    Released released;
    edge_ad::resample(picture, filter, out.shape(0), out.shape(1), pool, out.data());
}

void shrink(const Pixels& image, PixelsOut out, edge_ad::Pool* pool) {
    edge_ad::kernels();  // chosen while the GIL is held (isa.hpp)
    const std::size_t channels = checked_channels(image, out);
    std::size_t factors[2] = {0, 0};
    for (std::size_t axis = 0; axis < 2; ++axis) {
        const std::size_t have = image.shape(axis), wanted = out.shape(axis);
        require(wanted >= 1 && have >= wanted && have % wanted == 0 && have / wanted <= edge_ad::kMostShrink,
                "the image is not a whole multiple of the result",
                "1 .. " + std::to_string(edge_ad::kMostShrink) + " times " + std::to_string(wanted),
                std::to_string(have));
        factors[axis] = have / wanted;
    }
    Released released;
    edge_ad::shrink({image.data(), static_cast<std::ptrdiff_t>(image.stride(0)), channels}, factors[0],
                    factors[1], out.shape(0), out.shape(1), pool, out.data());
}

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using FloatsOut = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Mask = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

using Planes = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Affine = nb::ndarray<const double, nb::shape<2, 3>, nb::c_contig, nb::device::cpu>;
using SumsOut = nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void moved_products(const Matrix& picture, const Affine& matrix, const Matrix& weights, const Planes& planes,
                    SumsOut sums) {
    edge_ad::kernels();  // chosen while the GIL is held (isa.hpp)
    const std::size_t height = picture.shape(0), width = picture.shape(1), count = planes.shape(0);
    require(height >= 2 && width >= 2 && height <= edge_ad::kMostMoved && width <= edge_ad::kMostMoved,
            "a side of the picture is out of its range", "2 .. " + std::to_string(edge_ad::kMostMoved),
            std::to_string(height) + " x " + std::to_string(width));
    require(count <= edge_ad::kMostPlanes, "there are too many planes",
            "0 .. " + std::to_string(edge_ad::kMostPlanes), std::to_string(count));
    require(weights.shape(0) == height && weights.shape(1) == width && planes.shape(1) == height &&
                planes.shape(2) == width && sums.shape(0) == count + 1 && sums.shape(1) == count + 1,
            "arrays do not match the picture", std::to_string(height) + " x " + std::to_string(width),
            "other sizes");
    edge_ad::Moved of{height, width, picture.data(), weights.data(), planes.data(), count, {}};
    for (std::size_t i = 0; i < 6; ++i) of.matrix[i] = static_cast<float>(matrix.data()[i]);
    Released released;
    edge_ad::moved_products(of, sums.data());
}

using Values = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void value_bounds(const Values& levels, const Matrix& far, float largest, const Values& distances,
                  const Ids& nearest, DistancesOut bounds) {
    const std::size_t count = distances.shape(0), rows = far.shape(0);
    require(far.shape(1) == levels.shape(0) && nearest.shape(0) == count && bounds.shape(0) == count,
            "arrays do not match the distances", std::to_string(count), "other sizes");
    Released released;
    const std::int32_t* last = std::max_element(nearest.data(), nearest.data() + count);
    require(count == 0 || *last < 0 || static_cast<std::size_t>(*last) < rows, "a row is outside the coreset",
            "less than " + std::to_string(rows), count == 0 ? "none" : std::to_string(*last));
    edge_ad::value_bounds({levels.data(), far.data(), levels.shape(0), largest}, distances.data(),
                          nearest.data(), count, bounds.data());
}

struct PySmoothing {
    PySmoothing(const Values& weights, std::size_t height, std::size_t width,
                const std::optional<Ids>& rows) {
        require(weights.shape(0) >= 1 && height >= 1 && width >= 1 && height <= kMostRows / width &&
                    weights.shape(0) <= kMostRows,
                "the grid or the weights are empty or too large", "1 or more, and 2^31 - 1 at most",
                std::to_string(height) + " x " + std::to_string(width));
        std::vector<std::int32_t> chosen;
        if (rows) {
            require(rows->shape(0) >= 1, "there are no patches", "one or more", "none");
            chosen.assign(rows->data(), rows->data() + rows->shape(0));
            const bool ascending =
                std::adjacent_find(chosen.begin(), chosen.end(), std::greater_equal<>()) == chosen.end();
            require(ascending && chosen[0] >= 0 && static_cast<std::size_t>(chosen.back()) < height * width,
                    "rows are not ascending or outside the grid",
                    "0 .. " + std::to_string(height * width - 1),
                    std::to_string(chosen[0]) + " .. " + std::to_string(chosen.back()));
        }
        const std::vector<float> given(weights.data(), weights.data() + weights.shape(0));
        Released released;
        core = std::make_unique<edge_ad::Smoothing>(given, height, width, chosen);
    }

    void check(std::size_t count) const {
        if (count != core->count())
            throw Fault("an array does not match the patches", std::to_string(core->count()),
                        std::to_string(count));
    }
    std::unique_ptr<edge_ad::Smoothing> core;
};

void smooth(const PySmoothing& self, const Values& values, DistancesOut cells) {
    self.check(values.shape(0));
    self.check(cells.shape(0));
    Released released;
    self.core->smooth(values.data(), cells.data());
}

std::size_t choose(const PySmoothing& self, const Values& values, const Values& bounds, const Levels& open,
                   std::size_t least, IdsOut chosen) {
    for (const std::size_t count : {values.shape(0), bounds.shape(0), open.shape(0), chosen.shape(0)})
        self.check(count);
    Released released;
    const auto found = self.core->choose(values.data(), bounds.data(), open.data(), least);
    std::copy(found.begin(), found.end(), chosen.data());
    return found.size();
}

template <typename Pixel>
std::ptrdiff_t checked_stride(const PictureIn<Pixel>& picture, std::size_t height, std::size_t width,
                              std::size_t channels) {
    const std::size_t rank = picture.ndim();
    require((rank == 2 || (rank == 3 && picture.shape(2) == channels && picture.stride(2) == 1)) &&
                (rank == 3 || channels == 1) && picture.shape(0) == height && picture.shape(1) == width &&
                picture.stride(1) == static_cast<std::int64_t>(channels),
            "a picture is not like the first one", "one size, pixels side by side",
            std::to_string(rank) + " dimensions");
    return static_cast<std::ptrdiff_t>(picture.stride(0)) * static_cast<std::ptrdiff_t>(sizeof(Pixel));
}

template <typename Pixel>
void photometric(const std::vector<PictureIn<Pixel>>& pictures,
                 const std::optional<PictureIn<Pixel>>& ambient, const std::optional<Floats>& gains,
                 const std::optional<Mask>& mask, const std::tuple<Floats, Floats, Floats, Floats>& lights,
                 const std::tuple<bool, float, float>& how, edge_ad::Pool* pool,
                 const std::tuple<FloatsOut, FloatsOut, FloatsOut, PixelsOut>& found) {
    edge_ad::kernels();  // chosen while the GIL is held (isa.hpp)
    const std::size_t count = pictures.size();
    require(count >= 3 && count <= edge_ad::kMostPictures, "the number of pictures is out of its range",
            "3 .. " + std::to_string(edge_ad::kMostPictures), std::to_string(count));
    const auto& first = pictures[0];
    require(first.ndim() == 2 || (first.ndim() == 3 && first.shape(2) == 3), "a picture has the wrong shape",
            "(H, W) or (H, W, 3)", std::to_string(first.ndim()) + " dimensions");
    const std::size_t height = first.shape(0), width = first.shape(1),
                      channels = first.ndim() == 3 ? first.shape(2) : 1, pixels = height * width;
    edge_ad::Stack<Pixel> stack{height, width, channels, {}, {}, nullptr, 0, nullptr, nullptr};
    for (const auto& picture : pictures) {
        stack.strides.push_back(checked_stride(picture, height, width, channels));
        stack.pictures.push_back(picture.data());
    }
    if (ambient) {
        stack.ambient_stride = checked_stride(*ambient, height, width, channels);
        stack.ambient = ambient->data();
    }
    const auto& [directions, scales, solver, null] = lights;
    const auto& [normals, albedo, residual, lit] = found;
    require(directions.size() == 3 * count && scales.size() == channels * count &&
                solver.size() == 3 * count && (count != 4 || null.size() == 4) &&
                (!gains || gains->size() == count * pixels) && (!mask || mask->size() == pixels) &&
                normals.size() == 3 * pixels && albedo.size() == pixels && residual.size() == pixels &&
                lit.size() == pixels,
            "arrays do not match the pictures", std::to_string(count) + " pictures", "other sizes");
    if (gains) stack.gains = gains->data();
    if (mask) stack.mask = mask->data();
    const edge_ad::Lights given{directions.data(), scales.data(),    solver.data(),   null.data(),
                                std::get<0>(how),  std::get<1>(how), std::get<2>(how)};
    const edge_ad::Surface surface{normals.data(), albedo.data(), residual.data(), lit.data()};
    Released released;
    edge_ad::photometric(stack, given, pool, surface);
}

std::vector<std::string> supported_isas() {
    std::vector<std::string> names;
    for (const edge_ad::Kernels* kernels : edge_ad::supported_kernels()) names.emplace_back(kernels->name);
    return names;
}

// Fault -> edge_ad.errors.NativeError(what, expected=..., got=..., remedy=...)
void raise_native_error(const std::exception_ptr& thrown, void*) {
    try {
        std::rethrow_exception(thrown);
    } catch (const Fault& fault) {
        const nb::object type = nb::module_::import_("edge_ad.errors").attr("NativeError");
        const nb::object error =
            type(nb::str(fault.what()), nb::arg("expected") = fault.expected, nb::arg("got") = fault.got,
                 nb::arg("remedy") =
                     fault.remedy.empty() ? nb::object(nb::none()) : nb::str(fault.remedy.c_str()));
        PyErr_SetObject(type.ptr(), error.ptr());
    }
}

}  // namespace

NB_MODULE(_core, m) {
    nb::set_leak_warnings(false);  // a Pool or Coreset may live in a module's globals until the process ends
    nb::register_exception_translator(raise_native_error);

    nb::class_<edge_ad::Pool>(m, "Pool")
        .def(nb::init<std::size_t, std::vector<int>, std::size_t>(), nb::arg("threads"), nb::arg("cores"),
             nb::arg("streams"))
        .def_prop_ro("threads", &edge_ad::Pool::threads);
    nb::class_<PyCoreset>(m, "Coreset")
        .def(nb::init<Matrix, std::size_t, const std::optional<Matrix>&, edge_ad::Pool&>(),
             nb::arg("vectors"), nb::arg("part_rows"), nb::arg("basis").none(), nb::arg("pool"))
        .def_prop_ro("mean", [](const PyCoreset& self) { return self.core->mean; });
    nb::class_<PyGraph>(m, "Graph")
        .def(nb::init<const PyCoreset&, const Levels&, const Links&, const Links&, std::int64_t>(),
             nb::keep_alive<1, 2>(), nb::arg("coreset"), nb::arg("levels"), nb::arg("links0"),
             nb::arg("upper"), nb::arg("entry"));
    nb::class_<PyKCenter>(m, "KCenter")
        .def(nb::init<Matrix, std::int64_t, const std::optional<Matrix>&, edge_ad::Pool&>(),
             nb::arg("points"), nb::arg("start"), nb::arg("basis").none(), nb::arg("pool"))
        .def(
            "advance",
            [](PyKCenter& self, std::size_t n, edge_ad::Pool& pool) {
                Released released;
                return self.core->advance(n, pool);
            },
            nb::arg("n"), nb::arg("pool"))
        .def_prop_ro("selected", [](const PyKCenter& self) { return self.core->selected(); })
        .def(
            "nearest",
            [](const PyKCenter& self, IdsOut found) {
                require(found.shape(0) == self.points.shape(0), "the result does not match the points",
                        std::to_string(self.points.shape(0)), std::to_string(found.shape(0)));
                self.core->nearest(found.data());
            },
            nb::arg("found"))
        .def_prop_ro("radius", [](const PyKCenter& self) { return self.core->radius(); });

    m.def("value_bounds", &value_bounds, nb::arg("levels"), nb::arg("far"), nb::arg("largest"),
          nb::arg("distances"), nb::arg("nearest"), nb::arg("bounds").noconvert());
    nb::class_<PySmoothing>(m, "Smoothing")
        .def(nb::init<const Values&, std::size_t, std::size_t, const std::optional<Ids>&>(),
             nb::arg("weights"), nb::arg("height"), nb::arg("width"), nb::arg("rows").none())
        .def("smooth", &smooth, nb::arg("values"), nb::arg("cells").noconvert())
        .def("choose", &choose, nb::arg("values"), nb::arg("bounds"), nb::arg("open"), nb::arg("least"),
             nb::arg("chosen").noconvert());

    m.def("exact_search", &exact_search, nb::arg("coreset"), nb::arg("queries"), nb::arg("rows").none(),
          nb::arg("parts").none(), nb::arg("k"), nb::arg("pool"), nb::arg("distances"), nb::arg("indices"));
    m.def("guessed_search", &guessed_search, nb::arg("coreset"), nb::arg("queries"), nb::arg("guesses"),
          nb::arg("neighbours"), nb::arg("apart"), nb::arg("rows").none(), nb::arg("pool"),
          nb::arg("distances"), nb::arg("indices"));
    m.def("graph_search", &graph_search, nb::arg("graph"), nb::arg("queries"), nb::arg("rows").none(),
          nb::arg("pool"), nb::arg("ef"), nb::arg("grid_width"), nb::arg("distances"), nb::arg("indices"));
    m.def("project", &project, nb::arg("coreset"), nb::arg("points"));
    m.def("mahalanobis", &mahalanobis, nb::arg("patches"), nb::arg("rows").none(), nb::arg("channels"),
          nb::arg("means"), nb::arg("factors"), nb::arg("pool"), nb::arg("distances"));
    m.def("resample", &resample<std::uint8_t>, nb::arg("image").noconvert(), nb::arg("out").noconvert(),
          nb::arg("filter"), nb::arg("pool").none() = nb::none());
    m.def("resample", &resample<std::uint16_t>, nb::arg("image").noconvert(), nb::arg("out").noconvert(),
          nb::arg("filter"), nb::arg("pool").none() = nb::none());
    m.def("shrink", &shrink, nb::arg("image").noconvert(), nb::arg("out").noconvert(),
          nb::arg("pool").none() = nb::none());
    m.def("moved_products", &moved_products, nb::arg("picture").noconvert(), nb::arg("matrix").noconvert(),
          nb::arg("weights").noconvert(), nb::arg("planes").noconvert(), nb::arg("sums").noconvert());
    m.def("photometric_u8", &photometric<std::uint8_t>, nb::arg("pictures").noconvert(),
          nb::arg("ambient").noconvert().none(), nb::arg("gains").none(), nb::arg("mask").none(),
          nb::arg("lights"), nb::arg("how"), nb::arg("pool").none(), nb::arg("found").noconvert());
    m.def("photometric_u16", &photometric<std::uint16_t>, nb::arg("pictures").noconvert(),
          nb::arg("ambient").noconvert().none(), nb::arg("gains").none(), nb::arg("mask").none(),
          nb::arg("lights"), nb::arg("how"), nb::arg("pool").none(), nb::arg("found").noconvert());
    m.def("isa", [] { return std::string(edge_ad::kernels().name); });
    m.def("supported_isas", &supported_isas);
    m.def("use_isa", &edge_ad::use_isa, nb::arg("name"));
}
