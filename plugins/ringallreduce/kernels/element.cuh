// Elements in packs of 8 or 16 bytes: loads and stores at any 2-byte alignment, and the reduction in
// f32. The caller combines ranks in ascending order, so every rank and size gives the same bits.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "memory.cuh"
#include "workspace.h"

namespace ringallreduce {

template <typename T>
__device__ __forceinline__ void widen(uint32_t word, float* to) {
  if constexpr (sizeof(T) == 4) {
    to[0] = __uint_as_float(word);
  } else {
    const auto low = static_cast<uint16_t>(word), high = static_cast<uint16_t>(word >> 16);
    if constexpr (std::is_same_v<T, __half>) {
      to[0] = __half2float(__ushort_as_half(low));
      to[1] = __half2float(__ushort_as_half(high));
    } else {
      to[0] = __bfloat162float(__ushort_as_bfloat16(low));
      to[1] = __bfloat162float(__ushort_as_bfloat16(high));
    }
  }
}

template <typename T>
__device__ __forceinline__ uint32_t narrow(const float* from) {
  if constexpr (sizeof(T) == 4) {
    return __float_as_uint(from[0]);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __half_as_ushort(__float2half_rn(from[0])) |
           static_cast<uint32_t>(__half_as_ushort(__float2half_rn(from[1]))) << 16;
  } else {
    return __bfloat16_as_ushort(__float2bfloat16_rn(from[0])) |
           static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(from[1]))) << 16;
  }
}

template <bool kAnyOp>
__device__ __forceinline__ float combine(Op op, float a, float b) {
  if constexpr (kAnyOp) {
    if (op == Op::kMax) return (a != a || a > b) ? a : b;
    if (op == Op::kMin) return (a != a || a < b) ? a : b;
    if (op == Op::kProd) return __fmul_rn(a, b);
  }
  return __fadd_rn(a, b);
}

/// The running result of one pack of kWords 32-bit words.
template <typename T, int kWords, bool kAnyOp>
struct Sum {
  static constexpr int kPerWord = 4 / sizeof(T);
  float value[kWords * kPerWord];

  __device__ __forceinline__ void take(Op op, bool first, const uint32_t (&words)[kWords]) {
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      float v[kPerWord];
      widen<T>(words[w], v);
#pragma unroll
      for (int i = 0; i < kPerWord; ++i) {
        float& sum = value[w * kPerWord + i];
        sum = first ? v[i] : combine<kAnyOp>(op, sum, v[i]);
      }
    }
  }

  /// `scale` is 1 but for averages; times 1 changes no bits.
  __device__ __forceinline__ void give(float scale, uint32_t (&words)[kWords]) const {
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      float v[kPerWord];
#pragma unroll
      for (int i = 0; i < kPerWord; ++i) v[i] = __fmul_rn(value[w * kPerWord + i], scale);
      words[w] = narrow<T>(v);
    }
  }
};

__device__ __forceinline__ float scale_of(const Args& args) {
  return args.op == Op::kAvg ? 1.0f / static_cast<float>(args.ranks) : 1.0f;
}

/// 16 bytes at any 2-byte alignment and at the end of a buffer, of which `bytes` are left at `at`.
/// Out of line: the fast path must not pay registers for it.
static __device__ __noinline__ uint4 load_halves(const char* at, int64_t bytes) {
  uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
  for (int h = 0; h < 8; ++h) {
    if (h * 2 < bytes) {
      words[h / 2] |= static_cast<uint32_t>(*reinterpret_cast<const uint16_t*>(at + h * 2))
                      << (h % 2 * 16);
    }
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

static __device__ __noinline__ void store_halves(char* at, int64_t bytes, uint4 v) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int h = 0; h < 8; ++h) {
    if (h * 2 < bytes) {
      *reinterpret_cast<uint16_t*>(at + h * 2) =
          static_cast<uint16_t>(words[h / 2] >> (h % 2 * 16));
    }
  }
}

/// A user's buffer of `bytes` bytes, seen as packs of 16 (or 8) at byte offsets that are multiples of
/// their size. Past its end: zeros are loaded, nothing is stored.
struct Span {
  char* base;
  uint64_t bytes;
  bool aligned;  // base is a multiple of 16

  __device__ __forceinline__ Span(const void* at, uint64_t length)
      : base(static_cast<char*>(const_cast<void*>(at))),
        bytes(length),
        aligned((reinterpret_cast<uintptr_t>(at) & 15u) == 0) {}

  template <int kWords>
  __device__ __forceinline__ void load(uint64_t offset, uint32_t (&words)[kWords]) const {
    uint4 v = make_uint4(0, 0, 0, 0);
    if (aligned && offset + kWords * 4 <= bytes) {
      if constexpr (kWords == 4) {
        v = load_plain(base + offset);
      } else {
        const uint2 pair = *reinterpret_cast<const uint2*>(base + offset);
        v.x = pair.x, v.y = pair.y;
      }
    } else if (offset < bytes) {
      v = load_halves(base + offset, left(offset, kWords * 4));
    }
    words[0] = v.x, words[1] = v.y;
    if constexpr (kWords == 4) words[2] = v.z, words[3] = v.w;
  }

  /// 16 bytes by value.
  __device__ __forceinline__ uint4 pack(uint64_t offset) const {
    if (aligned && offset + 16 <= bytes) return load_plain(base + offset);
    if (offset >= bytes) return make_uint4(0, 0, 0, 0);
    return load_halves(base + offset, left(offset, 16));
  }

  template <int kWords>
  __device__ __forceinline__ void store(uint64_t offset, const uint32_t (&words)[kWords]) const {
    uint4 v = make_uint4(words[0], words[1], 0, 0);
    if constexpr (kWords == 4) v.z = words[2], v.w = words[3];
    if (aligned && offset + kWords * 4 <= bytes) {
      if constexpr (kWords == 4) {
        store_plain(base + offset, v);
      } else {
        *reinterpret_cast<uint2*>(base + offset) = make_uint2(v.x, v.y);
      }
    } else if (offset < bytes) {
      store_halves(base + offset, left(offset, kWords * 4), v);
    }
  }

 private:
  __device__ __forceinline__ int64_t left(uint64_t offset, uint64_t most) const {
    return static_cast<int64_t>(bytes - offset < most ? bytes - offset : most);
  }
};

}  // namespace ringallreduce
