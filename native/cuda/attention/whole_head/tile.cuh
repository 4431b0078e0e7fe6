// Attention of short sequences with narrow heads: a block takes a head whole, so that its operands are
// read once. Chosen by dispatch.cu for at most 128 queries and keys of width at most 32; instantiated by
// {bf16,f16,tf32}.cu.
//
// A block has a warp for each 16 rows. Forward, a warp holds all scores of its queries. Backward, it first
// walks over the keys and sums the gradient of its 16 queries, then over the queries for those of its 16 keys,
// making the weights a second time from the log-sum-exp: cheaper than passing (queries, keys) through shared memory.
// 16-bit operands: as many blocks as fit, which take heads in turn and load the next head while they compute. f32 has
// no room for two heads: a block a head. Each sum has one owner and one order.
#pragma once

#include "cuda/attention/tile.cuh"

namespace weft::cuda::attention::whole_head {

inline constexpr int kWidth = 32;
template <typename T>
inline constexpr int kBuffers = sizeof(T) == 2 ? 2 : 1;  // heads in shared memory

/// Begins to load a head, as load_tile() does, by all threads of the block.
template <typename T, int kLength>
__device__ void load(T* tile, const T* head, int64_t row_stride, int length, int width,
                     bool aligned) {
  constexpr int kChunk = 16 / sizeof(T), kChunks = kWidth / kChunk;
  int thread = threadIdx.x;
  asm volatile("" : "+r"(thread));  // places are reckoned for each head, not held in registers
#pragma unroll
  for (int i = thread; i < kLength * kChunks; i += 2 * kLength) {
    const int r = i / kChunks, c = i % kChunks * kChunk;
    T* to = tile + r * kPitch<T, kWidth> + c;
    const bool inside = r < length && c < width;
    const T* from = head + r * row_stride + c;
    if (aligned) {
      copy_async(to, inside ? from : head, inside);
    } else {
      for (int e = 0; e < kChunk; ++e)
        to[e] = inside && c + e < width ? from[e] : static_cast<T>(0.0f);
    }
  }
}

/// A warp's 16 rows of a tile, as the left operand of products over the width: in registers, f32 in the tile.
template <typename T>
struct Rows {
  static constexpr int kSteps = kWidth / Mma<T>::kDepth;
  static constexpr bool kHeld = sizeof(T) == 2;
  const T* tile;
  int row0;
  uint32_t a[kHeld ? kSteps : 1][4];

  __device__ void read(uint32_t (&to)[4], int step) const {
    Mma<T>::load_left(to, tile, kPitch<T, kWidth>, row0, step * Mma<T>::kDepth);
  }
  __device__ Rows(const T* of, int first) : tile(of), row0(first) {
    if constexpr (kHeld) {
#pragma unroll
      for (int s = 0; s < kSteps; ++s) read(a[s], s);
    }
  }
  /// sums (16, 16) += these · rows n0..+15 of `right`, transposed.
  __device__ void multiply(float (*sums)[4], const T* right, int n0) const {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      uint32_t read_now[4], b[2][2];
      if constexpr (!kHeld) read(read_now, s);
      const uint32_t(&left)[4] = *(kHeld ? &a[kHeld ? s : 0] : &read_now);
      Mma<T>::load_right_rows(b, right, kPitch<T, kWidth>, n0, s * Mma<T>::kDepth);
      Mma<T>::multiply(sums[0], left, b[0]);
      Mma<T>::multiply(sums[1], left, b[1]);
    }
  }
};

/// sums (16, kWidth) += weights (16, 16) · rows k0..+15 of `right`.
template <typename T>
__device__ void weigh(float (&sums)[kWidth / 8][4], const float (&weights)[2][4], const T* right,
                      int k0) {
  multiply_columns<T, kWidth, 16>(sums, weights, right + k0 * kPitch<T, kWidth>);
}

template <typename T, int kLength, typename Memory, typename Kernel>
void start(Kernel kernel, int blocks, const AttentionLaunch& launch, const char* name) {
  constexpr size_t shared = sizeof(Memory) * kBuffers<T>;
  fabric::cuda::check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(shared)),
                      name);
  const int64_t heads = launch.args.batch * launch.args.heads;
  const int64_t room = int64_t{blocks} * launch.multiprocessors;
  const auto grid = static_cast<unsigned>(kBuffers<T> == 2 && room < heads ? room : heads);
  kernel<<<grid, 2 * kLength, shared, launch.stream>>>(launch);
  fabric::cuda::check_launch(name);
}

inline int64_t longest(const AttentionArgs& args) {
  return args.q_len > args.kv_len ? args.q_len : args.kv_len;
}

}  // namespace weft::cuda::attention::whole_head
