// What the two backward kernels of attention on Hopper share: what softmax leaves to its gradient,
// and how a group's own rows are multiplied. Included by sm90/backward_{queries,keys}.cuh.
//
// Order within a warpgroup: once step j's slopes are in registers, the products of two steps are
// started at once: the scores of step j+1, what step j adds to the gradients, and the slopes of step
// j+1. The weights of step j+1 are made beside all but the first. No product is under way from one
// round of the loop to the next, since the compiler would then let each wait for the one before.
#pragma once

#include "cuda/attention/sm90/role.cuh"
#include "cuda/attention/softmax.cuh"

namespace weft::cuda::attention::sm90 {

inline constexpr int kStep = 64;  // rows of the other operand in a step
inline constexpr int kStages = 4;

using Summary = AttentionSummary;
static_assert(Summary::kQueries == kStep);

template <int kWidth>
struct QueriesShape;
template <>
struct QueriesShape<64> : Roles<3, 1> {};
template <>
struct QueriesShape<128> : Roles<2, 1> {};
using KeysShape = Roles<2, 1>;

struct BackwardLaunch {
  CUtensorMap q, k, v, grad_out;       // boxes of 64 rows
  CUtensorMap grad_q, grad_k, grad_v;  // boxes of 16 rows
  Problem problem;
  const Summary* summaries;  // (batch, heads, blocks of 64 queries)
};

/// A block for 64 queries of a head, four lanes a row.
template <typename T>
__global__ void __launch_bounds__(256)
    summary_kernel(const __grid_constant__ AttentionLaunch launch) {
  const AttentionArgs& args = launch.args;
  const int64_t blocks = (args.q_len + kStep - 1) / kStep, head = blockIdx.x / blocks;
  const int in_block = threadIdx.x / 4, part = threadIdx.x % 4;
  const int64_t row = blockIdx.x % blocks * kStep + in_block;
  float sum = 0;
  if (row < args.q_len) {
    auto row_of = [&](const void* base, const int64_t(&stride)[3]) {
      return static_cast<const T*>(base) + head / args.heads * stride[0] +
             head % args.heads * stride[1] + row * stride[2];
    };
    const T* g = row_of(args.grad_out, args.grad_out_stride);
    const T* o = row_of(args.out, args.out_stride);
    for (int c = part * 8; c < args.width; c += 32) {
      const uint4 x = *reinterpret_cast<const uint4*>(g + c);
      const uint4 y = *reinterpret_cast<const uint4*>(o + c);
      const T *xs = reinterpret_cast<const T*>(&x), *ys = reinterpret_cast<const T*>(&y);
#pragma unroll
      for (int e = 0; e < 8; ++e) sum += static_cast<float>(xs[e]) * static_cast<float>(ys[e]);
    }
  }
  sum += __shfl_xor_sync(~0u, sum, 1);
  sum += __shfl_xor_sync(~0u, sum, 2);
  if (part != 0) return;
  const float lse = row < args.q_len ? args.lse[head * args.q_len + row] : -INFINITY;
  Summary& to = static_cast<Summary*>(launch.stats)[blockIdx.x];
  to.lse[in_block] = lse == -INFINITY ? INFINITY : lse * kLog2E;
  to.delta[in_block] = sum;
}

/// A group's own rows as left operands: in registers where they have room, else in their tile.
template <typename T, int kRows, int kWidth, bool kInRegisters>
struct OwnRows {
  uint32_t left[kInRegisters ? kWidth / 16 : 1][4];

  __device__ void take(Tile<T, kRows, kWidth>& tile, int warp_row) {
    if constexpr (kInRegisters) load_left<T, kRows, kWidth>(left, tile, warp_row);
  }
  /// sums = own rows · otherᵀ
  __device__ void multiply(float (&sums)[kStep / 8][4], Tile<T, kRows, kWidth>& tile, int group_row,
                           Tile<T, kStep, kWidth>& other) {
    if constexpr (kInRegisters) {
      multiply_rows(sums, left, other);
    } else {
      multiply_rows(sums, tile, group_row, other);
    }
  }
};

}  // namespace weft::cuda::attention::sm90
