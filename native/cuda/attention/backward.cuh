// The backward kernels of attention on tensor cores. Weights are made again from the stored
// log-sum-exp (Dao et al. 2022), once for each of two kernels: one walks over the keys and sums the
// gradient of its 64 queries, one walks over the queries and sums those of its 64 keys. Each sum
// has one owner and one order, so nothing is atomic. Included by attention_{bf16,f16,tf32}.cu.
#pragma once

#include "cuda/attention/tile.cuh"

namespace weft::cuda::attention {

template <typename T, int kWidth>
struct BackwardMemory {
  static constexpr int kCount = kStep<kWidth>;
  T mine[2][kRows * kPitch<T, kWidth>];     // queries: q and grad_out. Keys: k and v
  T first[2][kCount * kPitch<T, kWidth>];   // queries: k. Keys: q. One in use, one being loaded
  T second[2][kCount * kPitch<T, kWidth>];  // queries: v. Keys: grad_out
  float lse[2][kCount], delta[2][kCount];   // keys: of the step's queries
};

/// In units of log2; a row that sees no key, or is past the end, gets weights of 0.
__device__ inline float lse_of(const AttentionArgs& args, int64_t head, int64_t row) {
  const float lse = row < args.q_len ? args.lse[head * args.q_len + row] : -INFINITY;
  return lse == -INFINITY ? INFINITY : lse * kLog2E;
}
__device__ inline float delta_of(const AttentionLaunch& launch, int64_t head, int64_t row) {
  const AttentionArgs& args = launch.args;
  return row < args.q_len ? launch.delta[head * args.q_len + row] : 0.0f;
}

/// delta = grad_out · out, a row: what softmax's gradient subtracts. One warp a row.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    delta_kernel(const __grid_constant__ AttentionLaunch launch) {
  const AttentionArgs& args = launch.args;
  const int64_t index = (blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x) / 32;
  if (index >= args.batch * args.heads * args.q_len) return;
  const int64_t head = index / args.q_len, row = index % args.q_len;
  const T* g =
      head_in<T>(args.grad_out, args.grad_out_stride, args, head) + row * args.grad_out_stride[2];
  const T* o = head_in<T>(args.out, args.out_stride, args, head) + row * args.out_stride[2];
  float sum = 0;
  for (int64_t c = lane(); c < args.width; c += 32)
    sum += static_cast<float>(g[c]) * static_cast<float>(o[c]);
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (lane() == 0) launch.delta[index] = sum;
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    queries_kernel(const __grid_constant__ AttentionLaunch launch) {
  constexpr int kKeys = kStep<kWidth>;
  extern __shared__ __align__(16) unsigned char memory[];
  auto& tiles = *reinterpret_cast<BackwardMemory<T, kWidth>*>(memory);
  const AttentionArgs& args = launch.args;
  const int width = static_cast<int>(args.width);
  const int64_t blocks = (args.q_len + kRows - 1) / kRows;
  const int64_t head = blockIdx.x / blocks;
  const int64_t first = (blocks - 1 - blockIdx.x % blocks) * kRows;
  const T* k = head_in<T>(args.k, args.k_stride, args, head);
  const T* v = head_in<T>(args.v, args.v_stride, args, head);
  const int warp_row = threadIdx.x / 32 * 16;

  const int64_t seen = visible_keys(args, min(first + kRows, args.q_len) - 1);
  const int64_t steps = (seen + kKeys - 1) / kKeys;
  auto load_keys = [&](int64_t step) {
    load_tile<T, kWidth, kKeys>(tiles.first[step % 2], k, args.k_stride[2], step * kKeys,
                                args.kv_len, width, launch.aligned);
    load_tile<T, kWidth, kKeys>(tiles.second[step % 2], v, args.v_stride[2], step * kKeys,
                                args.kv_len, width, launch.aligned);
  };
  load_tile<T, kWidth, kRows>(tiles.mine[0], head_in<T>(args.q, args.q_stride, args, head),
                              args.q_stride[2], first, args.q_len, width, launch.aligned);
  load_tile<T, kWidth, kRows>(tiles.mine[1],
                              head_in<T>(args.grad_out, args.grad_out_stride, args, head),
                              args.grad_out_stride[2], first, args.q_len, width, launch.aligned);
  if (steps > 0) load_keys(0);
  commit_copies();

  const float scale = static_cast<float>(args.scale), scale2 = scale * kLog2E;
  float lse[2], delta[2];
  int64_t visible[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + warp_row + lane() / 4 + half * 8;
    lse[half] = lse_of(args, head, row);
    delta[half] = delta_of(launch, head, row);
    visible[half] = visible_keys(args, row);
  }
  float grad[kWidth / 8][4] = {};
  for (int64_t step = 0; step < steps; ++step) {
    if (step + 1 < steps) load_keys(step + 1);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    float weights[kKeys / 8][4] = {}, slopes[kKeys / 8][4] = {};
    multiply_rows<T, kWidth, kKeys>(weights, tiles.mine[0], warp_row, tiles.first[step % 2]);
    multiply_rows<T, kWidth, kKeys>(slopes, tiles.mine[1], warp_row, tiles.second[step % 2]);
    const int64_t key0 = step * kKeys;
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t key = key0 + j * 8 + lane() % 4 * 2 + e % 2;
        const float p = exp2f(weights[j][e] * scale2 - lse[e / 2]);
        const float slope = p * (slopes[j][e] - delta[e / 2]) * scale;
        slopes[j][e] = key < visible[e / 2] ? slope : 0.0f;
      }
    }
    multiply_columns<T, kWidth, kKeys>(grad, slopes, tiles.first[step % 2]);
    __syncthreads();
  }
  wait_copies<0>();
  const float one[2] = {1, 1};
  store_rows<T, kWidth>(grad, one, head_out<T>(args.grad_q, args.grad_q_stride, args, head),
                        args.grad_q_stride[2], first + warp_row, args.q_len, width, launch.aligned);
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    keys_kernel(const __grid_constant__ AttentionLaunch launch) {
  constexpr int kQueries = kStep<kWidth>;
  extern __shared__ __align__(16) unsigned char memory[];
  auto& tiles = *reinterpret_cast<BackwardMemory<T, kWidth>*>(memory);
  const AttentionArgs& args = launch.args;
  const int width = static_cast<int>(args.width);
  const int64_t blocks = (args.kv_len + kRows - 1) / kRows;
  const int64_t head = blockIdx.x / blocks;
  const int64_t first = blockIdx.x % blocks * kRows;  // early keys are seen by most queries
  const T* q = head_in<T>(args.q, args.q_stride, args, head);
  const T* g = head_in<T>(args.grad_out, args.grad_out_stride, args, head);
  const int warp_row = threadIdx.x / 32 * 16;

  // Queries from `begin` on see the first key of the block.
  const int64_t shift = args.kv_len - args.q_len;
  const int64_t begin = args.causal ? max(first - shift, int64_t{0}) / kQueries : 0;
  const int64_t end = (args.q_len + kQueries - 1) / kQueries;
  auto load_queries = [&](int64_t step) {
    load_tile<T, kWidth, kQueries>(tiles.first[step % 2], q, args.q_stride[2], step * kQueries,
                                   args.q_len, width, launch.aligned);
    load_tile<T, kWidth, kQueries>(tiles.second[step % 2], g, args.grad_out_stride[2],
                                   step * kQueries, args.q_len, width, launch.aligned);
    if (threadIdx.x < kQueries) {
      tiles.lse[step % 2][threadIdx.x] = lse_of(args, head, step * kQueries + threadIdx.x);
      tiles.delta[step % 2][threadIdx.x] = delta_of(launch, head, step * kQueries + threadIdx.x);
    }
  };
  load_tile<T, kWidth, kRows>(tiles.mine[0], head_in<T>(args.k, args.k_stride, args, head),
                              args.k_stride[2], first, args.kv_len, width, launch.aligned);
  load_tile<T, kWidth, kRows>(tiles.mine[1], head_in<T>(args.v, args.v_stride, args, head),
                              args.v_stride[2], first, args.kv_len, width, launch.aligned);
  if (begin < end) load_queries(begin);
  commit_copies();

  const float scale = static_cast<float>(args.scale), scale2 = scale * kLog2E;
  float grad_k[kWidth / 8][4] = {}, grad_v[kWidth / 8][4] = {};
  // Query i sees this lane's key where i >= least; keys past the end are never stored.
  int64_t least[2];
#pragma unroll
  for (int half = 0; half < 2; ++half)
    least[half] = args.causal ? first + warp_row + lane() / 4 + half * 8 - shift : 0;

  for (int64_t step = begin; step < end; ++step) {
    if (step + 1 < end) load_queries(step + 1);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    float weights[kQueries / 8][4] = {}, slopes[kQueries / 8][4] = {};  // (keys, queries)
    multiply_rows<T, kWidth, kQueries>(weights, tiles.mine[0], warp_row, tiles.first[step % 2]);
    multiply_rows<T, kWidth, kQueries>(slopes, tiles.mine[1], warp_row, tiles.second[step % 2]);
    const int64_t query0 = step * kQueries;
#pragma unroll
    for (int j = 0; j < kQueries / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = j * 8 + lane() % 4 * 2 + e % 2;
        const bool sees = query0 + i >= least[e / 2];
        const float p = exp2f(weights[j][e] * scale2 - tiles.lse[step % 2][i]);
        const float slope = p * (slopes[j][e] - tiles.delta[step % 2][i]) * scale;
        weights[j][e] = sees ? p : 0.0f;
        slopes[j][e] = sees ? slope : 0.0f;
      }
    }
    multiply_columns<T, kWidth, kQueries>(grad_v, weights, tiles.second[step % 2]);
    multiply_columns<T, kWidth, kQueries>(grad_k, slopes, tiles.first[step % 2]);
    __syncthreads();
  }
  wait_copies<0>();
  const float one[2] = {1, 1};
  store_rows<T, kWidth>(grad_k, one, head_out<T>(args.grad_k, args.grad_k_stride, args, head),
                        args.grad_k_stride[2], first + warp_row, args.kv_len, width,
                        launch.aligned);
  store_rows<T, kWidth>(grad_v, one, head_out<T>(args.grad_v, args.grad_v_stride, args, head),
                        args.grad_v_stride[2], first + warp_row, args.kv_len, width,
                        launch.aligned);
}

template <typename T, int kWidth>
void launch_backward(const AttentionLaunch& launch) {
  constexpr size_t shared = sizeof(BackwardMemory<T, kWidth>);
  const AttentionArgs& args = launch.args;
  const int64_t rows = args.batch * args.heads * args.q_len;
  delta_kernel<T><<<static_cast<unsigned>((rows + 3) / 4), kThreads, 0, launch.stream>>>(launch);
  fabric::cuda::check_launch("attention_backward");
  if (args.grad_q)
    launch_blocks(queries_kernel<T, kWidth>, launch, args.q_len, shared, "attention_backward");
  if (args.grad_k && args.grad_v)
    launch_blocks(keys_kernel<T, kWidth>, launch, args.kv_len, shared, "attention_backward");
}

template <typename T>
void backward(const AttentionLaunch& launch) {
  if (launch.args.width <= 32) return launch_backward<T, 32>(launch);
  if (launch.args.width <= 64) return launch_backward<T, 64>(launch);
  launch_backward<T, 128>(launch);
}

}  // namespace weft::cuda::attention
