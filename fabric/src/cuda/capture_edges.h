// Keeps the edges of a captured stream few. Called by the driver behind each wait of a captured stream.
//
// A stream that only waits, as a compute stream does between collectives, gathers a dependency at every
// wait and hands all of them to the next node: edges grow with the square of the calls, and each costs
// time at every replay. Here those go that another one implies.
#pragma once

#include <cuda_runtime_api.h>

namespace fabric::cuda {

/// Drops dependencies of `stream`, which is being captured, that come before others of them by full
/// edges. Looks at a bounded number of nodes: what it does not find stays, which is never wrong.
void drop_implied_dependencies(cudaStream_t stream);

}  // namespace fabric::cuda
