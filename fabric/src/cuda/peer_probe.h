// The test of a pair of GPUs: writes a pattern from one into the other's memory, reads it back
// there, and times a few copies. CudaDriver::enable_peer() runs it before it trusts the pair.
//
// Design. Everything is enqueued on streams of the probe's own and ends in events that are polled
// until a deadline. Host memory is pinned: a copy from a GPU to pageable memory blocks the caller
// until it is done, and then no deadline could reach a pair that hangs.
//  - Large buffers first, for the rate; when memory is short, small ones that only prove the path.
//  - A pair that hangs keeps its buffers, stream and events for good: whatever gives memory of a
//    busy GPU back waits for it.
#pragma once

#include <cstdint>

#include "cuda/peer_table.h"
#include "cuda/segment_memory.h"

namespace fabric::cuda {

/// Never longer than about `limit_ms` of waiting.
PeerVerdict probe_peer(SegmentMemory& memory, int from, int to, int64_t limit_ms);

}  // namespace fabric::cuda
