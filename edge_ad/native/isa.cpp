// Built with baseline flags: this file decides whether any other may run.
#include "isa.hpp"

#include <atomic>
#include <cstdlib>
#include <optional>

#include "error.hpp"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

#if defined(EDGE_AD_X86)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(EDGE_AD_NEON) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace edge_ad {
namespace {

#if defined(EDGE_AD_X86)

struct X86 {
    bool avx2 = false, avxvnni = false;
    bool avx512 = false, avx512vnni = false;
    bool amx = false;
};

std::uint64_t xgetbv0() {
    std::uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<std::uint64_t>(high) << 32) | low;
}

// Linux saves the tiles of a process only after it has asked for that (Documentation/arch/x86/xstate.rst),
// for all its threads, those to come included.
bool may_use_tiles() {
#if defined(__linux__)
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

// Intel SDM vol. 1, 14.3, 15.2 and 18.4: the CPU must have the instructions and the OS must save the
// registers.
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
    found.avx512vnni = found.avx512 && ((c >> 11) & 1);
    const bool tiles = ((d >> 22) & 1) && ((d >> 24) & 1) && ((d >> 25) & 1) && (saved & 0x60000) == 0x60000;
    found.amx = found.avx512vnni && tiles && may_use_tiles();
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) found.avxvnni = found.avx2 && ((a >> 4) & 1);
    return found;
}

#endif

// An instruction set that adds products of codes to the vectors of another one.
Kernels extended(const Kernels& with, const char* name, const CodeKernels* codes) {
    Kernels made = with;
    made.name = name;
    made.codes = codes;
    return made;
}

#if defined(EDGE_AD_AMX)
Kernels with_projection_amx(Kernels made) {
    project_by_amx(&made);
    return made;
}
#endif

std::vector<const Kernels*> detect_supported() {
    std::vector<const Kernels*> found;
#if defined(EDGE_AD_X86)
    // Nothing of a unit may be called before its instruction set is known to be there: that it only hands out
    // a table does not keep the compiler from filling the table by those instructions.
    const X86 cpu = detect();
#if defined(EDGE_AD_AMX)
    if (cpu.amx) {
        static const Kernels amx = with_projection_amx(extended(*kernels_avx512(), "amx", codes_amx()));
        found.push_back(&amx);
    }
#endif
    if (cpu.avx512vnni) {
        static const Kernels avx512vnni = extended(*kernels_avx512(), "avx512vnni", codes_avx512vnni());
        found.push_back(&avx512vnni);
    }
    if (cpu.avx512) found.push_back(kernels_avx512());
    if (cpu.avxvnni) {
        static const Kernels avxvnni = extended(*kernels_avx2(), "avxvnni", codes_avxvnni());
        found.push_back(&avxvnni);
    }
    if (cpu.avx2) found.push_back(kernels_avx2());
#elif defined(EDGE_AD_NEON)
    [[maybe_unused]] const auto add_neondot = [&found] {
        static const Kernels neondot = extended(*kernels_neon(), "neondot", codes_neondot());
        found.push_back(&neondot);
    };
#if defined(__linux__)
    if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) add_neondot();
#elif defined(__APPLE__)
    add_neondot();  // every Apple CPU of this kind has it
#endif
    found.push_back(kernels_neon());  // part of the aarch64 baseline
#endif
    found.push_back(kernels_portable());
    return found;
}

std::atomic<const Kernels*> in_use{nullptr};

constexpr const char* kVariable = "EDGE_AD_FORCE_ISA";

std::optional<std::string> forced() {
#if defined(_WIN32)
    // Every C library of a Windows process keeps a copy of its own of the environment, so that getenv here
    // would not see what Python's os.environ was given.
    char name[256] = "";
    SetLastError(ERROR_SUCCESS);
    const DWORD length = GetEnvironmentVariableA(kVariable, name, sizeof name);
    if (length == 0 && GetLastError() == ERROR_ENVVAR_NOT_FOUND) return std::nullopt;
    return length < sizeof name ? std::string(name, length) : std::string("a name that is too long");
#else
    const char* name = std::getenv(kVariable);
    return name == nullptr ? std::nullopt : std::optional<std::string>(name);
#endif
}

// The supported kernels of that name. `where` begins the message, when it says where the name came from.
const Kernels* supported(const std::string& name, const std::string& where, const std::string& remedy) {
    std::string have;
    for (const Kernels* candidate : supported_kernels()) {
        if (name == candidate->name) return candidate;
        have += (have.empty() ? "" : ", ") + std::string(candidate->name);
    }
    bool known = false;
    for (const char* of : {"amx", "avx512vnni", "avx512", "avxvnni", "avx2", "neondot", "neon", "portable"})
        known = known || name == of;
    throw Fault(
        where + (known ? "this CPU cannot run the instruction set asked for" : "unknown instruction set"),
        "one of " + have, "'" + name + "'", remedy);
}

}  // namespace

const std::vector<const Kernels*>& supported_kernels() {
    static const std::vector<const Kernels*> found = detect_supported();
    return found;
}

const Kernels& kernels() {
    const Kernels* chosen = in_use.load(std::memory_order_acquire);
    if (chosen != nullptr) return *chosen;
    const std::optional<std::string> name = forced();
    const Kernels* first = supported_kernels().front();
    if (name)
        first = supported(*name, std::string(kVariable) + ": ", "Unset the variable to let the CPU decide.");
    return in_use.compare_exchange_strong(chosen, first) ? *first : *chosen;
}

void use_isa(const std::string& name) {
    in_use.store(supported(name, "", ""), std::memory_order_release);
}

}  // namespace edge_ad
