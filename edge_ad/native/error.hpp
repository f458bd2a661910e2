#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace edge_ad {

// Becomes edge_ad.errors.NativeError in Python: what is wrong, what was expected, what was got.
struct Fault : std::runtime_error {
    Fault(const std::string& what, std::string expected_, std::string got_)
        : std::runtime_error(what), expected(std::move(expected_)), got(std::move(got_)) {}
    std::string expected, got;
};

}  // namespace edge_ad
