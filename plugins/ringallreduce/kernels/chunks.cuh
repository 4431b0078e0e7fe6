// How a payload is cut in slices, one a rank, and slices in chunks; all ranks compute the same. Used by
// the kernels that stream: twoshot_chunks.cu, gather_chunks.cu, ring.cu.
#pragma once

#include <cstdint>

namespace ringallreduce {

struct Chunks {
  uint64_t packs;        // of the payload: 16 bytes each
  uint64_t slice_packs;  // a multiple of 8; 0: every slice is a buffer
  uint32_t chunk_packs;
  uint64_t chunks;  // of the longest slice

  __device__ __forceinline__ Chunks(uint64_t bytes, uint32_t ranks, uint32_t chunk_bytes) {
    packs = (bytes + 15) / 16;
    slice_packs = ((packs + ranks - 1) / ranks + 7) / 8 * 8;
    chunk_packs = chunk_bytes / 16;
    const uint64_t longest = slice_packs < packs ? slice_packs : packs;
    chunks = (longest + chunk_packs - 1) / chunk_packs;
  }
  /// Slices that are buffers of `bytes` of their own: first() counts from each one's start.
  __device__ __forceinline__ Chunks(uint64_t bytes, uint32_t chunk_bytes) {
    packs = (bytes + 15) / 16;
    slice_packs = 0;
    chunk_packs = chunk_bytes / 16;
    chunks = (packs + chunk_packs - 1) / chunk_packs;
  }
  __device__ __forceinline__ uint64_t first(uint32_t slice, uint64_t chunk) const {
    return slice * slice_packs + chunk * chunk_packs;
  }
  /// Packs of the chunk, 0 where the slice has none there.
  __device__ __forceinline__ uint32_t length(uint32_t slice, uint64_t chunk) const {
    const uint64_t begin = first(slice, chunk), end = (slice + 1) * slice_packs;
    const uint64_t limit = slice_packs != 0 && end < packs ? end : packs;
    if (begin >= limit) return 0;
    return static_cast<uint32_t>(limit - begin < chunk_packs ? limit - begin : chunk_packs);
  }
};

}  // namespace ringallreduce
