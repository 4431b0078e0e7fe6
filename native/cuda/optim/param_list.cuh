// A list of parameters in one launch: pointers travel by value in the kernel's arguments, and each
// block finds the chunk of the parameter that is its own. Lists longer than a launch takes go in
// several. Used by the optimizer steps, the gradient norm and the clip.
#pragma once

#include <algorithm>

#include "cuda/element.cuh"
#include "cuda/launch.h"

namespace weft::cuda {

inline constexpr int kListLength = 160;  // parameters a launch: 7.5 KiB of arguments
inline constexpr int kParamThreads = 256;
inline constexpr int kParamPack = 4;    // elements that move together
inline constexpr int kParamRounds = 4;  // packs a thread takes one after the other
inline constexpr int64_t kParamChunk = int64_t{kParamThreads} * kParamPack * kParamRounds;

struct ParamEntry {
  void* param;
  const void* grad;
  float *state0, *state1;
  int64_t count;
  uint32_t first_block;  ///< within the launch
  DType dtype;
  bool packs;  ///< every pointer suits packs
};
struct ParamList {
  ParamEntry entry[kListLength];
  int length;
  uint32_t block_offset;  ///< blocks of the launches before
};

#if defined(__CUDACC__)
/// The entry that this block works on: the last whose first block is not behind it.
__device__ __forceinline__ int entry_of_block(const ParamList& list) {
  int low = 0, high = list.length;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (list.entry[middle].first_block <= blockIdx.x) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

/// Calls body(i, present) for elements i .. i + 3 of the block's chunk; present 4, or fewer at the
/// end of the parameter.
template <typename Body>
__device__ __forceinline__ void each_pack(const ParamEntry& p, Body body) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x - p.first_block) * kParamChunk;
#pragma unroll
  for (int r = 0; r < kParamRounds; ++r) {
    const int64_t i = begin + (int64_t{r} * kParamThreads + threadIdx.x) * kParamPack;
    if (i >= p.count) return;
    body(i, p.count - i < kParamPack ? static_cast<int>(p.count - i) : kParamPack);
  }
}

/// Elements i .. of an array in T as lanes, and back. Those that are not present read as 0.
template <typename T, typename L>
__device__ __forceinline__ void read_four(const void* base, int64_t i, bool packs, int present,
                                          L (&x)[kParamPack]) {
  const T* p = static_cast<const T*>(base) + i;
  if (packs && present == kParamPack) {
    if constexpr (sizeof(T) == 8) {  // two accesses
      const auto a = load_pack<2>(p), b = load_pack<2>(p + 2);
      x[0] = convert<L>(a.v[0]), x[1] = convert<L>(a.v[1]);
      x[2] = convert<L>(b.v[0]), x[3] = convert<L>(b.v[1]);
    } else {
      const auto pack = load_pack<kParamPack>(p);
#pragma unroll
      for (int k = 0; k < kParamPack; ++k) x[k] = convert<L>(pack.v[k]);
    }
    return;
  }
#pragma unroll
  for (int k = 0; k < kParamPack; ++k) x[k] = k < present ? convert<L>(p[k]) : L(0);
}
template <typename T, typename L>
__device__ __forceinline__ void write_four(void* base, int64_t i, bool packs, int present,
                                           const L (&x)[kParamPack]) {
  T* p = static_cast<T*>(base) + i;
  if (sizeof(T) < 8 && packs && present == kParamPack) {
    Pack<T, kParamPack> pack;
#pragma unroll
    for (int k = 0; k < kParamPack; ++k) pack.v[k] = convert<T>(x[k]);
    store_pack(p, pack);
    return;
  }
#pragma unroll
  for (int k = 0; k < kParamPack; ++k)
    if (k < present) p[k] = convert<T>(x[k]);
}
#endif

/// Throws DtypeError unless every parameter is floating.
inline void check_params(const OptimParam* params, int count, const char* op) {
  for (int i = 0; i < count; ++i)
    if (!is_floating(params[i].dtype))
      fail(ErrorCode::kDtype, "%s: parameter %d has dtype %s, which is not floating", op, i,
           dtype_name(params[i].dtype));
}

inline uint32_t param_blocks(const OptimParam& p) {
  return static_cast<uint32_t>(ceil_div(p.count, kParamChunk));
}

/// Calls launch(list, blocks) for the parameters that have elements, kListLength at a time.
template <typename Launch>
void for_each_list(const OptimParam* params, int count, Launch&& launch) {
  ParamList list;
  list.length = 0;
  list.block_offset = 0;
  uint32_t blocks = 0;
  auto flush = [&] {
    if (list.length > 0) launch(static_cast<const ParamList&>(list), blocks);
    list.block_offset += blocks;
    list.length = 0;
    blocks = 0;
  };
  for (int i = 0; i < count; ++i) {
    const OptimParam& p = params[i];
    if (p.count == 0) continue;
    const size_t bytes = std::min<size_t>(16, kParamPack * dtype_bytes(p.dtype));
    list.entry[list.length++] = {p.param,
                                 p.grad,
                                 p.state0,
                                 p.state1,
                                 p.count,
                                 blocks,
                                 p.dtype,
                                 is_aligned(p.param, bytes) && is_aligned(p.grad, bytes) &&
                                     is_aligned(p.state0, 16) && is_aligned(p.state1, 16)};
    blocks += param_blocks(p);
    if (list.length == kListLength) flush();
  }
  flush();
}

}  // namespace weft::cuda
