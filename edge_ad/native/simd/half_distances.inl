// One query's products with rows here and there. Included, inside an unnamed namespace, after `struct One`:
// Sum; Codes, kTake codes of a query with the offset added; zero(), query(), add() for kTake codes, and
// totals() of four sums.

void half_distances(const std::int8_t* query, const std::int8_t* rows, const std::int32_t* ids,
                    std::size_t count, std::size_t dim, const std::int32_t* bias, std::int32_t* out) {
    constexpr std::size_t kRows = 4;
    for (std::size_t i = 0; i < count; i += kRows) {
        std::size_t at[kRows];
        typename One::Sum sums[kRows];
        for (std::size_t r = 0; r < kRows; ++r) {
            at[r] = static_cast<std::size_t>(ids[i + r < count ? i + r : i]);
            sums[r] = One::zero();
        }
        for (std::size_t k = 0; k < dim; k += One::kTake) {
            const typename One::Codes codes = One::query(query + k);
            for (std::size_t r = 0; r < kRows; ++r)
                sums[r] = One::add(sums[r], codes, rows + at[r] * dim + k);
        }
        std::int32_t totals[kRows];
        One::totals(sums, totals);
        for (std::size_t r = 0; r < kRows && i + r < count; ++r) out[i + r] = bias[at[r]] - totals[r];
    }
}
