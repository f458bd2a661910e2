// The two passes of resampling, for AVX2 and what has it: products of 16 bits, summed in pairs.

// Four pixels at a time: the same channel of two neighbours side by side, two neighbours in each half.
EDGE_AD_INLINE void resample_colours(const std::uint8_t* const* rows, const std::int32_t* starts,
                                     const std::int16_t* weights, std::size_t taps, int shift,
                                     std::size_t width, std::int16_t* const* out) {
    const __m256i spread = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
                                            6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const __m256i pairs = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,  //
                                           4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
    const __m256i half = _mm256_setr_m128i(_mm_set1_epi32(1 << (shift - 1)), _mm_setzero_si128());
    const __m128i bits = _mm_cvtsi32_si128(shift);
    for (std::size_t x = 0; x < width; ++x, weights += taps) {
        const std::size_t start = static_cast<std::size_t>(starts[x]) * 3;
        __m256i sums[kResampleRows];
        for (std::size_t r = 0; r < kResampleRows; ++r) sums[r] = half;
        for (std::size_t k = 0; k < taps; k += 4) {
            const __m128i four = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(weights + k));
            const __m256i pair = _mm256_shuffle_epi8(_mm256_broadcastq_epi64(four), pairs);
            for (std::size_t r = 0; r < kResampleRows; ++r) {
                const __m128i pixels =
                    _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r] + start + 3 * k));
                const __m256i two = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(pixels), spread);
                sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(two, pair));
            }
        }
        // Rows 0 and 1 in the two halves of `upper`, 2 and 3 in those of `lower`; their fourth number is
        // nothing.
        const __m256i upper = _mm256_add_epi32(_mm256_permute2x128_si256(sums[0], sums[1], 0x20),
                                               _mm256_permute2x128_si256(sums[0], sums[1], 0x31));
        const __m256i lower = _mm256_add_epi32(_mm256_permute2x128_si256(sums[2], sums[3], 0x20),
                                               _mm256_permute2x128_si256(sums[2], sums[3], 0x31));
        const __m256i words =
            _mm256_packs_epi32(_mm256_sra_epi32(upper, bits), _mm256_sra_epi32(lower, bits));
        const __m256i limited =
            _mm256_min_epi16(_mm256_max_epi16(words, _mm256_setzero_si256()), _mm256_set1_epi16(kMostMiddle));
        const __m128i even = _mm256_castsi256_si128(limited), odd = _mm256_extracti128_si256(limited, 1);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out[0] + 3 * x), even);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out[1] + 3 * x), odd);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out[2] + 3 * x), _mm_unpackhi_epi64(even, even));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out[3] + 3 * x), _mm_unpackhi_epi64(odd, odd));
    }
}

EDGE_AD_INLINE void resample_greys(const std::uint8_t* const* rows, const std::int32_t* starts,
                                   const std::int16_t* weights, std::size_t taps, int shift,
                                   std::size_t width, std::int16_t* const* out) {
    const __m128i half = _mm_set1_epi32(1 << (shift - 1)), bits = _mm_cvtsi32_si128(shift);
    for (std::size_t x = 0; x < width; ++x, weights += taps) {
        const auto start = static_cast<std::size_t>(starts[x]);
        __m128i sums[kResampleRows];
        for (std::size_t r = 0; r < kResampleRows; ++r) sums[r] = _mm_setzero_si128();
        for (std::size_t k = 0; k < taps; k += 8) {
            const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + k));
            for (std::size_t r = 0; r < kResampleRows; ++r) {
                const __m128i pixels =
                    _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(rows[r] + start + k)));
                sums[r] = _mm_add_epi32(sums[r], _mm_madd_epi16(pixels, eight));
            }
        }
        const __m128i total =
            _mm_hadd_epi32(_mm_hadd_epi32(sums[0], sums[1]), _mm_hadd_epi32(sums[2], sums[3]));
        const __m128i found = _mm_sra_epi32(_mm_add_epi32(total, half), bits);
        const __m128i words = _mm_packs_epi32(found, found);
        const __m128i four =
            _mm_min_epi16(_mm_max_epi16(words, _mm_setzero_si128()), _mm_set1_epi16(kMostMiddle));
        out[0][x] = static_cast<std::int16_t>(_mm_extract_epi16(four, 0));
        out[1][x] = static_cast<std::int16_t>(_mm_extract_epi16(four, 1));
        out[2][x] = static_cast<std::int16_t>(_mm_extract_epi16(four, 2));
        out[3][x] = static_cast<std::int16_t>(_mm_extract_epi16(four, 3));
    }
}

void resample_rows(const std::uint8_t* const* rows, std::size_t channels, const std::int32_t* starts,
                   const std::int16_t* weights, std::size_t taps, int shift, std::size_t width,
                   std::int16_t* const* out) {
    static_assert(kResampleRows == 4);
    if (channels == 3) {
        resample_colours(rows, starts, weights, taps, shift, width, out);
    } else {
        resample_greys(rows, starts, weights, taps, shift, width, out);
    }
}

void resample_column(const std::int16_t* const* rows, const std::int16_t* weights, std::size_t taps,
                     int shift, std::size_t count, std::uint8_t* out) {
    const __m256i half = _mm256_set1_epi32(1 << (shift - 1));
    const __m128i bits = _mm_cvtsi32_si128(shift);
    for (std::size_t i = 0; i < count; i += 16) {
        __m256i low = half, high = half;
        for (std::size_t k = 0; k < taps; k += 2) {
            std::int32_t two;
            __builtin_memcpy(&two, weights + k, sizeof two);
            const __m256i pair = _mm256_set1_epi32(two);
            const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[k] + i));
            const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[k + 1] + i));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), pair));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), pair));
        }
        const __m256i words = _mm256_packs_epi32(_mm256_sra_epi32(low, bits), _mm256_sra_epi32(high, bits));
        const __m256i twice = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0x08);
        const __m128i bytes = _mm256_castsi256_si128(twice);
        if (count - i >= 16) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), bytes);
        } else {
            alignas(16) std::uint8_t last[16];
            _mm_store_si128(reinterpret_cast<__m128i*>(last), bytes);
            for (std::size_t j = 0; i + j < count; ++j) out[i + j] = last[j];
        }
    }
}
