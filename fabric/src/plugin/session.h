// An algorithm of the C ABI as the fabric's registry knows algorithms. The loader and tests make one
// of each WeftAlgorithm.
#pragma once

#include <memory>

#include "fabric/algorithm.h"
#include "fabric/plugin_abi.h"

namespace fabric::plugin {

/// Checks the struct (PluginError) and wraps it; `library` stays loaded while anything uses it.
Algorithm wrap(const WeftAlgorithm& algorithm, std::shared_ptr<void> library);

}  // namespace fabric::plugin
