// The forward kernel of attention on tensor cores: a block takes 64 queries of a head and passes
// over the keys once, with a running maximum and sum (Milakov & Gimelshein 2018; Dao et al. 2022).
// Included by attention_{bf16,f16,tf32}.cu.
#pragma once

#include "cuda/attention/softmax.cuh"
#include "cuda/attention/tile.cuh"

namespace weft::cuda::attention {

template <typename T, int kWidth>
struct ForwardMemory {
  static constexpr int kKeys = kStep<kWidth>;
  T q[kRows * kPitch<T, kWidth>];
  T k[2][kKeys * kPitch<T, kWidth>];  // one in use while the next is loaded
  T v[2][kKeys * kPitch<T, kWidth>];
};

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const __grid_constant__ AttentionLaunch launch) {
  constexpr int kKeys = kStep<kWidth>;
  extern __shared__ __align__(16) unsigned char memory[];
  auto& tiles = *reinterpret_cast<ForwardMemory<T, kWidth>*>(memory);
  const AttentionArgs& args = launch.args;
  const int width = static_cast<int>(args.width);
  const int64_t blocks = (args.q_len + kRows - 1) / kRows;
  const int64_t head = blockIdx.x / blocks;
  // Late queries see most keys where causal: they begin first.
  const int64_t first = (blocks - 1 - blockIdx.x % blocks) * kRows;
  const T* q = head_in<T>(args.q, args.q_stride, args, head);
  const T* k = head_in<T>(args.k, args.k_stride, args, head);
  const T* v = head_in<T>(args.v, args.v_stride, args, head);
  const int warp_row = threadIdx.x / 32 * 16;

  const int64_t last = min(first + kRows, args.q_len) - 1;
  const int64_t seen = visible_keys(args, last);
  const int64_t steps = (seen + kKeys - 1) / kKeys;
  auto load_keys = [&](int64_t step) {
    load_tile<T, kWidth, kKeys>(tiles.k[step % 2], k, args.k_stride[2], step * kKeys, args.kv_len,
                                width, launch.aligned);
    load_tile<T, kWidth, kKeys>(tiles.v[step % 2], v, args.v_stride[2], step * kKeys, args.kv_len,
                                width, launch.aligned);
  };
  load_tile<T, kWidth, kRows>(tiles.q, q, args.q_stride[2], first, args.q_len, width,
                              launch.aligned);
  if (steps > 0) load_keys(0);
  commit_copies();

  const float scale = static_cast<float>(args.scale) * kLog2E;
  float out[kWidth / 8][4] = {};
  RunningSoftmax<exp2_exact> softmax;
  int64_t visible[2];  // keys of this lane's rows
#pragma unroll
  for (int half = 0; half < 2; ++half)
    visible[half] = visible_keys(args, first + warp_row + lane() / 4 + half * 8);

  for (int64_t step = 0; step < steps; ++step) {
    if (step + 1 < steps) load_keys(step + 1);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    float scores[kKeys / 8][4] = {};
    multiply_rows<T, kWidth, kKeys>(scores, tiles.q, warp_row, tiles.k[step % 2]);
    const int64_t key0 = step * kKeys;
    const bool whole = key0 + kKeys <= visible_keys(args, first);
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[j][e] *= scale;
        const int64_t key = key0 + j * 8 + lane() % 4 * 2 + e % 2;
        if (!whole && key >= visible[e / 2]) scores[j][e] = -INFINITY;
      }
    }
    float rescale[2];
    softmax.advance(scores, 1.0f, rescale);
#pragma unroll
    for (int j = 0; j < kWidth / 8; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) out[j][e] *= rescale[e / 2];
    multiply_columns<T, kWidth, kKeys>(out, scores, tiles.v[step % 2]);
    __syncthreads();  // the next step loads over this one's tiles
  }
  wait_copies<0>();

  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = softmax.total(half);
    inverse[half] = total == 0 ? 0.0f : 1.0f / total;
    const int64_t row = first + warp_row + lane() / 4 + half * 8;
    if (lane() % 4 == 0 && row < args.q_len)
      args.lse[head * args.q_len + row] = (softmax.top[half] + log2f(total)) / kLog2E;
  }
  store_rows<T, kWidth>(out, inverse, head_out<T>(args.out, args.out_stride, args, head),
                        args.out_stride[2], first + warp_row, args.q_len, width, launch.aligned);
}

template <typename T, int kWidth>
void launch_forward(const AttentionLaunch& launch) {
  launch_blocks(forward_kernel<T, kWidth>, launch, launch.args.q_len,
                sizeof(ForwardMemory<T, kWidth>), "attention_forward");
}

template <typename T>
void forward(const AttentionLaunch& launch) {
  if (launch.args.width <= 32) return launch_forward<T, 32>(launch);
  if (launch.args.width <= 64) return launch_forward<T, 64>(launch);
  launch_forward<T, 128>(launch);
}

}  // namespace weft::cuda::attention
