// The kernel of attention's backward pass on Hopper that walks over the queries and sums the gradients
// of its keys and values. Started by sm90/backward.cuh.
#pragma once

#include "cuda/attention/sm90/backward_parts.cuh"

namespace weft::cuda::attention::sm90 {

template <typename T, int kWidth>
struct KeysMemory {
  Tile<T, KeysShape::kRows, kWidth> k, v;  // the results at the end
  Tile<T, kStep, kWidth> q[kStages], grad_out[kStages];
  Summary summary[kStages];
  Barrier own_full, full[kStages], empty[kStages];
};

template <typename T, int kWidth>
__device__ void bring_queries(KeysMemory<T, kWidth>& memory, const BackwardLaunch& launch,
                              int first, int begin, int end, int index) {
  const int head = index % launch.problem.heads, batch = index / launch.problem.heads;
  memory.own_full.expect(memory.k.kBytes + memory.v.kBytes);
  for (int row = 0; row < KeysShape::kRows; row += kGroupRows) {
    load(memory.k, row, launch.k, first + row, head, batch, memory.own_full);
    load(memory.v, row, launch.v, first + row, head, batch, memory.own_full);
  }
  const Summary* summaries = launch.summaries + static_cast<int64_t>(index) * end;
  Turn<kStages> turn;
  for (int step = begin; step < end; ++step, turn.next()) {
    const int s = turn.stage;
    memory.empty[s].wait(turn.parity ^ 1);
    memory.full[s].expect(memory.q[s].kBytes + memory.grad_out[s].kBytes + sizeof(Summary));
    load(memory.q[s], 0, launch.q, step * kStep, head, batch, memory.full[s]);
    load_flat(&memory.summary[s], summaries + step, sizeof(Summary), memory.full[s]);
    load(memory.grad_out[s], 0, launch.grad_out, step * kStep, head, batch, memory.full[s]);
  }
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(KeysShape::kThreads, 1)
    keys_kernel(const __grid_constant__ BackwardLaunch launch) {
  extern __shared__ __align__(1024) unsigned char raw[];
  auto& memory = *reinterpret_cast<KeysMemory<T, kWidth>*>(raw);
  const Problem& problem = launch.problem;
  const int blocks = (problem.kv_len + KeysShape::kRows - 1) / KeysShape::kRows;
  const int index = blockIdx.x / blocks;
  const int first = static_cast<int>(blockIdx.x) % blocks * KeysShape::kRows;
  // Query i sees key j where i >= j - shift: steps from begin_at(j) on see key j.
  const int shift = problem.kv_len - problem.q_len;
  const int end = (problem.q_len + kStep - 1) / kStep;
  auto begin_at = [&](int key) {
    return problem.causal ? min(max(key - shift, 0) / kStep, end) : 0;
  };
  const int begin = begin_at(first);
  if (threadIdx.x == 0) {
    memory.own_full.init(1);
    for (int s = 0; s < kStages; ++s) {
      memory.full[s].init(1);
      memory.empty[s].init(KeysShape::kWarps);
    }
    publish_barriers();
  }
  __syncthreads();
  if (KeysShape::is_producer()) {
    if (KeysShape::starts_copies()) bring_queries(memory, launch, first, begin, end, index);
    return;
  }

  const int group = KeysShape::group(), group_row = group * kGroupRows;
  const int warp_row = threadIdx.x / 32 * 16;
  const int own = first + group_row < problem.kv_len ? begin_at(first + group_row) : end;
  int least[2];  // the first query that sees this lane's keys
#pragma unroll
  for (int half = 0; half < 2; ++half)
    least[half] = problem.causal ? first + warp_row + lane() / 4 + half * 8 - shift : 0;
  // Steps before this one have queries that do not see all keys of the group.
  const int whole =
      problem.causal ? (max(first + group_row + kGroupRows - 1 - shift, 0) + kStep - 1) / kStep : 0;
  // Wide heads leave no registers for the scores of a step beside the products of the one before.
  constexpr bool kOverlaps = kWidth == 64;
  OwnRows<T, KeysShape::kRows, kWidth, kOverlaps> k_rows, v_rows;
  uint32_t weights[kStep / 16][4], left[kStep / 16][4];
  float scores[kStep / 8][4], slopes[kStep / 8][4];  // (keys, queries)
  float grad_k[kWidth / 8][4] = {}, grad_v[kWidth / 8][4] = {};
  memory.own_full.wait(0);
  k_rows.take(memory.k, warp_row);
  v_rows.take(memory.v, warp_row);

  Turn<kStages> now;
  for (int step = begin; step < own; ++step, now.next()) {
    memory.full[now.stage].wait(now.parity);
    memory.empty[now.stage].arrive_as_warp();
  }
  Turn<kStages> next = now;
  auto weigh = [&](int step) {
    const Summary& summary = memory.summary[next.stage];
#pragma unroll
    for (int j = 0; j < kStep / 8; ++j) {
      const float2 lse = *reinterpret_cast<const float2*>(&summary.lse[j * 8 + lane() % 4 * 2]);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        scores[j][e] = exp2_fast(scores[j][e] * problem.scale_log2 - (e % 2 == 0 ? lse.x : lse.y));
    }
    if (step >= whole) return;
#pragma unroll
    for (int j = 0; j < kStep / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int query = step * kStep + j * 8 + lane() % 4 * 2 + e % 2;
        if (query < least[e / 2]) scores[j][e] = 0;
      }
    }
  };
  auto take_slopes = [&] {
    const Summary& summary = memory.summary[next.stage];
#pragma unroll
    for (int j = 0; j < kStep / 8; ++j) {
      const float2 delta = *reinterpret_cast<const float2*>(&summary.delta[j * 8 + lane() % 4 * 2]);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        slopes[j][e] = scores[j][e] * (slopes[j][e] - (e % 2 == 0 ? delta.x : delta.y));
    }
    pack_left<T>(left, slopes);
  };

  if constexpr (kOverlaps) {
    if (own < end) {
      memory.full[next.stage].wait(next.parity);
      begin_products();
      k_rows.multiply(scores, memory.k, group_row, memory.q[next.stage]);
      v_rows.multiply(slopes, memory.v, group_row, memory.grad_out[next.stage]);
      end_products();
      wait_products<0>();
      hold(scores);
      hold(slopes);
      weigh(own);
      pack_left<T>(weights, scores);
      take_slopes();
      next.next();
    }
    for (int step = own + 1; step < end; ++step, now.next(), next.next()) {
      memory.full[next.stage].wait(next.parity);
      begin_products();
      k_rows.multiply(scores, memory.k, group_row, memory.q[next.stage]);
      end_products();
      multiply_columns(grad_v, weights, memory.grad_out[now.stage], true);
      end_products();
      multiply_columns(grad_k, left, memory.q[now.stage], true);
      end_products();
      v_rows.multiply(slopes, memory.v, group_row, memory.grad_out[next.stage]);
      end_products();
      wait_products<3>();
      hold(scores);
      weigh(step);
      wait_products<0>();
      hold(slopes);
      hold(grad_k);
      hold(grad_v);
      memory.empty[now.stage].arrive_as_warp();
      pack_left<T>(weights, scores);
      take_slopes();
    }
    if (own < end) {
      begin_products();
      multiply_columns(grad_v, weights, memory.grad_out[now.stage], true);
      multiply_columns(grad_k, left, memory.q[now.stage], true);
      end_products();
      wait_products<0>();
      hold(grad_k);
      hold(grad_v);
      memory.empty[now.stage].arrive_as_warp();
    }
  } else {
    for (int step = own; step < end; ++step, next.next()) {
      const int stage = next.stage;
      memory.full[stage].wait(next.parity);
      begin_products();
      k_rows.multiply(scores, memory.k, group_row, memory.q[stage]);
      end_products();
      v_rows.multiply(slopes, memory.v, group_row, memory.grad_out[stage]);
      end_products();
      wait_products<1>();
      hold(scores);
      weigh(step);
      pack_left<T>(weights, scores);
      begin_products();
      multiply_columns(grad_v, weights, memory.grad_out[stage], true);
      end_products();
      wait_products<1>();
      hold(slopes);
      take_slopes();
      begin_products();
      multiply_columns(grad_k, left, memory.q[stage], true);
      end_products();
      wait_products<0>();
      hold(grad_k);
      hold(grad_v);
      memory.empty[stage].arrive_as_warp();
    }
  }

  const float one[2] = {1, 1}, factor[2] = {problem.scale, problem.scale};
  sync_group<kGroupThreads>(group);  // no warp's products read the keys any more
  put_rows(memory.k, warp_row, grad_k, factor);
  put_rows(memory.v, warp_row, grad_v, one);
  if (lane() == 0 && first + warp_row < problem.kv_len) {
    const int head = index % problem.heads, batch = index / problem.heads;
    store(memory.k, warp_row, launch.grad_k, first + warp_row, head, batch);
    store(memory.v, warp_row, launch.grad_v, first + warp_row, head, batch);
    wait_stores();
  }
}

}  // namespace weft::cuda::attention::sm90
