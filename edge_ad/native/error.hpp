#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace edge_ad {

// Becomes edge_ad.errors.NativeError in Python: what is wrong, what was expected, what was got, and what the
// reader can do about it (empty: nothing is said).
struct Fault : std::runtime_error {
    Fault(const std::string& what, std::string expected_, std::string got_, std::string remedy_ = "")
        : std::runtime_error(what),
          expected(std::move(expected_)),
          got(std::move(got_)),
          remedy(std::move(remedy_)) {}
    std::string expected, got, remedy;
};

}  // namespace edge_ad
