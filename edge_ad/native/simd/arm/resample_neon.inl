// The two passes of resampling for NEON: products of 16 bits, summed in 32.

EDGE_AD_INLINE void add_eight(int32x4_t& sum, uint8x8_t pixels, int16x8_t weights) {
    const int16x8_t wide = vreinterpretq_s16_u16(vmovl_u8(pixels));
    sum = vmlal_s16(sum, vget_low_s16(wide), vget_low_s16(weights));
    sum = vmlal_s16(sum, vget_high_s16(wide), vget_high_s16(weights));
}

EDGE_AD_INLINE std::int16_t to_middle(int32x4_t sum, int shift) {
    const std::int32_t value = (vaddvq_s32(sum) + (1 << (shift - 1))) >> shift;
    return static_cast<std::int16_t>(value < 0 ? 0 : value > kMostMiddle ? kMostMiddle : value);
}

void resample_rows(const std::uint8_t* const* rows, std::size_t channels, const std::int32_t* starts,
                   const std::int16_t* weights, std::size_t taps, int shift, std::size_t width,
                   std::int16_t* const* out) {
    for (std::size_t x = 0; x < width; ++x, weights += taps)
        for (std::size_t r = 0; r < kResampleRows; ++r) {
            const std::uint8_t* pixels = rows[r] + static_cast<std::size_t>(starts[x]) * channels;
            int32x4_t sums[3] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
            if (channels == 1) {
                for (std::size_t k = 0; k < taps; k += 8)
                    add_eight(sums[0], vld1_u8(pixels + k), vld1q_s16(weights + k));
                out[r][x] = to_middle(sums[0], shift);
                continue;
            }
            for (std::size_t k = 0; k < taps; k += 8) {  // taps are a multiple of 4
                const uint8x8x3_t colours = vld3_u8(pixels + 3 * k);
                const int16x8_t eight = taps - k >= 8 ? vld1q_s16(weights + k)
                                                      : vcombine_s16(vld1_s16(weights + k), vdup_n_s16(0));
                for (std::size_t c = 0; c < 3; ++c) add_eight(sums[c], colours.val[c], eight);
            }
            for (std::size_t c = 0; c < 3; ++c) out[r][3 * x + c] = to_middle(sums[c], shift);
        }
}

void resample_column(const std::int16_t* const* rows, const std::int16_t* weights, std::size_t taps,
                     int shift, std::size_t count, std::uint8_t* out) {
    const int32x4_t down = vdupq_n_s32(-shift);
    for (std::size_t i = 0; i < count; i += 8) {
        int32x4_t low = vdupq_n_s32(1 << (shift - 1)), high = low;
        for (std::size_t k = 0; k < taps; ++k) {
            const int16x8_t values = vld1q_s16(rows[k] + i);
            low = vmlal_n_s16(low, vget_low_s16(values), weights[k]);
            high = vmlal_n_s16(high, vget_high_s16(values), weights[k]);
        }
        const int16x8_t words =
            vcombine_s16(vqmovn_s32(vshlq_s32(low, down)), vqmovn_s32(vshlq_s32(high, down)));
        const uint8x8_t bytes = vqmovun_s16(words);
        if (count - i >= 8) {
            vst1_u8(out + i, bytes);
        } else {
            std::uint8_t last[8];
            vst1_u8(last, bytes);
            for (std::size_t j = 0; i + j < count; ++j) out[i + j] = last[j];
        }
    }
}
