// The backward kernels of attention on Hopper. Weights are made again from the stored log-sum-exp
// (Dao et al. 2022), once for each of two kernels: one walks over the keys and sums the gradient of
// its queries, one walks over the queries and sums those of its keys. Each sum has one owner and one
// order, so nothing is atomic and the bits are the same each time. Included by sm90/{bf16,f16}.cu.
#pragma once

#include "cuda/attention/sm90/backward_keys.cuh"
#include "cuda/attention/sm90/backward_queries.cuh"

namespace weft::cuda::attention::sm90 {

template <typename T, int kWidth>
void launch_backward(const AttentionLaunch& launch) {
  const AttentionArgs& args = launch.args;
  const int64_t blocks = (args.q_len + kStep - 1) / kStep * args.batch * args.heads;
  summary_kernel<T><<<static_cast<unsigned>(blocks), 256, 0, launch.stream>>>(launch);
  fabric::cuda::check_launch("attention_backward");
  const bool queries = args.grad_q != nullptr, keys = args.grad_k != nullptr;
  auto result = [&](const void* base, const int64_t(&stride)[3], int64_t length) {
    return base ? map_operand(args, base, stride, length, 16) : CUtensorMap{};
  };
  const BackwardLaunch arguments{
      map_operand(args, args.q, args.q_stride, args.q_len, kGroupRows),
      map_operand(args, args.k, args.k_stride, args.kv_len, kGroupRows),
      map_operand(args, args.v, args.v_stride, args.kv_len, kGroupRows),
      map_operand(args, args.grad_out, args.grad_out_stride, args.q_len, kGroupRows),
      result(args.grad_q, args.grad_q_stride, args.q_len),
      result(args.grad_k, args.grad_k_stride, args.kv_len),
      result(args.grad_v, args.grad_v_stride, args.kv_len),
      problem_of(args),
      static_cast<const Summary*>(launch.stats)};
  if (queries) {
    launch_heads<QueriesShape<kWidth>>(queries_kernel<T, kWidth>, arguments, launch, args.q_len,
                                       sizeof(QueriesMemory<T, kWidth>), "attention_backward");
  }
  if (keys) {
    launch_heads<KeysShape>(keys_kernel<T, kWidth>, arguments, launch, args.kv_len,
                            sizeof(KeysMemory<T, kWidth>), "attention_backward");
  }
}

template <typename T>
void backward(const AttentionLaunch& launch) {
  if (launch.args.width <= 64) return launch_backward<T, 64>(launch);
  launch_backward<T, 128>(launch);
}

}  // namespace weft::cuda::attention::sm90
