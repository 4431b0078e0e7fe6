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

/// The running state of a lane's two rows.
struct Softmax {
  float top[2] = {-INFINITY, -INFINITY};  // of the scores as they are
  float sum[2] = {0, 0};                  // of this lane's columns alone

  /// Scores to weights under the new maximum; `rescale` brings older sums under it.
  template <int kTiles>
  __device__ void advance(float (&scores)[kTiles][4], float scale, float (&rescale)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float high = top[half];
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
        high = fmaxf(high, fmaxf(scores[j][half * 2], scores[j][half * 2 + 1]));
      high = fmaxf(high, __shfl_xor_sync(~0u, high, 1));
      high = fmaxf(high, __shfl_xor_sync(~0u, high, 2));
      const float base = high == -INFINITY ? 0.0f : high * scale;  // a row that saw no key yet
      rescale[half] = exp2_fast(top[half] * scale - base);
      top[half] = high;
      float part = 0;
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int e = half * 2; e < half * 2 + 2; ++e) {
          scores[j][e] = exp2_fast(scores[j][e] * scale - base);
          part += scores[j][e];
        }
      }
      sum[half] = sum[half] * rescale[half] + part;
    }
  }
  __device__ float total(int half) const {
    float all = sum[half];
    all += __shfl_xor_sync(~0u, all, 1);
    return all + __shfl_xor_sync(~0u, all, 2);
  }
};

template <typename T, int kWidth>
__device__ void bring_keys(ForwardMemory<T, kWidth>& memory, const ForwardLaunch& launch, int first,
                           int steps, int head, int batch) {
  using Shape = ForwardShape<kWidth>;
  memory.q_full.expect(memory.q.kBytes);
  for (int group = 0; group < Shape::kGroups; ++group)
    load(memory.q, group * kGroupRows, launch.q, first + group * kGroupRows, head, batch,
         memory.q_full);
  Turn<Shape::kStages> turn;
  for (int step = 0; step < steps; ++step, turn.next()) {
    const int s = turn.stage;
    memory.k_empty[s].wait(turn.parity ^ 1);
    memory.k_full[s].expect(memory.k[s].kBytes);
    load(memory.k[s], 0, launch.k, step * Shape::kKeys, head, batch, memory.k_full[s]);
    memory.v_empty[s].wait(turn.parity ^ 1);
    memory.v_full[s].expect(memory.v[s].kBytes);
    load(memory.v[s], 0, launch.v, step * Shape::kKeys, head, batch, memory.v_full[s]);
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
  const int blocks = (problem.q_len + Shape::kRows - 1) / Shape::kRows;
  const int index = blockIdx.x / blocks;
  const int head = index % problem.heads, batch = index / problem.heads;
  // Late queries see most keys where causal: they begin first.
  const int first = (blocks - 1 - static_cast<int>(blockIdx.x) % blocks) * Shape::kRows;
  auto steps_to = [&](int end) {  // of the keys that the rows before `end` see
    return (problem.visible(min(end, problem.q_len) - 1) + kKeys - 1) / kKeys;
  };
  const int steps = steps_to(first + Shape::kRows);
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
    if (Shape::starts_copies()) bring_keys(memory, launch, first, steps, head, batch);
    return;
  }

  const int group = Shape::group(), group_row = group * kGroupRows;
  const int warp_row = threadIdx.x / 32 * 16, row = first + warp_row + lane() / 4;
  const int own = first + group_row < problem.q_len ? steps_to(first + group_row + kGroupRows) : 0;
  const int visible[2] = {problem.visible(row), problem.visible(row + 8)};
  const int whole = problem.visible(first + group_row) / kKeys;  // steps that all rows see whole
  auto release = [](Barrier& empty) {
    __syncwarp();
    if (lane() == 0) empty.arrive();
  };

  float scores[kKeys / 8][4], out[kWidth / 8][4] = {}, rescale[2];
  uint32_t weights[kKeys / 16][4];
  Softmax softmax;
  auto weigh = [&](int step) {
    if (step >= whole) {
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int key = step * kKeys + j * 8 + lane() % 4 * 2 + e % 2;
          if (key >= visible[e / 2]) scores[j][e] = -INFINITY;
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
    multiply_rows(scores, memory.q, group_row, memory.k[0]);
    end_products();
    wait_products<0>();
    hold(scores);
    release(memory.k_empty[0]);
    weigh(0);
    pack_left<T>(weights, scores);
    next.next();
  }
  for (int step = 1; step < own; ++step, now = next, next.next()) {
    memory.k_full[next.stage].wait(next.parity);
    begin_products();
    multiply_rows(scores, memory.q, group_row, memory.k[next.stage]);
    end_products();
    memory.v_full[now.stage].wait(now.parity);
    multiply_columns(out, weights, memory.v[now.stage], true);
    end_products();
    wait_products<1>();
    hold(scores);
    release(memory.k_empty[next.stage]);
    weigh(step);
    wait_products<0>();
    hold(out);
    release(memory.v_empty[now.stage]);
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
    release(memory.v_empty[now.stage]);
    now = next;
  }
  for (int step = own; step < steps; ++step, now.next()) {
    memory.k_full[now.stage].wait(now.parity);
    release(memory.k_empty[now.stage]);
    memory.v_full[now.stage].wait(now.parity);
    release(memory.v_empty[now.stage]);
  }

  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = softmax.total(half);
    inverse[half] = total == 0 ? 0.0f : 1.0f / total;
    if (lane() % 4 == 0 && row + half * 8 < problem.q_len)
      launch.lse[static_cast<int64_t>(index) * problem.q_len + row + half * 8] =
          (softmax.top[half] * problem.scale_log2 + log2f(total)) / kLog2E;
  }
  sync_group<kGroupThreads>(group);  // no warp's products read the queries any more
  put_rows(memory.q, warp_row, out, inverse);
  if (lane() == 0 && first + warp_row < problem.q_len) {
    store(memory.q, warp_row, launch.out, first + warp_row, head, batch);
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
