// A kernel that does nothing: what a launch costs at least. Called by the binding's emptyLaunch(),
// for benchmarks only.
#pragma once

#include "core/tensor.h"

namespace weft::cuda {

void launch_empty(Stream& stream);

}  // namespace weft::cuda
