// What long checks put into buffers and look for on the device: small whole numbers, so that sums are
// exact in every type. Used by soak.cu and huge.cu.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "rig.h"

namespace rig {

/// 0 to 15, by rank and place.
__host__ __device__ inline uint32_t whole(uint64_t place, uint32_t rank) {
  uint64_t mix = (place + 1) * 0x9e3779b97f4a7c15ull + rank * 0xd1b54a32d192ed03ull;
  mix ^= mix >> 29;
  mix *= 0xbf58476d1ce4e5b9ull;
  return static_cast<uint32_t>(mix >> 60);
}

template <typename T>
__global__ void fill_whole(T* to, uint64_t count, uint32_t rank) {
  const uint64_t stride = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    to[i] = T(static_cast<float>(whole(i, rank)));
  }
}

/// Counts places whose value is not that of `rank`, or of the sum of ranks 0 to `ranks` - 1 when that is
/// not 0; `from[i]` stands for place `first` + i.
template <typename T>
__global__ void count_wrong(const T* from, uint64_t count, uint64_t first, uint32_t rank, uint32_t ranks,
                            unsigned long long* wrong) {
  const uint64_t stride = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    uint32_t want = ranks == 0 ? whole(first + i, rank) : 0;
    for (uint32_t r = 0; r < ranks; ++r) want += whole(first + i, r);
    if (static_cast<float>(from[i]) != static_cast<float>(want)) atomicAdd(wrong, 1ull);
  }
}

/// A counter that the device writes and the host reads after the stream.
class Counter {
 public:
  Counter() {
    RIG_CHECK(cudaHostAlloc(&value_, sizeof *value_, cudaHostAllocPortable | cudaHostAllocMapped));
    *value_ = 0;
  }
  ~Counter() { cudaFreeHost(value_); }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;
  unsigned long long* get() const { return value_; }
  unsigned long long take() const {
    const unsigned long long value = *value_;
    *value_ = 0;
    return value;
  }

 private:
  unsigned long long* value_ = nullptr;
};

}  // namespace rig
