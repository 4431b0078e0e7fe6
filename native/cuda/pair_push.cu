// See cuda/pair_push.h.
//
// Order. push_by_tma: a tile's load completes on its mbarrier; the store that reads the tile is
// committed as a group; a tile is loaded anew when all groups but the newest have been read from
// (wait_group.read 1), and the kernel ends when all stores are complete (wait_group 0). Only one
// thread of a CTA works, so nothing else orders them. ping_pong: a flag is a release store of system
// scope to the peer's memory and an acquire load of one's own; flags count up, so none is missed.
// What breaks it: an end that is never launched; the other then leaves at its limit.
#include "cuda/launch.h"
#include "cuda/pair_push.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kStages = 4;
constexpr uint32_t kTileBytes = 16u << 10;

__global__ void __launch_bounds__(kThreads)
    stores_kernel(uint4* __restrict__ dst, const uint4* __restrict__ src, size_t packs) {
  const size_t step = static_cast<size_t>(gridDim.x) * kThreads;
  size_t at = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  for (; at + 3 * step < packs; at += 4 * step) {
    uint4 held[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) held[i] = __ldcs(src + at + i * step);
#pragma unroll
    for (int i = 0; i < 4; ++i) dst[at + i * step] = held[i];
  }
  for (; at < packs; at += step) dst[at] = src[at];
}

__device__ uint32_t shared_address(const void* place) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(place));
}

__device__ void load_tile(char* tile, const char* src, uint32_t bytes, uint64_t* full) {
  const uint32_t barrier = shared_address(full);
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(tile)),
      "l"(src), "r"(bytes), "r"(barrier)
      : "memory");
}

__device__ void wait_tile(uint64_t* full, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{\n\t.reg .pred p;\n\t"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
        "selp.u32 %0, 1, 0, p;\n\t}"
        : "=r"(done)
        : "r"(shared_address(full)), "r"(parity)
        : "memory");
  }
}

__device__ void store_tile(char* dst, const char* tile, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(dst),
               "r"(shared_address(tile)), "r"(bytes)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

__global__ void tma_kernel(char* dst, const char* src, size_t bytes) {
  extern __shared__ __align__(128) char tiles[];
  __shared__ __align__(8) uint64_t full[kStages];
  if (threadIdx.x != 0) return;
  for (uint64_t& barrier : full) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(&barrier))
                 : "memory");
  }
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  const size_t all = (bytes + kTileBytes - 1) / kTileBytes;
  const size_t own = all > blockIdx.x ? (all - blockIdx.x + gridDim.x - 1) / gridDim.x : 0;
  const auto place = [&](size_t i) { return (blockIdx.x + i * gridDim.x) * size_t{kTileBytes}; };
  const auto length = [&](size_t i) {
    const size_t left = bytes - place(i);
    return left < kTileBytes ? static_cast<uint32_t>(left) : kTileBytes;
  };
  const auto load = [&](size_t i) {
    const size_t stage = i % kStages;
    load_tile(tiles + stage * kTileBytes, src + place(i), length(i), &full[stage]);
  };
  for (size_t i = 0; i < kStages - 1 && i < own; ++i) load(i);
  for (size_t i = 0; i < own; ++i) {
    const size_t stage = i % kStages;
    wait_tile(&full[stage], static_cast<uint32_t>(i / kStages % 2));
    store_tile(dst + place(i), tiles + stage * kTileBytes, length(i));
    const size_t next = i + kStages - 1;
    if (next >= own) continue;
    asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
    load(next);
  }
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

__device__ uint64_t now_ns() {
  uint64_t ns;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns));
  return ns;
}

__global__ void ping_kernel(uint64_t* own, uint64_t* peer, bool first, int rounds,
                            uint64_t limit_ns, PingResult* result) {
  const uint64_t begun = now_ns();
  uint64_t start = begun;
  uint64_t done = 0;
  const auto send = [&](uint64_t flag) {
    asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(peer), "l"(flag) : "memory");
  };
  const auto arrived = [&](uint64_t flag) {
    for (unsigned polls = 1;; ++polls) {
      uint64_t seen;
      asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(seen) : "l"(own) : "memory");
      if (seen >= flag) return true;
      if (polls % 1024 == 0 && now_ns() - begun > limit_ns) return false;
    }
  };
  for (int i = 1; i <= rounds; ++i) {
    if (first) send(i);
    if (!arrived(i)) break;
    if (!first) send(i);
    if (i == 1) {
      start = now_ns();  // both ends run now
    } else {
      ++done;
    }
  }
  result->ns = now_ns() - start;
  result->rounds = done;
}

}  // namespace

void push_by_stores(void* dst, const void* src, size_t bytes, int ctas, Stream& stream) {
  stores_kernel<<<static_cast<unsigned>(ctas), kThreads, 0, enter(stream)>>>(
      static_cast<uint4*>(dst), static_cast<const uint4*>(src), bytes / 16);
  check_launch("a push by stores");
}

void push_by_tma(void* dst, const void* src, size_t bytes, int ctas, Stream& stream) {
  constexpr int kShared = kStages * static_cast<int>(kTileBytes);
  const cudaStream_t on = enter(stream);
  const cudaError_t status =
      cudaFuncSetAttribute(tma_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  if (status != cudaSuccess) {
    fail(ErrorCode::kCuda, "%d bytes of shared memory for a bulk push: %s", kShared,
         cudaGetErrorString(status));
  }
  tma_kernel<<<static_cast<unsigned>(ctas), 32, kShared, on>>>(
      static_cast<char*>(dst), static_cast<const char*>(src), bytes);
  check_launch("a bulk push");
}

void ping_pong(uint64_t* own_flag, uint64_t* peer_flag, bool first, int rounds, int limit_ms,
               PingResult* result, Stream& stream) {
  ping_kernel<<<1, 1, 0, enter(stream)>>>(own_flag, peer_flag, first, rounds,
                                          static_cast<uint64_t>(limit_ms) * 1'000'000, result);
  check_launch("a ping-pong");
}

}  // namespace weft::cuda
