// For AVX-512 VNNI, with AMX or without it.

struct One {
    using Sum = __m512i;
    using Codes = __m512i;
    static constexpr std::size_t kTake = 64;

    EDGE_AD_INLINE Sum zero() { return _mm512_setzero_si512(); }
    EDGE_AD_INLINE Codes query(const std::int8_t* p) {
        return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));  // adds the offset
    }
    EDGE_AD_INLINE Sum add(Sum sum, Codes codes, const std::int8_t* row) {
        return _mm512_dpbusd_epi32(sum, codes, _mm512_loadu_si512(row));
    }
    EDGE_AD_INLINE __m256i half(Sum a) {
        return _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    }
    EDGE_AD_INLINE void totals(const Sum* sums, std::int32_t* out) {
        const __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(half(sums[0]), half(sums[1])),
                                                _mm256_hadd_epi32(half(sums[2]), half(sums[3])));
        const __m128i all = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), all);
    }
};
