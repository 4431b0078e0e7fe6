// How every wait ends, and how every call ends; used by every kernel.
//
// A waiting thread calls Watch::leave() after each poll that found nothing. It reads the SM's clock;
// only when kGate cycles have passed does it look at the device's timer and at the abort word, which
// lies across PCIe (2.3 us a look). Who leaves breaks its loops and goes to finish(); so do all other
// threads that wait for the same, each by its own watch or by the barrier that they share.
#pragma once

#include "memory.cuh"
#include "workspace.h"

namespace ringallreduce {

constexpr uint32_t kGate = 1u << 17;

/// The first to come writes the record. Out of line: it is no part of a loop's registers.
static __device__ __noinline__ void record(Control* to, Header* header, uint32_t rank, Phase phase,
                                           uint32_t peer, uint32_t chunk, uint32_t epoch,
                                           uint32_t expected, uint32_t seen, bool aborted,
                                           uint32_t waited_us) {
  if (atomicCAS(&header->claimed, 0u, 1u) != 0u) return;
  volatile Control* control = to;
  control->rank = rank;
  control->peer = peer;
  control->epoch = epoch;
  control->chunk = chunk;
  control->phase = phase;
  control->expected = expected;
  control->seen = seen;
  control->waited_us = waited_us;
  __threadfence_system();
  control->status = aborted ? 2u : 1u;
}

class Watch {
 public:
  __device__ __forceinline__ explicit Watch(uint32_t epoch) : epoch_(epoch) {}

  __device__ __forceinline__ bool leave(const Args& args, Phase phase, uint32_t peer,
                                        uint64_t chunk, uint32_t expected, uint32_t seen) {
    const auto now = static_cast<uint32_t>(clock());
    if (since_ == 0) {
      since_ = now | 1u;
      return false;
    }
    if (now - since_ < kGate) return false;
    since_ = now | 1u;
    const uint64_t ns = device_ns();
    if (start_ == 0) start_ = ns;
    const bool aborted = load_abort(&args.control->abort) != 0;
    if (!aborted && ns - start_ < args.limit_ns) return false;
    record(args.control, static_cast<Header*>(args.workspaces[args.rank]), args.rank, phase, peer,
           static_cast<uint32_t>(chunk), epoch_, expected, seen, aborted,
           static_cast<uint32_t>((ns - start_) / 1000));
    return true;
  }

  /// A new wait: its time counts from its first look, and a short one never looks.
  __device__ __forceinline__ void restart() {
    since_ = 0;
    start_ = 0;
    jitter();
  }

 private:
  uint32_t epoch_;
  uint32_t since_ = 0;
  uint64_t start_ = 0;
};

/// By all threads at the end of a kernel. The last CTA advances the epoch, which all others have read, and
/// counts `rounds` values of flags as used.
__device__ __forceinline__ void finish(Header* header, uint32_t epoch, uint64_t rounds = 0) {
  __syncthreads();
  if (threadIdx.x != 0) return;
  __threadfence();
  if (atomicAdd(&header->arrived, 1u) != gridDim.x - 1) return;
  header->arrived = 0;
  header->sequence += rounds;
#if WEFT_MUTATION != 5
  header->epoch = epoch;
#endif
}

__device__ __forceinline__ uint32_t bank_of(uint32_t epoch) {
#if WEFT_MUTATION == 6
  return 0;
#else
  return epoch & 1u;
#endif
}

}  // namespace ringallreduce
