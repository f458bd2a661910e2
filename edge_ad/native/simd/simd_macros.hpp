// Macros only: included by translation units built with ISA-specific flags.
#pragma once

#if !defined(__GNUC__) && !defined(__clang__)
#error \
    "cl.exe does not compile the native core: use clang-cl (with Visual Studio: cmake -T ClangCL), Clang or GCC"
#endif

#define EDGE_AD_INLINE static inline __attribute__((always_inline))
