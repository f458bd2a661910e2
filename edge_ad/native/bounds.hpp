#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "coreset.hpp"
#include "pool.hpp"
#include "simd/kernels.hpp"

namespace edge_ad {

// At least |P P' - I| of a basis P [width][dim]. Throws Fault unless its rows are finite and orthonormal to
// 1e-3.
double skew_of(const float* basis, std::size_t width, std::size_t dim, Pool& pool);

// Short codes of the rows of a coreset, from which a lower bound of every distance follows.
//
// Let m be the coreset's mean and Q a matrix with orthonormal rows. f(x) = (Q(x - m), t(x)), where t(x) is
// the norm of what Q leaves of x - m, never lengthens: |f(q) - f(x)| <= |q - x|, as |t(q) - t(x)| is at most
// the norm of what Q leaves of q - x. The code c of a point is f(x) / s rounded to int8, t less a constant
// and spread evenly over a few numbers, and e >= |f(x) - s c| is its error, so that
//
//     |q - x| >= s |c_q - c_x| - e_q - e_x,    |c_q - c_x|^2 = |c_q|^2 + |c_x|^2 - 2 c_q c_x an exact
//     integer.
//
// e covers rounding to codes and cutting them off at 127, and with u = 2^-24: the rounding of the projection
// (a sum of n terms errs by at most n u |p| |x - m|; Higham 2002, 3.1), that of t (which follows from those
// of two squared norms), and the distance of the basis P from Q, for which P's polar factor is taken: |P - Q|
// <= |P P' - I|.
class Bounds {
  public:
    // basis [width][coreset.dim]. Throws Fault unless its rows are finite and orthonormal to 1e-3.
    Bounds(const Coreset& coreset, const float* basis, std::size_t width, Pool& pool);

    struct Coded {
        double error;       // or kUnusable
        std::int32_t norm;  // sum of the squared codes
    };

    // Codes of points [count], unusable where the squared distance from the mean is not finite: codes
    // [count][dim()], coded [count]; values [count][dim()] is working memory.
    void encode(const float* const* points, std::size_t count, float* values, std::int8_t* codes,
                Coded* coded) const;

    std::size_t dim() const { return dim_; }
    std::size_t width() const { return width_; }

    struct Projected {
        float tail;                // t
        double error, tail_error;  // at least the distance from Q(x - m), and from the true t
    };
    // What f(x) is computed to be: values [count][dim()], of which the first width() are Q(x - m), projected
    // [count]; errors are infinite or kUnusable where nothing is known.
    void project(const float* const* points, std::size_t count, float* values, Projected* projected) const;

    // The value of a row for a query is c_q c_x - floor(|c_x|^2 / 2). The least one, or kAll, of the rows
    // whose squared distance, as Kernels::sqdist computes it, may be `squared` or less.
    std::int32_t least_value(const Coded& query, float squared) const;

    // Each part of the coreset is padded to kCodeRows rows of codes.
    std::size_t part_codes() const { return part_codes_; }
    const std::int8_t* codes(std::size_t row) const { return codes_ + row * dim_; }
    // For CodeKernels::offset: floor(|c|^2 / 2) + offset * sum of c; kNever where there is no usable row.
    const std::int32_t* bias(std::int32_t offset) const {
        return offset == 0 ? plain_bias_.data() : offset_bias_.data();
    }

    static constexpr double kUnusable = -1.0;
    static constexpr std::int32_t kNever = 1 << 30;
    static constexpr std::int32_t kAll = -(1 << 28);  // below the value of any usable row, above the others'
    static constexpr std::int32_t kOffset = 128;      // the one that is not 0

  private:
    void set_basis(const float* basis, Pool& pool);
    void set_halves();
    Coded code(float* values, const Projected& projected, std::int8_t* codes) const;
    void code_rows(Pool& pool);
    void set_scale(const std::vector<float>& values, const std::vector<Projected>& projected);

    const Coreset& coreset_;
    std::size_t width_, dim_, copies_, part_codes_;
    std::vector<float> basis_;           // for Kernels::project, 0 from column width_ on
    std::vector<std::uint16_t> halves_;  // likewise
    double skew_ = 0.0;                  // >= |P P' - I|
    double halves_error_ = 0.0;          // of a projection by halves, relative to the norm of the point
    float scale_ = 1.0f, tail_mean_ = 0.0f;
    double row_error_ = 0.0;  // the largest of all rows
    std::vector<std::int8_t> memory_;
    std::int8_t* codes_ = nullptr;  // [parts * part_codes_][dim_], aligned in memory_
    std::vector<std::int32_t> plain_bias_, offset_bias_;
};

}  // namespace edge_ad
