// What the warps of a ring CTA share: tiles in shared memory with their barriers, counters, and the
// order of the work. Used by ring.cu, whose head tells who does what.
#pragma once

#include <cutlass/arch/barrier.h>

#include <cute/arch/copy_sm90_tma.hpp>

#include "call.cuh"
#include "chunks.cuh"

namespace ringallreduce {

using cutlass::arch::ClusterBarrier;
using cutlass::arch::ClusterTransactionBarrier;

constexpr uint32_t kMostStages = 16;
constexpr uint32_t kAdders = 256;  // threads

/// Counters that one thread of the CTA writes and another reads.
struct Counters {
  uint32_t arrived;   // tiles in the inbox
  uint32_t credit;    // tiles of mine that the next rank has taken in
  uint32_t consumed;  // tiles of the inbox that are in shared memory
  uint32_t stored;    // tiles that are in the next rank's inbox
  uint32_t finished;  // 1: all stores are complete
  uint32_t left;      // 1: everyone leaves
};

/// What lies in a stage: the load warp writes it, whoever waited for the stage reads it.
struct Item {
  uint64_t offset;  // in the users' buffers
  uint32_t packs;   // 0: no items follow
  uint32_t bytes;   // of them that bulk copies of users' buffers move
  uint32_t step;
};

struct Pipe {
  Item items[kMostStages];
  uint64_t full_own[kMostStages];
  uint64_t summed[kMostStages];
  uint64_t empty_own[kMostStages];
  uint64_t full_inbox[kMostStages / 2];
  uint64_t empty_inbox[kMostStages / 2];
  Counters counters;
};

__device__ __forceinline__ uint32_t load_counter(const uint32_t* at) {
  uint32_t value;
  asm volatile("ld.acquire.cta.shared.u32 %0, [%1];"
               : "=r"(value)
               : "r"(cute::cast_smem_ptr_to_uint(at))
               : "memory");
  return value;
}

__device__ __forceinline__ void store_counter(uint32_t* at, uint32_t value) {
  asm volatile("st.release.cta.shared.u32 [%0], %1;" ::"r"(cute::cast_smem_ptr_to_uint(at)),
               "r"(value)
               : "memory");
}

/// Between what a thread acquired and bulk copies that it starts, and the other way round.
__device__ __forceinline__ void proxy_fence() { asm volatile("fence.proxy.async;" ::: "memory"); }

/// Full completion, of all but the latest kPending groups: their writes are visible to this thread.
template <int kPending>
__device__ __forceinline__ void wait_stores() {
#if WEFT_MUTATION == 3
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
#else
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

/// False: everyone leaves.
__device__ __forceinline__ bool wait_barrier(Pipe& pipe, const uint64_t* barrier, uint32_t phase) {
  while (!ClusterBarrier::try_wait(barrier, phase)) {
    if (load_counter(&pipe.counters.left) != 0) return false;
  }
  return true;
}

/// Until the counter is above `value`; false: everyone leaves.
__device__ __forceinline__ bool wait_counter(Pipe& pipe, const uint32_t* counter, uint32_t value,
                                             uint32_t& seen) {
  while ((seen = load_counter(counter)) <= value) {
    if (load_counter(&pipe.counters.left) != 0) return false;
  }
  return true;
}

/// Tiles of the inbox that a CTA takes: those of all slices but its rank's own.
__device__ __forceinline__ uint32_t tiles_to_take(const Args& args, const Chunks& chunks) {
  uint32_t sum = 0;
  for (uint32_t slice = 0; slice < args.ranks; ++slice) {
    const uint64_t begin = slice * chunks.slice_packs;
    if (slice == args.rank || begin >= chunks.packs) continue;
    const uint64_t left = chunks.packs - begin;
    const uint64_t packs = left < chunks.slice_packs ? left : chunks.slice_packs;
    const uint64_t tiles = (packs + chunks.chunk_packs - 1) / chunks.chunk_packs;
    if (tiles > blockIdx.x) sum += (tiles - blockIdx.x + gridDim.x - 1) / gridDim.x;
  }
  return sum;
}

/// The items of a CTA in the order in which every rank does them; only the load warp walks, since it is
/// some hundred cycles an item. Step t of a rank works on slice
/// rank - t: step 0 sends its own input, the last step has all inputs. In wave w a rank does step t of
/// its tile w - t * lag, the last step first.
class Walk {
 public:
  __device__ __forceinline__ Walk(const Args& args, const Chunks& chunks)
      : chunks_(chunks), rank_(args.rank), ranks_(args.ranks), lag_(args.lag) {
    if (chunks.chunks > blockIdx.x) {
      mine_ = static_cast<uint32_t>((chunks.chunks - blockIdx.x + gridDim.x - 1) / gridDim.x);
    }
    waves_ = mine_ == 0 ? 0 : mine_ + (ranks_ - 1) * lag_;
  }

  /// The next item; false after the last.
  __device__ __forceinline__ bool next() {
    while (true) {
      if (step == 0) {
        if (wave_ == waves_) return false;
        ++wave_;
        step = ranks_;
      }
      --step;
      const uint32_t back = step * lag_ + 1;  // wave_ counts from 1
      if (wave_ < back || wave_ - back >= mine_) continue;
      slice = step > rank_ ? rank_ + ranks_ - step : rank_ - step;
      chunk = blockIdx.x + uint64_t{wave_ - back} * gridDim.x;
      packs = chunks_.length(slice, chunk);
      if (packs != 0) return true;
    }
  }
  __device__ __forceinline__ uint64_t offset() const { return chunks_.first(slice, chunk) * 16; }

  uint32_t step = 0, slice = 0, packs = 0;
  uint64_t chunk = 0;

 private:
  const Chunks& chunks_;
  uint32_t rank_, ranks_, lag_, mine_ = 0, waves_ = 0, wave_ = 0;
};

/// A stage in a ring of them, and its barriers' phase.
struct Stage {
  uint32_t count, index = 0, phase = 0;
  __device__ __forceinline__ explicit Stage(uint32_t n) : count(n) {}
  __device__ __forceinline__ void advance() {
    if (++index == count) index = 0, phase ^= 1;
  }
};

}  // namespace ringallreduce
