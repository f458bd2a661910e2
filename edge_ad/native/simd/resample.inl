// The two passes of resampling in plain loops, for any instruction set. Others give the same numbers.

void resample_rows(const std::uint8_t* const* rows, std::size_t channels, const std::int32_t* starts,
                   const std::int16_t* weights, std::size_t taps, int shift, std::size_t width,
                   std::int16_t* const* out) {
    for (std::size_t r = 0; r < kResampleRows; ++r)
        for (std::size_t x = 0; x < width; ++x)
            for (std::size_t c = 0; c < channels; ++c) {
                const std::uint8_t* pixels = rows[r] + static_cast<std::size_t>(starts[x]) * channels + c;
                std::int32_t sum = 1 << (shift - 1);
                for (std::size_t k = 0; k < taps; ++k) sum += weights[x * taps + k] * pixels[k * channels];
                sum >>= shift;
                out[r][x * channels + c] = static_cast<std::int16_t>(sum < 0             ? 0
                                                                     : sum > kMostMiddle ? kMostMiddle
                                                                                         : sum);
            }
}

void resample_column(const std::int16_t* const* rows, const std::int16_t* weights, std::size_t taps,
                     int shift, std::size_t count, std::uint8_t* out) {
    constexpr std::size_t kAtOnce = 64;
    for (std::size_t start = 0; start < count; start += kAtOnce) {
        std::int32_t sums[kAtOnce];
        for (std::int32_t& sum : sums) sum = 1 << (shift - 1);
        for (std::size_t k = 0; k < taps; ++k) {
            const std::size_t left = count - start < kAtOnce ? count - start : kAtOnce;
            for (std::size_t i = 0; i < left; ++i) sums[i] += weights[k] * rows[k][start + i];
        }
        for (std::size_t i = 0; i < kAtOnce && start + i < count; ++i) {
            const std::int32_t sum = sums[i] >> shift;
            out[start + i] = static_cast<std::uint8_t>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
        }
    }
}
