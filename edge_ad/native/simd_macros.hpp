// Macros only: included by translation units built with ISA-specific flags.
#pragma once

#if !defined(__GNUC__) && !defined(__clang__)
#error "the native core needs GCC or Clang (on Windows: clang-cl)"
#endif

#define EDGE_AD_INLINE static inline __attribute__((always_inline))
