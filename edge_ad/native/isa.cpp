// Built with baseline flags: this file decides whether any other may run.
#include "isa.hpp"

#include <atomic>

#include "error.hpp"

#if defined(EDGE_AD_X86)
#include <cpuid.h>
#endif

namespace edge_ad {
namespace {

#if defined(EDGE_AD_X86)

struct X86 {
    bool avx2 = false;
    bool avx512 = false;
};

std::uint64_t xgetbv0() {
    std::uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<std::uint64_t>(high) << 32) | low;
}

// Intel SDM vol. 1, 14.3 and 15.2: the CPU must have the instructions and the OS must save the registers.
X86 detect() {
    X86 found;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
    const bool fma = (c >> 12) & 1, osxsave = (c >> 27) & 1, avx = (c >> 28) & 1;
    if (!osxsave || !avx || !fma) return found;
    const std::uint64_t saved = xgetbv0();
    if ((saved & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    found.avx2 = (b >> 5) & 1;
    const bool f = (b >> 16) & 1, dq = (b >> 17) & 1, bw = (b >> 30) & 1, vl = (b >> 31) & 1;
    found.avx512 = found.avx2 && f && dq && bw && vl && (saved & 0xE6) == 0xE6;
    return found;
}

#endif

std::vector<const Kernels*> detect_supported() {
    std::vector<const Kernels*> found;
#if defined(EDGE_AD_X86)
    const X86 cpu = detect();
    if (cpu.avx512) found.push_back(kernels_avx512());
    if (cpu.avx2) found.push_back(kernels_avx2());
#elif defined(EDGE_AD_NEON)
    found.push_back(kernels_neon());  // part of the aarch64 baseline
#endif
    found.push_back(kernels_portable());
    return found;
}

std::atomic<const Kernels*> in_use{nullptr};

}  // namespace

const std::vector<const Kernels*>& supported_kernels() {
    static const std::vector<const Kernels*> found = detect_supported();
    return found;
}

const Kernels& kernels() {
    const Kernels* chosen = in_use.load(std::memory_order_acquire);
    return chosen != nullptr ? *chosen : *supported_kernels().front();
}

void use_isa(const std::string& name) {
    std::string have;
    for (const Kernels* candidate : supported_kernels()) {
        if (name == candidate->name) {
            in_use.store(candidate, std::memory_order_release);
            return;
        }
        have += (have.empty() ? "" : ", ") + std::string(candidate->name);
    }
    const bool known = name == "avx512" || name == "avx2" || name == "neon" || name == "portable";
    throw Fault(known ? "this CPU cannot run the instruction set asked for" : "unknown instruction set",
                "one of " + have, "'" + name + "'");
}

}  // namespace edge_ad
