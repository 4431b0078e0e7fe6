// Kernels that move bytes to a peer, by a given number of CTAs, and the round trip of a flag: what
// `weft bench p2p` measures beside the copy engine. native/bench/pair_bench.cc launches them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"

namespace weft::cuda {

/// Stores of 16 bytes, four in flight a thread. `bytes` and both addresses are multiples of 16.
void push_by_stores(void* dst, const void* src, size_t bytes, int ctas, Stream& stream);
/// Bulk copies through shared memory (cp.async.bulk), four tiles in flight a CTA. As above.
void push_by_tma(void* dst, const void* src, size_t bytes, int ctas, Stream& stream);

/// What one end of a ping-pong found, in its device's memory.
struct PingResult {
  uint64_t ns = 0;      ///< from the first to the last flag
  uint64_t rounds = 0;  ///< that came back; fewer than asked for: the other end did not answer
};
/// One end: `first` sends, the other answers, `rounds` times, 8 bytes each way. Both must be
/// launched. Leaves after `limit_ms`. The flags start at 0.
void ping_pong(uint64_t* own_flag, uint64_t* peer_flag, bool first, int rounds, int limit_ms,
               PingResult* result, Stream& stream);

}  // namespace weft::cuda
