// Photometric stereo of kNormalsBlock pixels, with nothing but sums, products, quotients and square roots,
// each rounded by itself. So every instruction set gives the same bits. The Simd of the including file gives
// the registers.

using Reg = Simd::Reg;
constexpr std::size_t kNormalsLanes = Simd::kLanes;

EDGE_AD_INLINE Reg plus_product(Reg sum, Reg a, Reg b) {
    return Simd::add(sum, Simd::mul(a, b));
}

struct Matrix6 {
    Reg xx, xy, xz, yy, yz, zz;
};

struct Minors {
    Reg m[6];
};

struct Vector3 {
    Reg x, y, z;
};

EDGE_AD_INLINE Reg difference(Reg a, Reg b, Reg c, Reg d) {
    return Simd::sub(Simd::mul(a, b), Simd::mul(c, d));
}

EDGE_AD_INLINE Reg dot(Reg a, Reg x, Reg b, Reg y, Reg c, Reg z) {
    return Simd::add(Simd::add(Simd::mul(a, x), Simd::mul(b, y)), Simd::mul(c, z));
}

EDGE_AD_INLINE Minors minors_of(const Matrix6& a) {
    return {{difference(a.yy, a.zz, a.yz, a.yz), difference(a.xz, a.yz, a.xy, a.zz),
             difference(a.xy, a.yz, a.xz, a.yy), difference(a.xx, a.zz, a.xz, a.xz),
             difference(a.xy, a.xz, a.xx, a.yz), difference(a.xx, a.yy, a.xy, a.xy)}};
}

EDGE_AD_INLINE Reg det_of(const Matrix6& a, const Minors& of) {
    return dot(a.xx, of.m[0], a.xy, of.m[1], a.xz, of.m[2]);
}

EDGE_AD_INLINE Reg cube_of(const Matrix6& a) {
    const Reg third = Simd::mul(Simd::add(Simd::add(a.xx, a.yy), a.zz), Simd::splat(kThird));
    return Simd::mul(Simd::mul(third, third), third);
}

EDGE_AD_INLINE Vector3 solved(const Minors& of, Reg det, const Vector3& r) {
    const Reg inverse = Simd::div(Simd::splat(1.0f), det);
    return {Simd::mul(dot(of.m[0], r.x, of.m[1], r.y, of.m[2], r.z), inverse),
            Simd::mul(dot(of.m[1], r.x, of.m[3], r.y, of.m[4], r.z), inverse),
            Simd::mul(dot(of.m[2], r.x, of.m[4], r.y, of.m[5], r.z), inverse)};
}

EDGE_AD_INLINE Reg length_of(const Vector3& g) {
    return Simd::sqrt(dot(g.x, g.x, g.y, g.y, g.z, g.z));
}

EDGE_AD_INLINE Reg misfit(Reg sample, const float* light, const Vector3& g) {
    return Simd::sub(sample,
                     dot(Simd::splat(light[0]), g.x, Simd::splat(light[1]), g.y, Simd::splat(light[2]), g.z));
}

// The g of least sum of w (b - l g)^2 for a register of pixels; *flat is set where the lights that count are
// near a plane: det <= limit (trace / 3)^3. The weights of sample n are by(n).
template <typename Weight>
EDGE_AD_INLINE Vector3 weighted(const Lighting& lighting, const float* b, float limit, const Weight& by,
                                Reg* det_less_limit) {
    const Reg zero = Simd::zero();
    Matrix6 a{zero, zero, zero, zero, zero, zero};
    Vector3 r{zero, zero, zero};
    for (std::size_t n = 0; n < lighting.count; ++n) {
        const float *p = lighting.products + 6 * n, *l = lighting.lights + 3 * n;
        const Reg weight = by(n), sample = Simd::mul(weight, Simd::load(b + n * kNormalsBlock));
        a.xx = plus_product(a.xx, weight, Simd::splat(p[0]));
        a.xy = plus_product(a.xy, weight, Simd::splat(p[1]));
        a.xz = plus_product(a.xz, weight, Simd::splat(p[2]));
        a.yy = plus_product(a.yy, weight, Simd::splat(p[3]));
        a.yz = plus_product(a.yz, weight, Simd::splat(p[4]));
        a.zz = plus_product(a.zz, weight, Simd::splat(p[5]));
        r.x = plus_product(r.x, Simd::splat(l[0]), sample);
        r.y = plus_product(r.y, Simd::splat(l[1]), sample);
        r.z = plus_product(r.z, Simd::splat(l[2]), sample);
    }
    const Minors minors = minors_of(a);
    const Reg det = det_of(a, minors);
    *det_less_limit = Simd::sub(det, Simd::mul(Simd::splat(limit), cube_of(a)));
    return solved(minors, det, r);
}

EDGE_AD_INLINE Vector3 chosen(Reg above_zero, const Vector3& a, const Vector3& b) {
    const Reg zero = Simd::zero();
    return {Simd::select_gt(above_zero, zero, a.x, b.x), Simd::select_gt(above_zero, zero, a.y, b.y),
            Simd::select_gt(above_zero, zero, a.z, b.z)};
}

// The sample above which a pixel is lit: a part of its median, or `dark`.
EDGE_AD_INLINE Reg shadow_of(const Lighting& lighting, const float* b, float* sorted) {
    for (std::size_t n = 0; n < lighting.count; ++n)
        Simd::store(sorted + n * kNormalsLanes, Simd::load(b + n * kNormalsBlock));
    for (std::size_t i = 0; i < lighting.pair_count; ++i) {
        float *low = sorted + lighting.pairs[2 * i] * kNormalsLanes,
              *high = sorted + lighting.pairs[2 * i + 1] * kNormalsLanes;
        const Reg x = Simd::load(low), y = Simd::load(high);
        Simd::store(low, Simd::min_number(x, y));
        Simd::store(high, Simd::max_number(x, y));
    }
    const Reg median = Simd::load(sorted + lighting.count / 2 * kNormalsLanes);
    return Simd::max_number(Simd::mul(median, Simd::splat(kShadow)), Simd::splat(lighting.dark));
}

// Four samples have one to spare: where they disagree, the brightest that can be a highlight loses its
// weight.
EDGE_AD_INLINE void drop_highlight(const Lighting& lighting, const float* b, const Vector3& g, Reg total,
                                   float* weights) {
    const Reg zero = Simd::zero(), one = Simd::splat(1.0f);
    const float* null = lighting.null;
    Reg s = Simd::mul(Simd::splat(null[0]), Simd::load(b));
    for (std::size_t n = 1; n < 4; ++n)
        s = plus_product(s, Simd::splat(null[n]), Simd::load(b + n * kNormalsBlock));
    const Reg spare = Simd::sub(Simd::abs(s), Simd::mul(Simd::splat(kSpark), length_of(g)));
    Reg best = Simd::splat(-1.0f), most = zero;
    for (std::size_t n = 0; n < 4; ++n) {
        const Reg sample = Simd::load(b + n * kNormalsBlock), which = Simd::splat(static_cast<float>(n));
        const Reg sign = Simd::mul(s, Simd::splat(null[n]));
        const Reg level = Simd::select_gt(sign, zero, sample, zero);  // 0 where it cannot be the one
        best = Simd::select_gt(level, most, which, best);
        most = Simd::max_number(level, most);
    }
    for (std::size_t n = 0; n < 4; ++n) {
        const Reg off = Simd::abs(Simd::sub(best, Simd::splat(static_cast<float>(n))));
        Reg kept = Simd::select_gt(Simd::splat(0.5f), off, zero, one);
        kept = Simd::select_gt(spare, zero, kept, one);
        kept = Simd::select_gt(total, Simd::splat(3.5f), kept, one);
        Simd::store(weights + n * kNormalsLanes, Simd::mul(Simd::load(weights + n * kNormalsLanes), kept));
    }
}

EDGE_AD_INLINE Vector3 by_least_squares(const Lighting& lighting, const float* b) {
    const Reg zero = Simd::zero();
    Vector3 g{zero, zero, zero};
    const float* solver = lighting.solver;
    for (std::size_t n = 0; n < lighting.count; ++n) {
        const Reg sample = Simd::load(b + n * kNormalsBlock);
        g.x = plus_product(g.x, Simd::splat(solver[n]), sample);
        g.y = plus_product(g.y, Simd::splat(solver[lighting.count + n]), sample);
        g.z = plus_product(g.z, Simd::splat(solver[2 * lighting.count + n]), sample);
    }
    return g;
}

// *good is above 0 where the lights that count leave nothing open.
EDGE_AD_INLINE Vector3 by_weights(const Lighting& lighting, const float* b, const float* fits, Reg shadow,
                                  float* weights, Reg* good) {
    const Reg zero = Simd::zero(), one = Simd::splat(1.0f);
    Reg total = zero;
    for (std::size_t n = 0; n < lighting.count; ++n) {
        const Reg lit = Simd::select_gt(Simd::load(b + n * kNormalsBlock), shadow,
                                        Simd::load(fits + n * kNormalsBlock), zero);
        Simd::store(weights + n * kNormalsLanes, lit);
        total = Simd::add(total, lit);
    }
    const auto first = [&](std::size_t n) { return Simd::load(weights + n * kNormalsLanes); };
    Reg open;
    Vector3 g = weighted(lighting, b, kFlat, first, &open);
    *good = Simd::select_gt(open, zero, Simd::sub(total, Simd::splat(2.5f)), zero);
    if (lighting.count == 4) {
        drop_highlight(lighting, b, g, total, weights);
        const Vector3 found = weighted(lighting, b, kFlat, first, &open);
        return chosen(open, found, g);
    }
    const std::size_t rounds = lighting.count > 4 ? kRounds : 0;
    const Reg tau = Simd::splat(lighting.tau), other = Simd::sub(one, tau);
    for (std::size_t round = 0; round < rounds; ++round) {
        const Reg near = Simd::mul(Simd::splat(kNear), length_of(g));
        const auto by = [&](std::size_t n) {
            const Reg r = misfit(Simd::load(b + n * kNormalsBlock), lighting.lights + 3 * n, g);
            const Reg side = Simd::select_gt(r, zero, tau, other);
            return Simd::mul(first(n),
                             Simd::mul(side, Simd::div(near, Simd::max_number(Simd::abs(r), near))));
        };
        const Vector3 found = weighted(lighting, b, kFlatter, by, &open);
        g = chosen(open, found, g);
    }
    return g;
}

void normals_block(const Lighting& lighting, const float* b, const float* fits, float* work, float* out) {
    const Reg zero = Simd::zero(), one = Simd::splat(1.0f);
    float *sorted = work, *weights = work + lighting.count * kNormalsLanes;
    for (std::size_t i = 0; i < kNormalsBlock; i += kNormalsLanes) {
        const float* samples = b + i;
        const Reg shadow = shadow_of(lighting, samples, sorted);
        Reg good = one;
        const Vector3 g = lighting.robust ? by_weights(lighting, samples, fits + i, shadow, weights, &good)
                                          : by_least_squares(lighting, samples);
        const Reg albedo = length_of(g);
        Reg count = zero, misfits = zero;
        for (std::size_t n = 0; n < lighting.count; ++n) {
            const Reg sample = Simd::load(samples + n * kNormalsBlock);
            const Reg r = Simd::abs(misfit(sample, lighting.lights + 3 * n, g));
            count = Simd::add(count, Simd::select_gt(sample, shadow, one, zero));
            misfits = Simd::add(misfits, Simd::select_gt(sample, shadow, r, zero));
        }
        good = Simd::select_gt(count, Simd::splat(2.5f), good, zero);
        good = Simd::select_gt(albedo, zero, good, zero);
        good = Simd::select_gt(Simd::splat(kLargest), albedo, good, zero);
        const Reg residual = Simd::div(misfits, Simd::mul(Simd::max_number(count, one), albedo));
        const Reg results[6] = {
            Simd::div(g.x, albedo), Simd::div(g.y, albedo), Simd::div(g.z, albedo), albedo, residual, count};
        for (std::size_t k = 0; k < 5; ++k)
            Simd::store(out + k * kNormalsBlock + i, Simd::select_gt(good, zero, results[k], zero));
        Simd::store(out + 5 * kNormalsBlock + i, count);
    }
}

// kChannels and kAmbient are constants, so that the compiler makes vectors of the loop.
template <std::size_t kChannels, bool kAmbient, typename Pixel>
EDGE_AD_INLINE void samples_by(const Pixel* pixels, const Pixel* ambient, const float* scales, float white,
                               std::size_t count, float* __restrict samples, float* __restrict fits) {
    float own[kChannels];
    for (std::size_t c = 0; c < kChannels; ++c) own[c] = scales[c];
    for (std::size_t i = 0; i < count; ++i) {
        float sum = 0.0f, most = 0.0f;
        for (std::size_t c = 0; c < kChannels; ++c) {
            const float value = static_cast<float>(pixels[i * kChannels + c]);
            const float around = kAmbient ? static_cast<float>(ambient[i * kChannels + c]) : 0.0f;
            sum += (kAmbient ? value - around : value) * own[c];
            most = most < value ? value : most;
        }
        samples[i] = kAmbient && sum < 0.0f ? 0.0f : sum;
        fits[i] = most < white ? 1.0f : 0.0f;
    }
}

template <typename Pixel>
EDGE_AD_INLINE void samples_of(const Pixel* pixels, const Pixel* ambient, std::size_t channels,
                               const float* scales, float white, std::size_t count, float* samples,
                               float* fits) {
    if (channels == 1 && ambient == nullptr) {
        samples_by<1, false>(pixels, ambient, scales, white, count, samples, fits);
    } else if (channels == 1) {
        samples_by<1, true>(pixels, ambient, scales, white, count, samples, fits);
    } else if (ambient == nullptr) {
        samples_by<3, false>(pixels, ambient, scales, white, count, samples, fits);
    } else {
        samples_by<3, true>(pixels, ambient, scales, white, count, samples, fits);
    }
}

void samples_u8(const std::uint8_t* pixels, const std::uint8_t* ambient, std::size_t channels,
                const float* scales, float white, std::size_t count, float* __restrict samples,
                float* __restrict fits) {
    samples_of(pixels, ambient, channels, scales, white, count, samples, fits);
}

void samples_u16(const std::uint16_t* pixels, const std::uint16_t* ambient, std::size_t channels,
                 const float* scales, float white, std::size_t count, float* __restrict samples,
                 float* __restrict fits) {
    samples_of(pixels, ambient, channels, scales, white, count, samples, fits);
}
