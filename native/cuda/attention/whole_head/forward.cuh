// The forward kernel that takes a head whole; tile.cuh tells how.
#pragma once

#include "cuda/attention/softmax.cuh"
#include "cuda/attention/whole_head/tile.cuh"

namespace weft::cuda::attention::whole_head {

/// Blocks a multiprocessor, by registers and shared memory.
template <typename T, int kLength>
inline constexpr int kForwardBlocks = sizeof(T) == 4  ? (kLength <= 80 ? 3 : 2)
                                      : kLength <= 64 ? 6
                                      : kLength <= 80 ? 4
                                      : kLength <= 96 ? 3
                                                      : 2;

template <typename T, int kLength>
struct ForwardMemory {
  T q[kLength * kPitch<T, kWidth>], k[kLength * kPitch<T, kWidth>], v[kLength * kPitch<T, kWidth>];
};
/// One head, by its tiles; row0: the warp's first query.
template <typename T, int kLength>
__device__ void forward_head(const AttentionLaunch& launch, int64_t head,
                             const ForwardMemory<T, kLength>& tiles, int row0) {
  const AttentionArgs& args = launch.args;
  const int queries = static_cast<int>(args.q_len);
  if (row0 >= queries) return;
  const Rows<T> q(tiles.q, row0);
  const int seen = static_cast<int>(visible_keys(args, min(row0 + 15, queries - 1)));
  const int all = static_cast<int>(visible_keys(args, row0));  // that every row of the warp sees
  float scores[kLength / 8][4];
#pragma unroll
  for (int n = 0; n < kLength; n += 16) {
    float(*const part)[4] = scores + n / 8;
#pragma unroll
    for (int i = 0; i < 8; ++i) part[i / 4][i % 4] = n < seen ? 0.0f : -INFINITY;
    if (n >= seen) continue;
    q.multiply(part, tiles.k, n);
    if (n + 16 <= all) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int visible = static_cast<int>(visible_keys(args, row0 + lane() / 4 + half * 8));
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int key = n + j * 8 + lane() % 4 * 2;
        if (key >= visible) part[j][half * 2] = -INFINITY;
        if (key + 1 >= visible) part[j][half * 2 + 1] = -INFINITY;
      }
    }
  }
  const float scale = static_cast<float>(args.scale) * kLog2E;
  RunningSoftmax<exp2_fast> softmax;
  float rescale[2];
  softmax.advance(scores, scale, rescale);
  float out[kWidth / 8][4] = {};
#pragma unroll
  for (int n = 0; n < kLength; n += 16) {
    if (n >= seen) break;
    const float part[2][4] = {
        {scores[n / 8][0], scores[n / 8][1], scores[n / 8][2], scores[n / 8][3]},
        {scores[n / 8 + 1][0], scores[n / 8 + 1][1], scores[n / 8 + 1][2], scores[n / 8 + 1][3]}};
    weigh<T>(out, part, tiles.v, n);
  }
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = softmax.total(half);
    inverse[half] = total == 0 ? 0.0f : 1.0f / total;
    const int row = row0 + lane() / 4 + half * 8;
    if (lane() % 4 == 0 && row < queries)
      args.lse[head * args.q_len + row] = (softmax.top[half] * scale + log2f(total)) / kLog2E;
  }
  store_rows<T, kWidth>(out, inverse, head_out<T>(args.out, args.out_stride, args, head),
                        args.out_stride[2], row0, queries, static_cast<int>(args.width),
                        launch.aligned);
}

template <typename T, int kLength>
__global__ void __launch_bounds__(2 * kLength, kForwardBlocks<T, kLength>)
    forward_kernel(const __grid_constant__ AttentionLaunch launch) {
  extern __shared__ __align__(16) unsigned char memory[];
  auto* buffers = reinterpret_cast<ForwardMemory<T, kLength>*>(memory);
  const AttentionArgs& args = launch.args;
  const int64_t heads = args.batch * args.heads;
  const int width = static_cast<int>(args.width), queries = static_cast<int>(args.q_len);
  const int keys = static_cast<int>(args.kv_len);
  const auto begin = [&](ForwardMemory<T, kLength>& tiles, int64_t head) {
    load<T, kLength>(tiles.q, head_in<T>(args.q, args.q_stride, args, head), args.q_stride[2],
                     queries, width, launch.aligned);
    load<T, kLength>(tiles.k, head_in<T>(args.k, args.k_stride, args, head), args.k_stride[2], keys,
                     width, launch.aligned);
    load<T, kLength>(tiles.v, head_in<T>(args.v, args.v_stride, args, head), args.v_stride[2], keys,
                     width, launch.aligned);
    commit_copies();
  };
  begin(buffers[0], blockIdx.x);
  int turn = 0;
  for (int64_t head = blockIdx.x; head < heads; head += gridDim.x) {
    wait_copies<0>();
    __syncthreads();  // and nobody is at the other buffer any more
    const int64_t next = head + gridDim.x;
    if (kBuffers<T> == 2 && next < heads) begin(buffers[turn ^ 1], next);
    forward_head<T, kLength>(launch, head, buffers[turn], threadIdx.x / 32 * 16);
    if constexpr (kBuffers<T> == 2) turn ^= 1;
  }
}

template <typename T, int kLength>
void forward_of(const AttentionLaunch& launch) {
  start<T, kLength, ForwardMemory<T, kLength>>(
      forward_kernel<T, kLength>, kForwardBlocks<T, kLength>, launch, "attention_forward");
}
template <typename T>
void forward(const AttentionLaunch& launch) {
  const int64_t length = longest(launch.args);
  if (length <= 64) return forward_of<T, 64>(launch);
  if (length <= 80) return forward_of<T, 80>(launch);
  if (length <= 96 || sizeof(T) == 4) return forward_of<T, 96>(launch);  // f32: dispatch.cu
  if constexpr (sizeof(T) == 2) forward_of<T, 128>(launch);
}
}  // namespace weft::cuda::attention::whole_head
