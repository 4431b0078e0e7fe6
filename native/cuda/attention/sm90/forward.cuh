// The forward kernel of attention on Hopper: a block takes 64 queries of a head for each of its
// warpgroups and passes over the keys once, with a running maximum and sum (Milakov & Gimelshein
// 2018; Dao et al. 2022; Shah et al. 2024 for the overlap). Included by sm90/{bf16,f16}.cu.
//
// Order within a warpgroup: the scores of step j are multiplied while step j-1's weights are
// multiplied with their values; the softmax of step j runs beside the latter. K and V have rings of
// their own, since K's stage is free one softmax earlier. A group whose rows see fewer keys than the
// block's last row releases the stages that it does not read, each in its turn.
#pragma once

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
};

template <typename T, int kWidth>
struct ForwardMemory {
  using Shape = ForwardShape<kWidth>;
  Tile<T, Shape::kRows, kWidth> q;  // the results at the end
  Tile<T, Shape::kKeys, kWidth> k[Shape::kStages], v[Shape::kStages];
  Barrier q_full, k_full[Shape::kStages], k_empty[Shape::kStages], v_full[Shape::kStages],
      v_empty[Shape::kStages];
};

template <typename T, int kWidth, typename Block>
__device__ void bring_keys(ForwardMemory<T, kWidth>& memory, const ForwardLaunch& launch,
                           const Block& block) {
  using Shape = ForwardShape<kWidth>;
  memory.q_full.expect(memory.q.kBytes);
  for (int group = 0; group < Shape::kGroups; ++group)
    load(memory.q, group * kGroupRows, launch.q, block.first + group * kGroupRows, block.head,
         block.batch, memory.q_full);
  Turn<Shape::kStages> turn;
  for (int step = 0; step < block.steps; ++step, turn.next()) {
    const int s = turn.stage;
    memory.k_empty[s].wait(turn.parity ^ 1);
    memory.k_full[s].expect(memory.k[s].kBytes);
    load(memory.k[s], 0, launch.k, step * Shape::kKeys, block.head, block.batch, memory.k_full[s]);
    memory.v_empty[s].wait(turn.parity ^ 1);
    memory.v_full[s].expect(memory.v[s].kBytes);
    load(memory.v[s], 0, launch.v, step * Shape::kKeys, block.head, block.batch, memory.v_full[s]);
  }
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(ForwardShape<kWidth>::kThreads, ForwardShape<kWidth>::kBlocks)
    forward_kernel(const __grid_constant__ ForwardLaunch launch) {
  using Shape = ForwardShape<kWidth>;
  constexpr int kKeys = Shape::kKeys;
  extern __shared__ __align__(1024) unsigned char raw[];
  auto& memory = *reinterpret_cast<ForwardMemory<T, kWidth>*>(raw);
  const Problem& problem = launch.problem;
  const QueryBlock<Shape, kKeys> block(problem);
  const int steps = block.steps;
  if (threadIdx.x == 0) {
    memory.q_full.init(1);
    for (int s = 0; s < Shape::kStages; ++s) {
      memory.k_full[s].init(1);
      memory.v_full[s].init(1);
      memory.k_empty[s].init(Shape::kWarps);
      memory.v_empty[s].init(Shape::kWarps);
    }
    publish_barriers();
  }
  __syncthreads();
  if (Shape::is_producer()) {
    if (Shape::starts_copies()) bring_keys(memory, launch, block);
    return;
  }

  const QueryRows<Shape, kKeys> rows(problem, block.first);
  const int own = rows.steps;

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

  Turn<Shape::kStages> now, next;  // of the values, and of the keys one step ahead
  memory.q_full.wait(0);
  if (own > 0) {
    memory.k_full[0].wait(0);
    begin_products();
    multiply_rows(scores, memory.q, rows.group_row, memory.k[0]);
    end_products();
    wait_products<0>();
    hold(scores);
    memory.k_empty[0].arrive_as_warp();
    weigh(0);
    pack_left<T>(weights, scores);
    next.next();
  }
  for (int step = 1; step < own; ++step, now = next, next.next()) {
    memory.k_full[next.stage].wait(next.parity);
    begin_products();
    multiply_rows(scores, memory.q, rows.group_row, memory.k[next.stage]);
    end_products();
    memory.v_full[now.stage].wait(now.parity);
    multiply_columns(out, weights, memory.v[now.stage], true);
    end_products();
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
  if (own > 0) {
    memory.v_full[now.stage].wait(now.parity);
    begin_products();
    multiply_columns(out, weights, memory.v[now.stage], true);
    end_products();
    wait_products<0>();
    hold(out);
    memory.v_empty[now.stage].arrive_as_warp();
    now = next;
  }
  for (int step = own; step < steps; ++step, now.next()) {
    memory.k_full[now.stage].wait(now.parity);
    memory.k_empty[now.stage].arrive_as_warp();
    memory.v_full[now.stage].wait(now.parity);
    memory.v_empty[now.stage].arrive_as_warp();
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
  sync_group<kGroupThreads>(rows.group);  // no warp's products read the queries any more
  put_rows(memory.q, rows.warp_row, out, inverse);
  const int first = block.first + rows.warp_row;
  if (lane() == 0 && first < problem.q_len) {
    store(memory.q, rows.warp_row, launch.out, first, block.head, block.batch);
    wait_stores();
  }
}

template <typename T, int kWidth>
void launch_forward(const AttentionLaunch& launch) {
  using Shape = ForwardShape<kWidth>;
  const AttentionArgs& args = launch.args;
  const ForwardLaunch arguments{map_operand(args, args.q, args.q_stride, args.q_len, kGroupRows),
                                map_operand(args, args.k, args.k_stride, args.kv_len, Shape::kKeys),
                                map_operand(args, args.v, args.v_stride, args.kv_len, Shape::kKeys),
                                map_operand(args, args.out, args.out_stride, args.q_len, 16),
                                problem_of(args),
                                args.lse};
  launch_heads<Shape>(forward_kernel<T, kWidth>, arguments, launch, args.q_len,
                      sizeof(ForwardMemory<T, kWidth>), "attention_forward");
}

template <typename T>
void forward(const AttentionLaunch& launch) {
  if (launch.args.width <= 64) return launch_forward<T, 64>(launch);
  launch_forward<T, 128>(launch);
}

}  // namespace weft::cuda::attention::sm90
