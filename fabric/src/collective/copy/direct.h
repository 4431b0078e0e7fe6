// Tiny all-reduces of host devices, done at once by the thread that launches. `copy-oneshot` tries
// it first: a wake-up of a stream worker costs more than the whole reduction.
#pragma once

#include <span>

#include "fabric/group.h"

namespace fabric {

/// Does the all-reduce here and now and returns true, when all devices are the host's, reach each
/// other, have an idle comm stream and little to do. False: nothing was touched.
bool reduce_directly(std::span<CollectiveArgs> args, std::span<Device* const> devices);

}  // namespace fabric
