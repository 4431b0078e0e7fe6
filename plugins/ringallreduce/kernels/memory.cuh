// Accesses that the protocols are made of, each named by what it promises; used by every kernel.
// WEFT_MUTATION=n breaks one of them, for tests that must then fail:
//   1 a flag is set without release       2 a flag is released to its own GPU alone
//   3 bulk stores count as complete once they have read their source
//   4 the wait for results is left out    5 the epoch does not advance    6 banks do not alternate
// WEFT_JITTER=1 lets threads dawdle between the steps of a protocol, so that what is out of order shows.
#pragma once

#include <cstdint>

#ifndef WEFT_MUTATION
#define WEFT_MUTATION 0
#endif
#ifndef WEFT_JITTER
#define WEFT_JITTER 0
#endif

namespace ringallreduce {

/// Up to some 10 us, now and then; nothing where WEFT_JITTER is 0.
__device__ __forceinline__ void jitter() {
#if WEFT_JITTER
  const auto begin = static_cast<uint32_t>(clock());
  uint32_t mix =
      (begin ^ (blockIdx.x * 0x9e3779b9u) ^ (threadIdx.x / 32 * 0x85ebca6bu)) * 0xc2b2ae35u;
  mix ^= mix >> 15;
  if (mix % 8 != 0) return;
  const uint32_t cycles = mix >> 18;
  while (static_cast<uint32_t>(clock()) - begin < cycles) {
  }
#endif
}

/// Two 64-bit words, each one access by PTX; in no order between each other.
__device__ __forceinline__ void store_words(void* at, uint64_t low, uint64_t high) {
  asm volatile("st.relaxed.sys.global.v2.b64 [%0], {%1, %2};" ::"l"(at), "l"(low), "l"(high)
               : "memory");
}

__device__ __forceinline__ void load_words(const void* at, uint64_t& low, uint64_t& high) {
  asm volatile("ld.relaxed.sys.global.v2.b64 {%0, %1}, [%2];"
               : "=l"(low), "=l"(high)
               : "l"(at)
               : "memory");
}

/// 16 bytes of a line.
__device__ __forceinline__ void store_line(void* at, uint4 v) {
  asm volatile("st.relaxed.sys.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(at), "r"(v.x), "r"(v.y),
               "r"(v.z), "r"(v.w)
               : "memory");
}

__device__ __forceinline__ uint4 load_line(const void* at) {
  uint4 v;
  asm volatile("ld.relaxed.sys.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(at)
               : "memory");
  return v;
}

/// Payload that flags order.
__device__ __forceinline__ uint4 load_plain(const void* at) {
  uint4 v;
  asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(at)
               : "memory");
  return v;
}

__device__ __forceinline__ void store_plain(void* at, uint4 v) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(at), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}

/// All that this thread, and through a CTA barrier its CTA, wrote and read comes before the flag.
__device__ __forceinline__ void release_flag(uint64_t* flag, uint64_t value) {
#if WEFT_MUTATION == 1
  asm volatile("st.relaxed.sys.global.b64 [%0], %1;" ::"l"(flag), "l"(value) : "memory");
#elif WEFT_MUTATION == 2
  asm volatile("st.release.gpu.global.b64 [%0], %1;" ::"l"(flag), "l"(value) : "memory");
#else
  asm volatile("st.release.sys.global.b64 [%0], %1;" ::"l"(flag), "l"(value) : "memory");
#endif
}

__device__ __forceinline__ uint64_t load_flag(const uint64_t* flag) {
  uint64_t value;
  asm volatile("ld.relaxed.sys.global.b64 %0, [%1];" : "=l"(value) : "l"(flag) : "memory");
  return value;
}

/// For one look at a flag that a relaxed load found set: cheaper than a fence, which waits for stores.
__device__ __forceinline__ uint64_t acquire_flag(const uint64_t* flag) {
  uint64_t value;
  asm volatile("ld.acquire.sys.global.b64 %0, [%1];" : "=l"(value) : "l"(flag) : "memory");
  return value;
}

__device__ __forceinline__ uint32_t load_abort(const uint32_t* word) {
  uint32_t value;
  asm volatile("ld.relaxed.sys.global.b32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
}

/// Once after a polling loop: makes its last load an acquire.
__device__ __forceinline__ void acquire_fence() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }

__device__ __forceinline__ uint64_t device_ns() {
  uint64_t ns;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
  return ns;
}

/// Barrier of `threads` threads of the CTA under a number of its own; true for all when one gave it.
__device__ __forceinline__ bool barrier_any(uint32_t id, uint32_t threads, bool mine) {
  uint32_t any;
  asm volatile(
      "{\n.reg .pred p, q;\nsetp.ne.u32 p, %3, 0;\nbarrier.cta.red.or.pred q, %1, %2, p;\n"
      "selp.u32 %0, 1, 0, q;\n}"
      : "=r"(any)
      : "r"(id), "r"(threads), "r"(static_cast<uint32_t>(mine))
      : "memory");
  return any != 0;
}

__device__ __forceinline__ void barrier(uint32_t id, uint32_t threads) {
  asm volatile("barrier.cta.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace ringallreduce
