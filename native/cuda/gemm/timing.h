// Times launches on a stream against each other. Used by choice.cc when it meets a shape for
// the first time.
#pragma once

#include <functional>
#include <vector>

#include "fabric/device.h"

namespace weft::cuda {

/// Milliseconds of one run of each, the median of `rounds` rounds of `repeats` runs; `before` is
/// enqueued ahead of each and not timed. Blocks until the stream has passed them; empty when it did
/// not within a minute.
std::vector<double> time_in_turn(const std::vector<std::function<void()>>& runs, int repeats,
                                 int rounds, fabric::Stream& stream,
                                 const std::function<void()>& before = nullptr);

}  // namespace weft::cuda
