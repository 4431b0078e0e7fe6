// The kernel of attention's backward pass on Hopper that walks over the keys and sums the gradient of
// its queries. Started by sm90/backward.cuh.
#pragma once

#include "cuda/attention/sm90/backward_parts.cuh"

namespace weft::cuda::attention::sm90 {

template <typename T, int kWidth>
struct QueriesMemory {
  using Shape = QueriesShape<kWidth>;
  Tile<T, Shape::kRows, kWidth> q, grad_out;  // q: the results at the end
  Tile<T, kStep, kWidth> k[kStages], v[kStages];
  Barrier own_full, full[kStages], empty[kStages];
};

template <typename T, int kWidth, typename Block>
__device__ void bring_keys(QueriesMemory<T, kWidth>& memory, const BackwardLaunch& launch,
                           const Block& block) {
  memory.own_full.expect(memory.q.kBytes + memory.grad_out.kBytes);
  for (int row = 0; row < QueriesShape<kWidth>::kRows; row += kGroupRows) {
    load(memory.q, row, launch.q, block.first + row, block.head, block.batch, memory.own_full);
    load(memory.grad_out, row, launch.grad_out, block.first + row, block.head, block.batch,
         memory.own_full);
  }
  Turn<kStages> turn;
  for (int step = 0; step < block.steps; ++step, turn.next()) {
    const int s = turn.stage;
    memory.empty[s].wait(turn.parity ^ 1);
    memory.full[s].expect(memory.k[s].kBytes + memory.v[s].kBytes);
    load(memory.k[s], 0, launch.k, step * kStep, block.head, block.batch, memory.full[s]);
    load(memory.v[s], 0, launch.v, step * kStep, block.head, block.batch, memory.full[s]);
  }
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(QueriesShape<kWidth>::kThreads, 1)
    queries_kernel(const __grid_constant__ BackwardLaunch launch) {
  using Shape = QueriesShape<kWidth>;
  extern __shared__ __align__(1024) unsigned char raw[];
  auto& memory = *reinterpret_cast<QueriesMemory<T, kWidth>*>(raw);
  const Problem& problem = launch.problem;
  const QueryBlock<Shape, kStep> block(problem, static_cast<int>(blockIdx.x));
  const int steps = block.steps;
  if (threadIdx.x == 0) {
    memory.own_full.init(1);
    for (int s = 0; s < kStages; ++s) {
      memory.full[s].init(1);
      memory.empty[s].init(Shape::kWarps);
    }
    publish_barriers();
  }
  __syncthreads();
  if (Shape::is_producer()) {
    if (Shape::starts_copies()) bring_keys(memory, launch, block);
    return;
  }

  const QueryRows<Shape, kStep> rows(problem, block.first);
  const int own = rows.steps, group_row = rows.group_row, warp_row = rows.warp_row;
  float lse[2] = {INFINITY, INFINITY}, delta[2] = {0, 0};
  if (own > 0) {
    const int query_blocks = (problem.q_len + kStep - 1) / kStep;
    const Summary& summary = launch.summaries[static_cast<int64_t>(block.index) * query_blocks +
                                              (block.first + group_row) / kStep];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      lse[half] = summary.lse[warp_row - group_row + lane() / 4 + half * 8];
      delta[half] = summary.delta[warp_row - group_row + lane() / 4 + half * 8];
    }
  }

  OwnRows<T, Shape::kRows, kWidth, true> q_rows;
  OwnRows<T, Shape::kRows, kWidth, kWidth == 128> grad_rows;
  uint32_t left[kStep / 16][4];
  float scores[kStep / 8][4], slopes[kStep / 8][4], grad[kWidth / 8][4] = {};
  memory.own_full.wait(0);
  q_rows.take(memory.q, warp_row);
  grad_rows.take(memory.grad_out, warp_row);

  auto weigh = [&](int step) {
#pragma unroll
    for (int j = 0; j < kStep / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        scores[j][e] = exp2_fast(scores[j][e] * problem.scale_log2 - lse[e / 2]);
    }
    if (step < rows.whole) return;
#pragma unroll
    for (int j = 0; j < kStep / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = step * kStep + j * 8 + lane() % 4 * 2 + e % 2;
        if (key >= rows.visible[e / 2]) scores[j][e] = 0;
      }
    }
  };
  auto take_slopes = [&] {
#pragma unroll
    for (int j = 0; j < kStep / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) slopes[j][e] = scores[j][e] * (slopes[j][e] - delta[e / 2]);
    }
    pack_left<T>(left, slopes);
  };

  Turn<kStages> now, next;
  if (own > 0) {
    memory.full[0].wait(0);
    begin_products();
    q_rows.multiply(scores, memory.q, group_row, memory.k[0]);
    grad_rows.multiply(slopes, memory.grad_out, group_row, memory.v[0]);
    end_products();
    wait_products<0>();
    hold(scores);
    hold(slopes);
    weigh(0);
    take_slopes();
    next.next();
  }
  for (int step = 1; step < own; ++step, now.next(), next.next()) {
    memory.full[next.stage].wait(next.parity);
    begin_products();
    q_rows.multiply(scores, memory.q, group_row, memory.k[next.stage]);
    end_products();
    multiply_columns(grad, left, memory.k[now.stage], true);
    end_products();
    grad_rows.multiply(slopes, memory.grad_out, group_row, memory.v[next.stage]);
    end_products();
    wait_products<2>();
    hold(scores);
    weigh(step);
    wait_products<0>();
    hold(slopes);
    hold(grad);
    memory.empty[now.stage].arrive_as_warp();
    take_slopes();
  }
  if (own > 0) {
    begin_products();
    multiply_columns(grad, left, memory.k[now.stage], true);
    end_products();
    wait_products<0>();
    hold(grad);
    memory.empty[now.stage].arrive_as_warp();
    now.next();
  }
  for (int step = own; step < steps; ++step, now.next()) {
    memory.full[now.stage].wait(now.parity);
    memory.empty[now.stage].arrive_as_warp();
  }

  const float factor[2] = {problem.scale, problem.scale};
  put_rows(memory.q, warp_row, grad, factor);  // a warp reads its own rows of q alone
  const int first = block.first + warp_row;
  if (lane() == 0 && first < problem.q_len) {
    store(memory.q, warp_row, launch.grad_q, first, block.head, block.batch);
    wait_stores();
  }
}

}  // namespace weft::cuda::attention::sm90
