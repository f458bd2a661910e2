// Photometric stereo (Woodham 1980), least squares or reweighted: reference_normals.py says how.
#include "normals.hpp"

#include <algorithm>
#include <cstring>

#include "isa.hpp"

namespace edge_ad {

namespace {

constexpr std::size_t kFew = 16;           // lights: with more, residuals above count less
constexpr float kTau = 0.3f;               // by this much
constexpr std::size_t kPooled = 1 << 14;   // samples from which on waking the pool is worth it
constexpr std::size_t kTaskPixels = 4096;  // of a task, about

// Merge exchange (Knuth, The Art of Computer Programming 5.2.2, algorithm M), without the steps that the
// median does not need.
std::vector<std::uint8_t> median_pairs(std::size_t count) {
    std::vector<std::uint8_t> all, needed;
    std::size_t top = 1;
    while (2 * top < count) top *= 2;
    for (std::size_t p = top; p > 0; p /= 2) {
        std::size_t q = top, r = 0, d = p;
        for (;;) {
            for (std::size_t i = 0; i + d < count; ++i)
                if ((i & p) == r) {
                    all.push_back(static_cast<std::uint8_t>(i));
                    all.push_back(static_cast<std::uint8_t>(i + d));
                }
            if (q == p) break;
            d = q - p;
            q /= 2;
            r = p;
        }
    }
    std::vector<char> wanted(count, 0);
    wanted[count / 2] = 1;
    for (std::size_t i = all.size(); i >= 2; i -= 2) {
        const std::uint8_t low = all[i - 2], high = all[i - 1];
        if (!wanted[low] && !wanted[high]) continue;
        wanted[low] = wanted[high] = 1;
        needed.push_back(high);
        needed.push_back(low);
    }
    std::reverse(needed.begin(), needed.end());
    return needed;
}

void sample(const Kernels& with, const std::uint8_t* pixels, const std::uint8_t* ambient,
            std::size_t channels, const float* scales, float white, std::size_t count, float* samples,
            float* fits) {
    with.samples_u8(pixels, ambient, channels, scales, white, count, samples, fits);
}

void sample(const Kernels& with, const std::uint16_t* pixels, const std::uint16_t* ambient,
            std::size_t channels, const float* scales, float white, std::size_t count, float* samples,
            float* fits) {
    with.samples_u16(pixels, ambient, channels, scales, white, count, samples, fits);
}

template <typename Pixel>
const Pixel* row_of(const Pixel* picture, std::ptrdiff_t stride, std::size_t y) {
    return reinterpret_cast<const Pixel*>(reinterpret_cast<const char*>(picture) +
                                          static_cast<std::ptrdiff_t>(y) * stride);
}

template <typename Pixel>
class Solver {
  public:
    Solver(const Stack<Pixel>& stack, const Lights& lights, const Surface& found)
        : stack_(stack),
          lights_(lights),
          found_(found),
          count_(stack.pictures.size()),
          pairs_(median_pairs(count_)),
          products_(6 * count_) {
        for (std::size_t n = 0; n < count_; ++n) {
            const float *l = lights.directions + 3 * n, x = l[0], y = l[1], z = l[2];
            const float products[6] = {x * x, x * y, x * z, y * y, y * z, z * z};
            std::copy_n(products, 6, products_.begin() + static_cast<std::ptrdiff_t>(6 * n));
        }
        lighting_ = {count_,
                     lights.directions,
                     products_.data(),
                     lights.solver,
                     lights.null,
                     pairs_.data(),
                     pairs_.size() / 2,
                     lights.robust,
                     count_ >= kFew ? kTau : 0.5f,
                     lights.dark};
    }

    void rows(std::size_t first, std::size_t last, Scratch& scratch) const {
        float* samples = scratch.get<float>(0, 2 * count_ * kNormalsBlock);
        float* work = scratch.get<float>(1, 2 * count_ * kMostLanes);
        float* out = scratch.get<float>(2, 6 * kNormalsBlock);
        std::fill_n(samples, 2 * count_ * kNormalsBlock, 0.0f);
        for (std::size_t y = first; y < last; ++y)
            for (std::size_t x = 0; x < stack_.width; x += kNormalsBlock)
                block(y, x, std::min(kNormalsBlock, stack_.width - x), samples, work, out);
    }

  private:
    void block(std::size_t y, std::size_t x, std::size_t pixels, float* samples, float* work,
               float* out) const {
        const std::size_t at = y * stack_.width + x, channels = stack_.channels;
        const std::uint8_t* mask = stack_.mask == nullptr ? nullptr : stack_.mask + at;
        if (mask != nullptr && std::all_of(mask, mask + pixels, [](std::uint8_t m) { return m == 0; })) {
            std::fill_n(out, 6 * kNormalsBlock, 0.0f);
            write(at, pixels, nullptr, out);
            return;
        }
        const Pixel* ambient = stack_.ambient == nullptr
                                   ? nullptr
                                   : row_of(stack_.ambient, stack_.ambient_stride, y) + x * channels;
        float* fits = samples + count_ * kNormalsBlock;
        for (std::size_t n = 0; n < count_; ++n) {
            const Pixel* row = row_of(stack_.pictures[n], stack_.strides[n], y) + x * channels;
            float* own = samples + n * kNormalsBlock;
            sample(kernels_, row, ambient, channels, lights_.scales + n * channels, lights_.white, pixels,
                   own, fits + n * kNormalsBlock);
            if (stack_.gains == nullptr) continue;
            const float* gains = stack_.gains + n * stack_.height * stack_.width + at;
            for (std::size_t i = 0; i < pixels; ++i) own[i] *= gains[i];
        }
        kernels_.normals_block(lighting_, samples, fits, work, out);
        write(at, pixels, mask, out);
    }

    void write(std::size_t at, std::size_t pixels, const std::uint8_t* mask, const float* out) const {
        for (std::size_t i = 0; i < pixels; ++i) {
            const bool kept = mask == nullptr || mask[i] != 0;
            for (std::size_t k = 0; k < 3; ++k)
                found_.normals[3 * (at + i) + k] = kept ? out[k * kNormalsBlock + i] : 0.0f;
            found_.albedo[at + i] = kept ? out[3 * kNormalsBlock + i] : 0.0f;
            found_.residual[at + i] = kept ? out[4 * kNormalsBlock + i] : 0.0f;
            found_.lit[at + i] = kept ? static_cast<std::uint8_t>(out[5 * kNormalsBlock + i]) : 0;
        }
    }

    const Stack<Pixel>& stack_;
    const Lights& lights_;
    const Surface& found_;
    const Kernels& kernels_ = edge_ad::kernels();
    const std::size_t count_;
    const std::vector<std::uint8_t> pairs_;
    std::vector<float> products_;
    Lighting lighting_{};
};

template <typename Pixel>
void solve(const Stack<Pixel>& stack, const Lights& lights, Pool* pool, const Surface& found) {
    const Solver<Pixel> solver(stack, lights, found);
    const std::size_t pixels = stack.height * stack.width;
    if (pool == nullptr || pixels * stack.pictures.size() < kPooled) {
        Scratch scratch;
        solver.rows(0, stack.height, scratch);
        return;
    }
    const std::size_t rows = std::max<std::size_t>(1, kTaskPixels / stack.width);
    pool->run((stack.height + rows - 1) / rows, [&](std::size_t task, Scratch& scratch) {
        solver.rows(task * rows, std::min((task + 1) * rows, stack.height), scratch);
    });
}

}  // namespace

void photometric(const Stack<std::uint8_t>& stack, const Lights& lights, Pool* pool, const Surface& found) {
    solve(stack, lights, pool, found);
}

void photometric(const Stack<std::uint16_t>& stack, const Lights& lights, Pool* pool, const Surface& found) {
    solve(stack, lights, pool, found);
}

}  // namespace edge_ad
