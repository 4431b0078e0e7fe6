// What the kernels of attention on Hopper have in common: how a block's warps divide the work and
// its registers, which rows it takes, and how it is launched. Used by sm90/{forward,backward}.cuh.
//
// A block has kGroups warpgroups that multiply, each on 64 rows of its own, and a producer that
// brings tiles. Where one block fills a multiprocessor the producer is a warpgroup too, since
// registers change hands by warpgroups; else it is one warp.
#pragma once

#include "cuda/attention/sm90/tensor_map.h"
#include "cuda/attention/sm90/tile.cuh"
#include "fabric/cuda_launch.h"

namespace weft::cuda::attention::sm90 {

template <int kGroupCount, int kBlocksEach>
struct Roles {
  static constexpr int kGroups = kGroupCount;
  static constexpr int kBlocks = kBlocksEach;  // at once on a multiprocessor
  static constexpr bool kTrades = kBlocks == 1;
  static constexpr int kThreads = kGroups * kGroupThreads + (kTrades ? kGroupThreads : 32);
  static constexpr int kRows = kGroups * kGroupRows;
  static constexpr int kWarps = kGroups * 4;  // that release a stage

  /// The thread's warpgroup, told to the compiler as the same for the whole warp: in what may
  /// diverge it would make every product wait for the one before.
  static __device__ int group() { return __shfl_sync(~0u, threadIdx.x / kGroupThreads, 0); }
  /// True in the producer's threads.
  static __device__ bool is_producer() {
    const bool producer = group() >= kGroups;
    if constexpr (kTrades) {
      static_assert(kGroups == 2 || kGroups == 3);
      if (producer) {
        give_registers<kGroups == 2 ? 24 : 32>();
      } else {
        take_registers<kGroups == 2 ? 240 : 160>();
      }
    }
    return producer;
  }
  static __device__ bool starts_copies() { return threadIdx.x == kGroups * kGroupThreads; }
};

/// The lengths and strides that a kernel needs, 32 bits wide.
struct Problem {
  int heads, all_heads, q_len, kv_len;  // heads: of one element of the batch, all_heads: of all
  bool causal;
  float scale, scale_log2;
  int section;  // heads whose blocks of queries are taken together

  /// Keys that query `row` sees: 0..visible-1.
  __device__ int visible(int row) const {
    return causal ? max(0, min(row + 1 + kv_len - q_len, kv_len)) : kv_len;
  }
};

/// The queries of a block, which walks over keys in steps of kKeys. Blocks are numbered by sections of
/// heads and from a section's last queries to its first: where causal, blocks that run at the same
/// time have as many steps and the shortest come last, while the section's keys stay in the cache.
template <typename Roles, int kKeys>
struct QueryBlock {
  int index, head, batch;  // index: of the head over the batch
  int first;               // query
  int steps;

  __device__ QueryBlock(const Problem& problem, int number) {
    const int blocks = (problem.q_len + Roles::kRows - 1) / Roles::kRows;
    const int section = number / (problem.section * blocks) * problem.section;
    const int heads = min(problem.section, problem.all_heads - section);
    const int in_section = number - section * blocks;
    index = section + in_section % heads;
    head = index % problem.heads, batch = index / problem.heads;
    first = (blocks - 1 - in_section / heads) * Roles::kRows;
    steps = steps_to(problem, first + Roles::kRows);
  }
  /// Of the keys that the queries before `end` see.
  static __device__ int steps_to(const Problem& problem, int end) {
    return (problem.visible(min(end, problem.q_len) - 1) + kKeys - 1) / kKeys;
  }
};

/// The 64 queries of a warpgroup, and the lane's two of them.
template <typename Roles, int kKeys>
struct QueryRows {
  int group, group_row, warp_row;  // rows of the block
  int row;                         // the lane's first query, the other is row + 8
  int steps;                       // that it takes part in
  int whole;                       // of them: whose keys all its queries see
  int visible[2];                  // keys of the lane's queries

  __device__ QueryRows(const Problem& problem, int first) {
    group = Roles::group(), group_row = group * kGroupRows;
    warp_row = threadIdx.x / 32 * 16, row = first + warp_row + lane() / 4;
    const int begin = first + group_row;
    steps =
        begin < problem.q_len ? QueryBlock<Roles, kKeys>::steps_to(problem, begin + kGroupRows) : 0;
    whole = problem.visible(begin) / kKeys;
    visible[0] = problem.visible(row), visible[1] = problem.visible(row + 8);
  }
};

inline Problem problem_of(const AttentionArgs& args) {
  return {static_cast<int>(args.heads),
          static_cast<int>(args.heads * args.batch),
          static_cast<int>(args.q_len),
          static_cast<int>(args.kv_len),
          args.causal,
          static_cast<float>(args.scale),
          static_cast<float>(args.scale) * kLog2E,
          1};
}

template <typename Kernel, typename Launch>
void launch_blocks(Kernel kernel, const Launch& arguments, const AttentionLaunch& launch,
                   int64_t blocks, int threads, size_t shared, const char* name) {
  if (blocks == 0) return;
  fabric::cuda::check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(shared)),
                      name);
  kernel<<<static_cast<unsigned>(blocks), threads, shared, launch.stream>>>(arguments);
  fabric::cuda::check_launch(name);
}

/// Launches `kernel` with one block for each kRows of `length` rows of each head.
template <typename Roles, typename Kernel, typename Launch>
void launch_heads(Kernel kernel, const Launch& arguments, const AttentionLaunch& launch,
                  int64_t length, size_t shared, const char* name) {
  const int64_t blocks =
      (length + Roles::kRows - 1) / Roles::kRows * launch.args.batch * launch.args.heads;
  launch_blocks(kernel, arguments, launch, blocks, Roles::kThreads, shared, name);
}

}  // namespace weft::cuda::attention::sm90
