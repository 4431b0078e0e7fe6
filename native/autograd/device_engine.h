// The backward engine for graphs over several devices. Internal to native/autograd.
#pragma once

#include "autograd/engine.h"
#include "autograd/graph_task.h"

namespace weft {

/// Runs `task` with each device's nodes on that device's worker. Blocks the caller until everything
/// is enqueued (not until devices are done), at most options.limit: then the fabric is poisoned.
/// Rethrows the first error.
void run_on_devices(GraphTask&& task, const BackwardOptions& options);

}  // namespace weft
