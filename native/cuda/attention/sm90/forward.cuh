// The forward kernel of attention on Hopper: a block takes 64 queries of a head for each of its
// warpgroups and passes over the keys once, with a running maximum and sum (Milakov & Gimelshein
// 2018; Dao et al. 2022; Shah et al. 2024 for the overlap). Included by sm90/{bf16,f16}.cu.
//
// Order within a warpgroup: the scores of step j are multiplied while step j-1's weights are
// multiplied with their values; the softmax of step j runs beside the latter. K and V have rings of
// their own, since K's stage is free one softmax earlier. A group whose rows see fewer keys than the
// block's last row releases the stages that it does not read, each in its turn. Every group takes part
// in one step at least: with a condition around the first, ptxas lets each product wait for the last.
//
// Order between warpgroups: they take turns (named barriers, 8 + group) at starting the products of
// a step, so that one's softmax runs beside another's products. Each group waits for its turn and
// passes it on once for each step but a block's first, also in steps that it does not take part in,
// or the others would wait for good.
//
// Several blocks, one after another: a thread block takes kRounds blocks of queries, so that the
// producer brings the next one's tiles while the results of this one are written. Queries have two
// tiles for that; a warp releases its rows of one when its results, which it puts there, were read.
#pragma once

#include <algorithm>

#include "cuda/attention/sm90/role.cuh"
#include "cuda/attention/softmax.cuh"

namespace weft::cuda::attention::sm90 {

template <int kWidth>
struct ForwardShape;
template <>
struct ForwardShape<64> : Roles<3, 1> {
  static constexpr int kKeys = 128, kStages = 3;
};
template <>
struct ForwardShape<128> : Roles<2, 1> {
  static constexpr int kKeys = 128, kStages = 2;
};

struct ForwardLaunch {
  CUtensorMap q, k, v, out;
  Problem problem;
  float* lse;
  int blocks;         // of queries
  int width, rounds;  // thread blocks at a time; blocks of queries that each takes
};

/// The blocks of queries of one thread block: those that run at the same time take neighbours.
struct Rounds {
  int first, stride, end;
  __device__ explicit Rounds(const ForwardLaunch& launch) {
    const int block = static_cast<int>(blockIdx.x), all = launch.width * launch.rounds;
    first = block / launch.width * all + block % launch.width;
    stride = launch.width;
    end = min(launch.blocks, first + all);
  }
};

template <typename T, int kWidth>
struct ForwardMemory {
  using Shape = ForwardShape<kWidth>;
  Tile<T, Shape::kRows, kWidth> q[2];  // the results at the end
  Tile<T, Shape::kKeys, kWidth> k[Shape::kStages], v[Shape::kStages];
  Barrier q_full[2], q_empty[2], k_full[Shape::kStages], k_empty[Shape::kStages],
      v_full[Shape::kStages], v_empty[Shape::kStages];
};

/// One at least, also where no query sees a key: a step whose weights are all 0.
template <typename Block>
__device__ int steps_of(const Block& block) {
  return max(1, block.steps);
}

/// What the producer does for one block of queries.
template <typename T, int kWidth, typename Block>
__device__ void bring_keys(ForwardMemory<T, kWidth>& memory, const ForwardLaunch& launch,
                           const Block& block, const Turn<2>& own,
                           Turn<ForwardShape<kWidth>::kStages>& turn) {
  using Shape = ForwardShape<kWidth>;
  const int b = own.stage;
  memory.q_empty[b].wait(own.parity ^ 1);
  memory.q_full[b].expect(memory.q[b].kBytes);
  for (int row = 0; row < Shape::kRows; row += kGroupRows)
    load(memory.q[b], row, launch.q, block.first + row, block.head, block.batch, memory.q_full[b]);
  for (int step = 0; step < steps_of(block); ++step, turn.next()) {
    const int s = turn.stage;
    memory.k_empty[s].wait(turn.parity ^ 1);
    memory.k_full[s].expect(memory.k[s].kBytes);
    load(memory.k[s], 0, launch.k, step * Shape::kKeys, block.head, block.batch, memory.k_full[s]);
    memory.v_empty[s].wait(turn.parity ^ 1);
    memory.v_full[s].expect(memory.v[s].kBytes);
    load(memory.v[s], 0, launch.v, step * Shape::kKeys, block.head, block.batch, memory.v_full[s]);
  }
}

__device__ inline void wait_turn(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(8 + group), "n"(2 * kGroupThreads) : "memory");
}
template <int kGroups>
__device__ void pass_turn(int group) {
  const int next = group + 1 == kGroups ? 0 : group + 1;
  asm volatile("bar.arrive %0, %1;" ::"r"(8 + next), "n"(2 * kGroupThreads) : "memory");
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(ForwardShape<kWidth>::kThreads, ForwardShape<kWidth>::kBlocks)
    forward_kernel(const __grid_constant__ ForwardLaunch launch) {
  using Shape = ForwardShape<kWidth>;
  constexpr int kKeys = Shape::kKeys;
  extern __shared__ __align__(1024) unsigned char raw[];
  auto& memory = *reinterpret_cast<ForwardMemory<T, kWidth>*>(raw);
  const Problem& problem = launch.problem;
  if (threadIdx.x == 0) {
    for (int b = 0; b < 2; ++b) {
      memory.q_full[b].init(1);
      memory.q_empty[b].init(Shape::kWarps);
    }
    for (int s = 0; s < Shape::kStages; ++s) {
      memory.k_full[s].init(1);
      memory.v_full[s].init(1);
      memory.k_empty[s].init(Shape::kWarps);
      memory.v_empty[s].init(Shape::kWarps);
    }
    publish_barriers();
  }
  __syncthreads();
  Turn<2> own_turn;          // of the queries
  Turn<Shape::kStages> now;  // of the values
  const Rounds rounds(launch);
  if (Shape::is_producer()) {
    if (!Shape::starts_copies()) return;
    for (int number = rounds.first; number < rounds.end; number += rounds.stride, own_turn.next())
      bring_keys(memory, launch, QueryBlock<Shape, kKeys>(problem, number), own_turn, now);
    return;
  }

  const int group = Shape::group();
  if (group == Shape::kGroups - 1) pass_turn<Shape::kGroups>(group);
  for (int number = rounds.first; number < rounds.end; number += rounds.stride, own_turn.next()) {
    const QueryBlock<Shape, kKeys> block(problem, number);
    const QueryRows<Shape, kKeys> rows(problem, block.first);
    auto& queries = memory.q[own_turn.stage];
    const int own = steps_of(rows);

    float scores[kKeys / 8][4], out[kWidth / 8][4] = {}, rescale[2];
    uint32_t weights[kKeys / 16][4];
    RunningSoftmax<exp2_fast> softmax;
    auto weigh = [&](int step) {
      if (step >= rows.whole) {
#pragma unroll
        for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int key = step * kKeys + j * 8 + lane() % 4 * 2 + e % 2;
            if (key >= rows.visible[e / 2]) scores[j][e] = -INFINITY;
          }
        }
      }
      softmax.advance(scores, problem.scale_log2, rescale);
    };

    Turn<Shape::kStages> next = now;  // of the keys, one step ahead
    memory.q_full[own_turn.stage].wait(own_turn.parity);
    memory.k_full[next.stage].wait(next.parity);
    begin_products();
    multiply_rows(scores, queries, rows.group_row, memory.k[next.stage]);
    end_products();
    wait_products<0>();
    hold(scores);
    memory.k_empty[next.stage].arrive_as_warp();
    weigh(0);
    pack_left<T>(weights, scores);
    next.next();
    for (int step = 1; step < own; ++step, now = next, next.next()) {
      memory.k_full[next.stage].wait(next.parity);
      wait_turn(group);
      begin_products();
      multiply_rows(scores, queries, rows.group_row, memory.k[next.stage]);
      end_products();
      memory.v_full[now.stage].wait(now.parity);
      multiply_columns(out, weights, memory.v[now.stage], true);
      end_products();
      pass_turn<Shape::kGroups>(group);
      wait_products<1>();
      hold(scores);
      memory.k_empty[next.stage].arrive_as_warp();
      weigh(step);
      wait_products<0>();
      hold(out);
      memory.v_empty[now.stage].arrive_as_warp();
      if (__any_sync(~0u, rescale[0] != 1.0f || rescale[1] != 1.0f)) {
#pragma unroll
        for (int j = 0; j < kWidth / 8; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) out[j][e] *= rescale[e / 2];
      }
      pack_left<T>(weights, scores);
    }
    memory.v_full[now.stage].wait(now.parity);
    begin_products();
    multiply_columns(out, weights, memory.v[now.stage], true);
    end_products();
    wait_products<0>();
    hold(out);
    memory.v_empty[now.stage].arrive_as_warp();
    now = next;
    for (int step = own; step < steps_of(block); ++step, now.next()) {
      memory.k_full[now.stage].wait(now.parity);
      memory.k_empty[now.stage].arrive_as_warp();
      memory.v_full[now.stage].wait(now.parity);
      memory.v_empty[now.stage].arrive_as_warp();
      wait_turn(group);
      pass_turn<Shape::kGroups>(group);
    }

    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = softmax.total(half);
      inverse[half] = total == 0 ? 0.0f : 1.0f / total;
      const int row = rows.row + half * 8;
      if (lane() % 4 == 0 && row < problem.q_len)
        launch.lse[static_cast<int64_t>(block.index) * problem.q_len + row] =
            (softmax.top[half] * problem.scale_log2 + log2f(total)) / kLog2E;
    }
    sync_group<kGroupThreads>(group);  // no warp's products read the queries any more
    put_rows(queries, rows.warp_row, out, inverse);
    const int first = block.first + rows.warp_row;
    if (lane() == 0 && first < problem.q_len) {
      store(queries, rows.warp_row, launch.out, first, block.head, block.batch);
      wait_stores();
    }
    memory.q_empty[own_turn.stage].arrive_as_warp();
  }
  if (group == 0) wait_turn(group);  // the last that was passed
}

template <typename T, int kWidth>
void launch_forward(const AttentionLaunch& launch) {
  using Shape = ForwardShape<kWidth>;
  // A thread block that took all of its share at once would hold its multiprocessor for the whole
  // pass: others that come meanwhile, such as a reduction's, would wait, and so would its share.
  constexpr int kMostRounds = 6;
  constexpr int64_t kSectionBytes = 16 << 20;  // of keys and values, of a cache of some 50 MiB
  const AttentionArgs& args = launch.args;
  ForwardLaunch arguments{map_operand(args, args.q, args.q_stride, args.q_len, kGroupRows),
                          map_operand(args, args.k, args.k_stride, args.kv_len, Shape::kKeys),
                          map_operand(args, args.v, args.v_stride, args.kv_len, Shape::kKeys),
                          map_operand(args, args.out, args.out_stride, args.q_len, 16),
                          problem_of(args),
                          args.lse};
  const int64_t heads = args.batch * args.heads;
  const int64_t blocks = (args.q_len + Shape::kRows - 1) / Shape::kRows * heads;
  if (args.causal) {
    const int64_t each = args.kv_len * kWidth * 2 * static_cast<int64_t>(sizeof(T));
    arguments.problem.section =
        static_cast<int>(std::clamp<int64_t>(kSectionBytes / each, 1, heads));
  }
  const int64_t width = std::min<int64_t>(blocks, launch.multiprocessors * Shape::kBlocks);
  const int64_t turns = (blocks + width - 1) / width;
  const int64_t shares = (turns + kMostRounds - 1) / kMostRounds;
  arguments.blocks = static_cast<int>(blocks), arguments.width = static_cast<int>(width);
  arguments.rounds = static_cast<int>((turns + shares - 1) / shares);
  launch_blocks(forward_kernel<T, kWidth>, arguments, launch, shares * width, Shape::kThreads,
                sizeof(ForwardMemory<T, kWidth>), "attention_forward");
}

template <typename T>
void forward(const AttentionLaunch& launch) {
  if (launch.args.width <= 64) return launch_forward<T, 64>(launch);
  launch_forward<T, 128>(launch);
}

}  // namespace weft::cuda::attention::sm90
