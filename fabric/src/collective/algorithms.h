// The built-in algorithms and the choice among all that are registered. collective/registry.cc owns
// the table; group.cc asks for the algorithm of a call; the copy algorithms are defined in
// their files.
#pragma once

#include <cstdint>
#include <vector>

#include "fabric/algorithm.h"

namespace fabric {

/// Push around a ring, any size; ring order.
Algorithm copy_ring_algorithm();
/// Every rank fetches all inputs and combines them in rank order; small sizes and barriers.
Algorithm copy_oneshot_algorithm();
/// Every rank fetches its blocks from whoever has them: gather, scatter, all-to-all, send-receive.
Algorithm copy_direct_algorithm();

/// Largest payload of a rank (its longer buffer) for which the table takes copy-oneshot: an all-reduce
/// and a reduce-scatter of one buffer then have the same bits.
inline constexpr uint64_t kOneshotBytes = 64 << 10;

/// Bounds the operations of a call, whatever its size.
inline constexpr uint64_t kMostBatches = 4;

/// How copy-ring cuts large payloads. Read at launch; set it only while nothing is launched.
struct RingTuning {
  /// Of a payload: a longer one is cut in batches, at most kMostBatches. Inboxes hold at most two.
  uint64_t batch_bytes = 256u << 20;
  uint64_t piece_bytes = 4u << 20;  ///< no piece of a chunk is cut smaller than this
  /// Of a chunk. While one is combined the next travels; more only add the gaps between copies.
  uint64_t max_pieces = 2;
  uint64_t overlap_bytes = 1u << 20;  ///< chunks from here on are sent on the copy-out streams
};
RingTuning& ring_tuning();

/// What the table starts with.
std::vector<Algorithm> built_in_algorithms();

struct Chosen {
  AlgorithmPtr algorithm;
  uint64_t place = 0;  ///< in algorithms()
};
/// The algorithm for a call. Throws Error(kUsage) when none can do it, for example an average of
/// integers.
Chosen choose_algorithm(const CallShape& shape);

/// How often an algorithm was unregistered so far.
uint64_t unregistrations();

/// What the last hop multiplies by.
inline double last_scale(ReduceOp op, size_t ranks) {
  return op == ReduceOp::kAvg ? 1.0 / static_cast<double>(ranks) : 1.0;
}

}  // namespace fabric
