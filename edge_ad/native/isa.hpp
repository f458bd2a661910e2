// Which instruction sets this CPU and its operating system can run, and which one is in use.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace edge_ad {

// Kernels this CPU can run, best first; never empty.
const std::vector<const Kernels*>& supported_kernels();

// The kernels in use: the best supported ones until use_isa has been called.
const Kernels& kernels();

// Throws Fault when the name is unknown or the CPU lacks it.
void use_isa(const std::string& name);

}  // namespace edge_ad
