// Which instruction sets this CPU and its operating system can run, and which one is in use.
#pragma once

#include <string>
#include <vector>

#include "simd/kernels.hpp"

namespace edge_ad {

// Kernels this CPU can run, best first; never empty.
const std::vector<const Kernels*>& supported_kernels();

// The kernels in use. The first call chooses: what the environment variable EDGE_AD_FORCE_ISA names, else the
// best supported ones. use_isa changes it. Throws Fault when that variable names what use_isa refuses.
// The first call must not run beside a change of the environment: from Python, make it with the GIL held.
const Kernels& kernels();

// Throws Fault when the name is unknown or the CPU lacks it.
void use_isa(const std::string& name);

}  // namespace edge_ad
