// A copy by loads and stores of a kernel, for the test of a pair of GPUs: what a kernel that reaches
// into a peer's memory sees. CudaDriver::copy_by_kernel() launches it.
#include <cstdint>

#include "cuda/cuda_driver.h"
#include "fabric/cuda_launch.h"

namespace fabric::cuda {
namespace {

constexpr unsigned kThreads = 512;
constexpr size_t kMostBlocks = 264;  // two a processor of the largest parts; enough to fill a link

/// Volatile-like accesses that no cache of this GPU answers: a peer's bytes are read where they lie.
__global__ void peer_copy_kernel(unsigned char* dst, const unsigned char* src, size_t bytes,
                                 bool vectors) {
  const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
  const size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  size_t done = 0;
  if (vectors) {
    const size_t packs = bytes / 16;
    for (size_t p = first; p < packs; p += step) {
      __stcg(reinterpret_cast<uint4*>(dst) + p, __ldcv(reinterpret_cast<const uint4*>(src) + p));
    }
    done = packs * 16;
  }
  for (size_t i = done + first; i < bytes; i += step) dst[i] = __ldcv(src + i);
}

}  // namespace

void launch_peer_copy(void* dst, const void* src, size_t bytes, cudaStream_t stream) {
  const bool vectors =
      (reinterpret_cast<uintptr_t>(dst) | reinterpret_cast<uintptr_t>(src)) % 16 == 0;
  const size_t items = vectors ? bytes / 16 + 1 : bytes;
  size_t blocks = (items + kThreads - 1) / kThreads;
  if (blocks > kMostBlocks) blocks = kMostBlocks;
  peer_copy_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      static_cast<unsigned char*>(dst), static_cast<const unsigned char*>(src), bytes, vectors);
  check_launch("peer copy");
}

}  // namespace fabric::cuda
