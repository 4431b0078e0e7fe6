// The backward kernel that takes a head whole; tile.cuh tells how.
#pragma once

#include "cuda/attention/softmax.cuh"
#include "cuda/attention/whole_head/tile.cuh"

namespace weft::cuda::attention::whole_head {

/// Blocks a multiprocessor, by registers and shared memory.
template <typename T, int kLength>
inline constexpr int kBackwardBlocks = sizeof(T) == 4  ? (kLength <= 64   ? 4
                                                          : kLength <= 80 ? 3
                                                                          : 2)
                                       : kLength <= 64 ? 5
                                       : kLength <= 80 ? 4
                                       : kLength <= 96 ? 3
                                                       : 2;
template <typename T>
inline constexpr int kUnrolled =
    sizeof(T) == 2 ? 8 : 1;  // steps of the gradients, for want of registers

template <typename T, int kLength>
struct BackwardMemory {
  T q[kLength * kPitch<T, kWidth>], k[kLength * kPitch<T, kWidth>], v[kLength * kPitch<T, kWidth>],
      g[kLength * kPitch<T, kWidth>];  // g: grad_out
  float lse[kLength], delta[kLength];  // by query; lse in units of log2
};

/// delta = grad_out · out of every query, which softmax's gradient subtracts: grad_out from its tile,
/// `out` as Outs read it before the tile was there.
template <typename T, int kLength>
struct Outs {
  static constexpr int kChunk = 16 / sizeof(T), kChunks = kWidth / kChunk;
  static constexpr int kEach =
      kChunks / 2;  // chunks a thread; those of a row lie in neighbouring lanes
  uint4 part[kEach];

  __device__ Outs(const AttentionLaunch& launch, int64_t head) {
    const AttentionArgs& args = launch.args;
    const T* out = head_in<T>(args.out, args.out_stride, args, head);
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      const int i = n * 2 * kLength + threadIdx.x, r = i / kChunks, c = i % kChunks * kChunk;
      const T* from = out + r * args.out_stride[2] + c;
      part[n] = {};
      if (r >= args.q_len || c >= args.width) continue;
      if (launch.aligned) {
        part[n] = *reinterpret_cast<const uint4*>(from);
      } else {
        T* to = reinterpret_cast<T*>(&part[n]);
        for (int e = 0; e < kChunk && c + e < args.width; ++e) to[e] = from[e];
      }
    }
  }
  __device__ void multiply(const T* g, float* delta) const {
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      const int i = n * 2 * kLength + threadIdx.x, r = i / kChunks, c = i % kChunks * kChunk;
      const T* out = reinterpret_cast<const T*>(&part[n]);
      float sum = 0;
#pragma unroll
      for (int e = 0; e < kChunk; ++e)
        sum += static_cast<float>(g[r * kPitch<T, kWidth> + c + e]) * static_cast<float>(out[e]);
#pragma unroll
      for (int step = kChunks / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
      if (i % kChunks == 0) delta[r] = sum;
    }
  }
};

template <typename T, int kLength>
__device__ void query_gradients(const AttentionLaunch& launch, int64_t head,
                                const BackwardMemory<T, kLength>& tiles, int row0) {
  const AttentionArgs& args = launch.args;
  const int queries = static_cast<int>(args.q_len);
  if (row0 >= queries) return;
  const float scale = static_cast<float>(args.scale), scale2 = scale * kLog2E;
  const Rows<T> q(tiles.q, row0), g(tiles.g, row0);
  const int seen = static_cast<int>(visible_keys(args, min(row0 + 15, queries - 1)));
  const int all = static_cast<int>(visible_keys(args, row0));
  float lse[2], delta[2];
  int visible[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = row0 + lane() / 4 + half * 8;
    lse[half] = tiles.lse[row], delta[half] = tiles.delta[row];
    visible[half] = static_cast<int>(visible_keys(args, row));
  }
  float grad[kWidth / 8][4] = {};
#pragma unroll kUnrolled < T>
  for (int n = 0; n < kLength; n += 16) {
    if (n >= seen) break;
    float weights[2][4] = {}, slopes[2][4] = {};
    q.multiply(weights, tiles.k, n);
    g.multiply(slopes, tiles.v, n);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int j = i / 4, e = i % 4, key = n + j * 8 + lane() % 4 * 2 + e % 2;
      const float p = exp2_fast(weights[j][e] * scale2 - lse[e / 2]);
      const float slope = p * (slopes[j][e] - delta[e / 2]) * scale;
      slopes[j][e] = n + 16 <= all || key < visible[e / 2] ? slope : 0.0f;
    }
    weigh<T>(grad, slopes, tiles.k, n);
  }
  const float one[2] = {1, 1};
  store_rows<T, kWidth>(grad, one, head_out<T>(args.grad_q, args.grad_q_stride, args, head),
                        args.grad_q_stride[2], row0, queries, static_cast<int>(args.width),
                        launch.aligned);
}

template <typename T, int kLength>
__device__ void key_gradients(const AttentionLaunch& launch, int64_t head,
                              const BackwardMemory<T, kLength>& tiles, int row0) {
  const AttentionArgs& args = launch.args;
  const int queries = static_cast<int>(args.q_len), keys = static_cast<int>(args.kv_len);
  if (row0 >= keys) return;
  const float scale = static_cast<float>(args.scale), scale2 = scale * kLog2E;
  const Rows<T> k(tiles.k, row0), v(tiles.v, row0);
  // Query i sees this lane's keys where i >= least; those past the last query have weights of 0.
  const int shift = keys - queries, first = args.causal ? max(row0 - shift, 0) : 0;
  int least[2];
#pragma unroll
  for (int half = 0; half < 2; ++half)
    least[half] = args.causal ? row0 + lane() / 4 + half * 8 - shift : 0;
  float grad_k[kWidth / 8][4] = {}, grad_v[kWidth / 8][4] = {};
#pragma unroll kUnrolled < T>
  for (int n = 0; n < kLength; n += 16) {
    if (n + 16 <= first) continue;
    if (n >= queries) break;
    float weights[2][4] = {}, slopes[2][4] = {};  // (keys, queries)
    k.multiply(weights, tiles.q, n);
    v.multiply(slopes, tiles.g, n);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int j = i / 4, e = i % 4, query = n + j * 8 + lane() % 4 * 2 + e % 2;
      const bool sees = query >= least[e / 2];
      const float p = exp2_fast(weights[j][e] * scale2 - tiles.lse[query]);
      const float slope = p * (slopes[j][e] - tiles.delta[query]) * scale;
      weights[j][e] = sees ? p : 0.0f;
      slopes[j][e] = sees ? slope : 0.0f;
    }
    weigh<T>(grad_v, weights, tiles.g, n);
    weigh<T>(grad_k, slopes, tiles.q, n);
  }
  const float one[2] = {1, 1};
  const int width = static_cast<int>(args.width);
  store_rows<T, kWidth>(grad_k, one, head_out<T>(args.grad_k, args.grad_k_stride, args, head),
                        args.grad_k_stride[2], row0, keys, width, launch.aligned);
  store_rows<T, kWidth>(grad_v, one, head_out<T>(args.grad_v, args.grad_v_stride, args, head),
                        args.grad_v_stride[2], row0, keys, width, launch.aligned);
}

template <typename T, int kLength>
__global__ void __launch_bounds__(2 * kLength, kBackwardBlocks<T, kLength>)
    backward_kernel(const __grid_constant__ AttentionLaunch launch) {
  extern __shared__ __align__(16) unsigned char memory[];
  auto* buffers = reinterpret_cast<BackwardMemory<T, kLength>*>(memory);
  const AttentionArgs& args = launch.args;
  const int64_t heads = args.batch * args.heads;
  const int width = static_cast<int>(args.width), queries = static_cast<int>(args.q_len);
  const int keys = static_cast<int>(args.kv_len), row0 = threadIdx.x / 32 * 16;
  const bool aligned = launch.aligned;
  const auto begin = [&](BackwardMemory<T, kLength>& tiles, int64_t head) {
    load<T, kLength>(tiles.g, head_in<T>(args.grad_out, args.grad_out_stride, args, head),
                     args.grad_out_stride[2], queries, width, aligned);
    load<T, kLength>(tiles.q, head_in<T>(args.q, args.q_stride, args, head), args.q_stride[2],
                     queries, width, aligned);
    load<T, kLength>(tiles.k, head_in<T>(args.k, args.k_stride, args, head), args.k_stride[2], keys,
                     width, aligned);
    load<T, kLength>(tiles.v, head_in<T>(args.v, args.v_stride, args, head), args.v_stride[2], keys,
                     width, aligned);
    commit_copies();
  };
  // In units of log2; a row that sees no key, or is past the end, gets weights of 0.
  const auto lse_of_row = [&](int64_t head) {
    const int row = static_cast<int>(threadIdx.x);
    const float lse = row < queries ? args.lse[head * queries + row] : -INFINITY;
    return lse == -INFINITY ? INFINITY : lse * kLog2E;
  };
  begin(buffers[0], blockIdx.x);
  int turn = 0;
  for (int64_t head = blockIdx.x; head < heads; head += gridDim.x) {
    BackwardMemory<T, kLength>& tiles = buffers[turn];
    const Outs<T, kLength> outs(launch, head);
    if (threadIdx.x < kLength) tiles.lse[threadIdx.x] = lse_of_row(head);
    wait_copies<0>();
    __syncthreads();  // and nobody is at the other buffer any more
    outs.multiply(tiles.g, tiles.delta);
    const int64_t next = head + gridDim.x;
    if (kBuffers<T> == 2 && next < heads) begin(buffers[turn ^ 1], next);
    __syncthreads();
    if (args.grad_q) query_gradients<T, kLength>(launch, head, tiles, row0);
    if (args.grad_k && args.grad_v) key_gradients<T, kLength>(launch, head, tiles, row0);
    if constexpr (kBuffers<T> == 2) turn ^= 1;
  }
}

template <typename T, int kLength>
void backward_of(const AttentionLaunch& launch) {
  start<T, kLength, BackwardMemory<T, kLength>>(
      backward_kernel<T, kLength>, kBackwardBlocks<T, kLength>, launch, "attention_backward");
}

template <typename T>
void backward(const AttentionLaunch& launch) {
  const int64_t length = longest(launch.args);
  if (length <= 64) return backward_of<T, 64>(launch);
  if (length <= 80) return backward_of<T, 80>(launch);
  if (length <= 96) return backward_of<T, 96>(launch);
  backward_of<T, 128>(launch);
}

}  // namespace weft::cuda::attention::whole_head
