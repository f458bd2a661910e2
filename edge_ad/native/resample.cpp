// Separable resampling with antialiasing: the filters and their places are Pillow's (Resample.c). The numbers
// between the passes have more bits than its, so a pixel differs from Pillow's by one at most.
#include "resample.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "isa.hpp"

namespace edge_ad {

namespace {

constexpr std::size_t kPooled = 1 << 18;  // bytes from which on waking the pool is worth it
constexpr std::size_t kTaskRows = 32;     // of the result
constexpr int kMostBits = 18;             // of a weight's fraction: a sum over a column fits 32 bits

double bilinear(double x) {
    x = std::fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

// Keys 1981, with a = -1/2: exact for parabolas.
double bicubic(double x) {
    x = std::fabs(x);
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
    return x < 2.0 ? ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0 : 0.0;
}

// How much of a pixel lies in a box: its middle is so far away from that of the box, which is `wide` pixels
// wide.
double covered(double away, double wide) {
    return std::clamp(wide / 2.0 + 0.5 - std::fabs(away), 0.0, 1.0);
}

double weight_of(double away, double wide, Filter filter) {
    if (filter == Filter::kBox) return covered(away, wide);
    return filter == Filter::kBilinear ? bilinear(away / wide) : bicubic(away / wide);
}

// What each pixel along one side of the result is made of: `taps` pixels from its start on, times the
// weights, over 2^bits. Weights of a pixel sum to 2^bits; the last of them may be 0 and may lie outside.
struct Axis {
    std::size_t taps;
    int bits;
    std::vector<std::int32_t> starts;
    std::vector<std::int16_t> weights;  // [pixels][taps]
};

Axis make_axis(std::size_t from, std::size_t to, Filter filter, std::size_t step) {
    const double scale = static_cast<double>(from) / static_cast<double>(to), wide = std::max(scale, 1.0);
    const double reach = filter == Filter::kBox        ? wide / 2.0 + 0.5
                         : filter == Filter::kBilinear ? wide
                                                       : 2.0 * wide;
    const auto most = static_cast<std::size_t>(2.0 * std::ceil(reach)) + 1;
    std::vector<double> sums(to * most);  // of the weights up to each
    std::vector<std::size_t> counts(to);
    Axis axis{0, kMostBits, std::vector<std::int32_t>(to), {}};
    double largest = 0.0;
    for (std::size_t i = 0; i < to; ++i) {
        const double centre = (static_cast<double>(i) + 0.5) * scale;
        const auto first = static_cast<std::size_t>(std::max(centre - reach + 0.5, 0.0));
        const std::size_t last = std::min(static_cast<std::size_t>(centre + reach + 0.5), from);
        double sum = 0.0, peak = 0.0;
        for (std::size_t k = first; k < last; ++k) {
            const double weight = weight_of(static_cast<double>(k) - centre + 0.5, wide, filter);
            peak = std::max(peak, std::fabs(weight));
            sum += weight;
            sums[i * most + k - first] = sum;
        }
        largest = std::max(largest, peak / sum);
        axis.starts[i] = static_cast<std::int32_t>(first);
        counts[i] = last - first;
        axis.taps = std::max(axis.taps, counts[i]);
    }
    axis.taps = (axis.taps + step - 1) / step * step;
    while (largest * static_cast<double>(1 << axis.bits) > 32766.0) --axis.bits;
    axis.weights.assign(to * axis.taps, 0);
    for (std::size_t i = 0; i < to; ++i) {
        const double* sum = sums.data() + i * most;
        const double unit = static_cast<double>(1 << axis.bits) / sum[counts[i] - 1];
        double before = 0.0;
        for (std::size_t k = 0; k < counts[i]; ++k) {  // rounding the sums, not the weights, keeps the total
            const double now = std::floor(sum[k] * unit + 0.5);
            axis.weights[i * axis.taps + k] = static_cast<std::int16_t>(now - before);
            before = now;
        }
    }
    return axis;
}

// The two passes over 8-bit pixels, by the kernels of the instruction set.
struct Bytes {
    using Pixel = std::uint8_t;
    using Middle = std::int16_t;
    const Kernels& with = kernels();

    void rows(const Pixel* const* from, std::size_t channels, const std::int32_t* starts,
              const std::int16_t* weights, const Axis& axis, std::size_t width, Middle* const* out) const {
        with.resample_rows(from, channels, starts, weights, axis.taps, axis.bits - kFraction, width, out);
    }
    void column(const Middle* const* from, const std::int16_t* weights, const Axis& axis, std::size_t count,
                Pixel* out) const {
        with.resample_column(from, weights, axis.taps, axis.bits + kFraction, count, out);
    }
};

// Over 16-bit pixels.
struct Words {
    using Pixel = std::uint16_t;
    using Middle = std::int32_t;
    static constexpr std::int64_t kTop = 65535;

    static std::int64_t rounded(std::int64_t sum, int bits, std::int64_t top) {
        return std::clamp<std::int64_t>((sum + (std::int64_t{1} << (bits - 1))) >> bits, 0, top);
    }
    void rows(const Pixel* const* from, std::size_t channels, const std::int32_t* starts,
              const std::int16_t* weights, const Axis& axis, std::size_t width, Middle* const* out) const {
        for (std::size_t r = 0; r < kResampleRows; ++r)
            for (std::size_t i = 0; i < width * channels; ++i) {
                const std::size_t x = i / channels;
                const Pixel* pixels = from[r] + static_cast<std::size_t>(starts[x]) * channels + i % channels;
                std::int64_t sum = 0;
                for (std::size_t k = 0; k < axis.taps; ++k)
                    sum += std::int64_t{weights[x * axis.taps + k]} * pixels[k * channels];
                out[r][i] = static_cast<Middle>(rounded(sum, axis.bits - kFraction, kTop << kFraction));
            }
    }
    void column(const Middle* const* from, const std::int16_t* weights, const Axis& axis, std::size_t count,
                Pixel* out) const {
        for (std::size_t i = 0; i < count; ++i) {
            std::int64_t sum = 0;
            for (std::size_t k = 0; k < axis.taps; ++k) sum += std::int64_t{weights[k]} * from[k][i];
            out[i] = static_cast<Pixel>(rounded(sum, axis.bits + kFraction, kTop));
        }
    }
};

template <typename Passes>
class Resampling {
  public:
    using Pixel = typename Passes::Pixel;
    using Middle = typename Passes::Middle;

    Resampling(const Picture<Pixel>& picture, Filter filter, std::size_t height, std::size_t width)
        : picture_(picture),
          width_(width),
          across_(make_axis(picture.width, width, filter, picture.channels == 1 ? 8 : 4)),
          down_(make_axis(picture.height, height, filter, 2)) {
        // Pixels from here on may be read beyond the end of a row, so theirs are read from a copy.
        const auto reads = [&](std::size_t x) {
            return (static_cast<std::size_t>(across_.starts[x]) + across_.taps) * picture.channels +
                   kResampleBeyond;
        };
        while (inside_ < width && reads(inside_) <= picture.width * picture.channels) ++inside_;
        if (inside_ == width) return;
        tail_ = static_cast<std::size_t>(across_.starts[inside_]);
        for (std::size_t x = inside_; x < width; ++x)
            tail_starts_.push_back(across_.starts[x] - across_.starts[inside_]);
    }

    // Rows [first, last) of the result. Rows of the picture are filtered as they are needed, into a ring of
    // as many as a column of the filter takes.
    void rows(std::size_t first, std::size_t last, Scratch& scratch, Pixel* out) const {
        const std::size_t channels = picture_.channels, count = width_ * channels;
        const std::size_t ring = (down_.taps + 2 * kResampleRows - 1) / kResampleRows * kResampleRows;
        const std::size_t room = (count + 15) / 16 * 16 + kResampleBeyond;
        Middle* middle = scratch.get<Middle>(0, ring * room);
        const auto** window = scratch.get<const Middle*>(1, down_.taps);
        const std::size_t tail = (picture_.width - tail_ + across_.taps) * channels + kResampleBeyond;
        Pixel* tails = scratch.get<Pixel>(2, kResampleRows * tail);
        std::fill_n(tails, kResampleRows * tail, Pixel{0});
        std::fill_n(middle, ring * room, Middle{0});
        const auto base = static_cast<std::size_t>(down_.starts[first]);
        std::size_t made = base;
        for (std::size_t y = first; y < last; ++y) {
            const auto start = static_cast<std::size_t>(down_.starts[y]);
            const std::size_t end = std::min(start + down_.taps, picture_.height);
            for (; made < end; made += kResampleRows) {
                Middle* to[kResampleRows];
                for (std::size_t r = 0; r < kResampleRows; ++r)
                    to[r] = middle + ((made - base) % ring + r) * room;
                filter_rows(made, tails, tail, to);
            }
            for (std::size_t k = 0; k < down_.taps; ++k)  // weights beyond the last row are 0
                window[k] = middle + (std::min(start + k, picture_.height - 1) - base) % ring * room;
            passes_.column(window, down_.weights.data() + y * down_.taps, down_, count, out + y * count);
        }
    }

  private:
    // kResampleRows rows of the picture from `row` on; beyond its last one, that one again.
    void filter_rows(std::size_t row, Pixel* tails, std::size_t tail, Middle** to) const {
        const Pixel* from[kResampleRows];
        const Pixel* ends[kResampleRows];
        for (std::size_t r = 0; r < kResampleRows; ++r) {
            const std::size_t y = std::min(row + r, picture_.height - 1);
            from[r] = reinterpret_cast<const Pixel*>(reinterpret_cast<const char*>(picture_.pixels) +
                                                     static_cast<std::ptrdiff_t>(y) * picture_.stride);
            ends[r] = tails + r * tail;
            if (inside_ < width_)
                std::memcpy(tails + r * tail, from[r] + tail_ * picture_.channels,
                            (picture_.width - tail_) * picture_.channels * sizeof(Pixel));
        }
        passes_.rows(from, picture_.channels, across_.starts.data(), across_.weights.data(), across_, inside_,
                     to);
        if (inside_ == width_) return;
        for (std::size_t r = 0; r < kResampleRows; ++r) to[r] += inside_ * picture_.channels;
        passes_.rows(ends, picture_.channels, tail_starts_.data(),
                     across_.weights.data() + inside_ * across_.taps, across_, width_ - inside_, to);
    }

    const Picture<Pixel>& picture_;
    const std::size_t width_;
    const Axis across_, down_;
    const Passes passes_{};
    std::size_t inside_ = 0, tail_ = 0;
    std::vector<std::int32_t> tail_starts_;
};

template <typename Passes>
void resample_by(const Picture<typename Passes::Pixel>& picture, Filter filter, std::size_t height,
                 std::size_t width, Pool* pool, typename Passes::Pixel* out) {
    const Resampling<Passes> resampling(picture, filter, height, width);
    const std::size_t bytes =
        std::max(picture.height * picture.width, height * width) * picture.channels * sizeof *out;
    if (pool == nullptr || bytes < kPooled) {
        Scratch scratch;
        resampling.rows(0, height, scratch, out);
        return;
    }
    pool->run((height + kTaskRows - 1) / kTaskRows, [&](std::size_t task, Scratch& scratch) {
        resampling.rows(task * kTaskRows, std::min((task + 1) * kTaskRows, height), scratch, out);
    });
}

}  // namespace

void resample(const Picture<std::uint8_t>& picture, Filter filter, std::size_t height, std::size_t width,
              Pool* pool, std::uint8_t* out) {
    resample_by<Bytes>(picture, filter, height, width, pool, out);
}

void resample(const Picture<std::uint16_t>& picture, Filter filter, std::size_t height, std::size_t width,
              Pool* pool, std::uint16_t* out) {
    resample_by<Words>(picture, filter, height, width, pool, out);
}

}  // namespace edge_ad
