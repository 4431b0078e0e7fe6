// C = Aᵀ·B with k shared among blocks on Hopper: for weight gradients of small layers, which have few tiles and a
// deep k, where CUTLASS adds the shares of a tile one after the other. Included by menu/sm90_split.cu alone.
//
// Two launches. A block of the first takes 64 x 128 of C and a share of k: one warp brings tiles
// of A (64 of k, 64 of m) and B (64 of k, 128 of n) by TMA through a ring of stages, a warpgroup
// multiplies them (wgmma, both operands dense along m and n) and writes its sums in f32 to a part
// of the workspace of its own. The second adds the parts in the order of k, so the bits are the same
// each time, and applies alpha, beta and bias. Rings and their barriers: see attention's sm90/tile.cuh.
#pragma once

#include "cuda/attention/sm90/tile.cuh"
#include "cuda/element.cuh"
#include "cuda/gemm/kernel_menu.h"
#include "cuda/gemm/split_map.h"

namespace weft::cuda::split {

namespace sm90 = attention::sm90;

constexpr int kRows = 64, kColumns = 128, kDeep = 64, kStages = 4;
constexpr int kThreads = sm90::kGroupThreads + 32;

struct Launch {
  CUtensorMap a, b;  // (columns, k, batch), boxes of 64 x 64
  int m, n, steps, steps_each, splits;
  int64_t pitch;    // elements from a row of the workspace to the next
  float* partials;  // (batch, splits, m, pitch)
};

template <typename T>
struct Memory {
  sm90::Tile<T, kDeep, kRows> a[kStages];
  sm90::Tile<T, kDeep, kColumns> b[kStages];
  sm90::Barrier full[kStages], empty[kStages];
};

/// Starts to bring 64 rows of k from `row` on, kWidth columns from `column` on.
template <typename T, int kWidth>
__device__ void bring(sm90::Tile<T, kDeep, kWidth>& tile, const CUtensorMap& map, int column,
                      int row, int batch, sm90::Barrier& full) {
#pragma unroll
  for (int block = 0; block < kWidth / sm90::kAtomColumns; ++block) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(attention::shared_address(tile.at[block][0])),
        "l"(&map), "r"(column + block * sm90::kAtomColumns), "r"(row), "r"(batch),
        "r"(full.address())
        : "memory");
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    product_kernel(const __grid_constant__ Launch launch) {
  extern __shared__ __align__(1024) unsigned char raw[];
  auto& memory = *reinterpret_cast<Memory<T>*>(raw);
  const int first_n = static_cast<int>(blockIdx.x) * kColumns;
  const int first_m = static_cast<int>(blockIdx.y) * kRows;
  const int part = static_cast<int>(blockIdx.z), batch = part / launch.splits;
  const int begin = part % launch.splits * launch.steps_each;
  const int end = min(begin + launch.steps_each, launch.steps);
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      memory.full[s].init(1);
      memory.empty[s].init(4);  // warps
    }
    sm90::publish_barriers();
  }
  __syncthreads();
  sm90::Turn<kStages> turn;
  if (__shfl_sync(~0u, threadIdx.x / 32, 0) == 4) {
    if (threadIdx.x % 32 != 0) return;
    for (int step = begin; step < end; ++step, turn.next()) {
      const int s = turn.stage;
      memory.empty[s].wait(turn.parity ^ 1);
      memory.full[s].expect(memory.a[s].kBytes + memory.b[s].kBytes);
      bring(memory.a[s], launch.a, first_m, step * kDeep, batch, memory.full[s]);
      bring(memory.b[s], launch.b, first_n, step * kDeep, batch, memory.full[s]);
    }
    return;
  }

  float sums[kColumns / 8][4] = {};
  for (int step = begin; step < end; ++step, turn.next()) {
    const int s = turn.stage;
    memory.full[s].wait(turn.parity);
    sm90::begin_products();
#pragma unroll
    for (int k = 0; k < kDeep; k += 16)
      sm90::product_of_columns<T, kColumns>(sums, sm90::down(memory.a[s], k),
                                            sm90::down(memory.b[s], k));
    sm90::end_products();
    sm90::wait_products<0>();
    sm90::hold(sums);
    memory.empty[s].arrive_as_warp();
  }

  float* out = launch.partials + static_cast<int64_t>(part) * launch.m * launch.pitch;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_m + threadIdx.x / 32 * 16 + attention::lane() / 4 + half * 8;
    if (row >= launch.m) continue;
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      const int column = first_n + j * 8 + attention::lane() % 4 * 2;
      if (column >= launch.n) continue;  // the pitch is even: a neighbour past the end has room
      *reinterpret_cast<float2*>(out + row * launch.pitch + column) =
          make_float2(sums[j][half * 2], sums[j][half * 2 + 1]);
    }
  }
}

constexpr int kAddThreads = 256;

/// A thread takes four neighbouring elements of C; blockIdx.y: of the batch.
template <typename T>
__global__ void __launch_bounds__(kAddThreads)
    add_kernel(Launch launch, T* c, const T* bias, int64_t ldc, int64_t c_batch, float alpha,
               float beta) {
  const int64_t quads = launch.pitch / 4;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kAddThreads + threadIdx.x;
  const int64_t row = at / quads, column = at % quads * 4;
  if (row >= launch.m) return;
  const int64_t each = launch.m * launch.pitch;
  const float* from =
      launch.partials + blockIdx.y * launch.splits * each + row * launch.pitch + column;
  float sum[4] = {};
#pragma unroll 4
  for (int s = 0; s < launch.splits; ++s) {
    const float4 part = *reinterpret_cast<const float4*>(from + s * each);
    sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
  }
  T* to = c + blockIdx.y * c_batch + row * ldc + column;
  const int count = static_cast<int>(min(int64_t{4}, launch.n - column));
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i >= count) break;
    float v = alpha * sum[i];
    if (bias != nullptr) v += convert<float>(bias[column + i]);
    if (beta != 0) v += beta * convert<float>(to[i]);
    sum[i] = v;
  }
  if (count == 4) {  // rows of C begin at 16 bytes
    Pack<T, 4> pack;
#pragma unroll
    for (int i = 0; i < 4; ++i) pack.v[i] = convert<T>(sum[i]);
    store_pack(to, pack);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < count) to[i] = convert<T>(sum[i]);
}

inline int64_t pitch_of(const GemmProblem& p) { return (p.n + 3) / 4 * 4; }

inline size_t workspace(const GemmProblem& p, const GemmSetting& s) {
  return sizeof(float) * static_cast<size_t>(p.batch) * static_cast<size_t>(s.splits) *
         static_cast<size_t>(p.m) * static_cast<size_t>(pitch_of(p));
}

template <typename T>
cudaError_t launch(const GemmProblem& p, const GemmSetting& s, void* workspace,
                   cudaStream_t stream) {
  Launch launch{};
  const fabric::DType dtype = std::is_same_v<T, F16> ? fabric::DType::kF16 : fabric::DType::kBF16;
  launch.a = map_columns(p.a, dtype, p.m, p.k, p.lda, p.batch, p.a_batch);
  launch.b = map_columns(p.b, dtype, p.n, p.k, p.ldb, p.batch, p.b_batch);
  launch.m = p.m, launch.n = p.n;
  launch.splits = s.splits;
  launch.steps = (p.k + kDeep - 1) / kDeep;
  launch.steps_each = (launch.steps + s.splits - 1) / s.splits;
  launch.pitch = pitch_of(p);
  launch.partials = static_cast<float*>(workspace);
  if (cudaError_t status = cudaFuncSetAttribute(
          product_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Memory<T>));
      status != cudaSuccess)
    return status;
  const auto tiles = [](int64_t size, int64_t tile) {
    return static_cast<unsigned>((size + tile - 1) / tile);
  };
  const dim3 grid(tiles(p.n, kColumns), tiles(p.m, kRows),
                  static_cast<unsigned>(p.batch * s.splits));
  product_kernel<T><<<grid, kThreads, sizeof(Memory<T>), stream>>>(launch);
  if (cudaError_t status = cudaGetLastError(); status != cudaSuccess) return status;
  const dim3 add_grid(tiles(launch.pitch / 4 * p.m, kAddThreads), static_cast<unsigned>(p.batch));
  add_kernel<T><<<add_grid, kAddThreads, 0, stream>>>(launch, static_cast<T*>(p.c),
                                                      static_cast<const T*>(p.bias), p.ldc,
                                                      p.c_batch, p.alpha, p.beta);
  return cudaGetLastError();
}

}  // namespace weft::cuda::split
