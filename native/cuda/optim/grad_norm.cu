// grad_norm and grad_clip on CUDA: the norm over all gradients of a model, and the scaling that
// brings it under a bound (Pascanu et al. 2013; torch.nn.utils.clip_grad_norm_). Each block sums a
// chunk, one block adds the chunks in a fixed order, and the clip reads the norm on the device.
// Called through the kernel table. Semantics are those of native/cpu/optim/grad_norm.cc.
#include "cuda/kernel_list.h"
#include "cuda/optim/param_list.cuh"
#include "cuda/team.cuh"

namespace weft::cuda {
namespace {

constexpr int kTotalThreads = 1024;

template <typename T>
__device__ __forceinline__ double squares_of_chunk(const ParamEntry& p) {
  using L = Lane<T>;
  L sum[kParamPack] = {};
  each_pack(p, [&](int64_t i, int present) {
    L g[kParamPack];
    read_four<T>(p.grad, i, p.packs, present, g);
#pragma unroll
    for (int k = 0; k < kParamPack; ++k) sum[k] += g[k] * g[k];
  });
  return (static_cast<double>(sum[0]) + sum[1]) + (static_cast<double>(sum[2]) + sum[3]);
}

__global__ void __launch_bounds__(kParamThreads, 3)
    squares_kernel(const __grid_constant__ ParamList list, double* partials) {
  const ParamEntry& p = list.entry[entry_of_block(list)];
  double sum = 0;
  switch (p.dtype) {
    case DType::kF32:
      sum = squares_of_chunk<float>(p);
      break;
    case DType::kF16:
      sum = squares_of_chunk<F16>(p);
      break;
    case DType::kBF16:
      sum = squares_of_chunk<BF16>(p);
      break;
    default:
      sum = squares_of_chunk<double>(p);
      break;
  }
  sum = BlockTeam().combine(sum, Plus{});
  if (threadIdx.x == 0) partials[list.block_offset + blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kTotalThreads)
    norm_kernel(const double* partials, uint32_t count, float* norm) {
  double sum = 0;
#pragma unroll 4
  for (uint32_t i = threadIdx.x; i < count; i += kTotalThreads) sum += partials[i];
  sum = BlockTeam().combine(sum, Plus{});
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(sum));
}

template <typename T>
__device__ __forceinline__ void scale_chunk(const ParamEntry& p, double factor) {
  using L = Lane<T>;
  const L by = factor;
  each_pack(p, [&](int64_t i, int present) {
    L g[kParamPack];
    read_four<T>(p.grad, i, p.packs, present, g);
#pragma unroll
    for (int k = 0; k < kParamPack; ++k) g[k] *= by;
    // The one kernel that writes gradients of the list.
    write_four<T>(const_cast<void*>(p.grad), i, p.packs, present, g);
  });
}

__global__ void __launch_bounds__(kParamThreads, 3)
    clip_kernel(const __grid_constant__ ParamList list, const float* norm, double max_norm) {
  const double wanted = max_norm / (static_cast<double>(*norm) + 1e-6);
  if (wanted >= 1) return;  // NaN goes on and makes the gradients NaN, as in PyTorch
  const ParamEntry& p = list.entry[entry_of_block(list)];
  switch (p.dtype) {
    case DType::kF32:
      return scale_chunk<float>(p, wanted);
    case DType::kF16:
      return scale_chunk<F16>(p, wanted);
    case DType::kBF16:
      return scale_chunk<BF16>(p, wanted);
    default:
      return scale_chunk<double>(p, wanted);
  }
}

}  // namespace

void grad_norm(const OptimParam* params, int count, float* norm, Stream& stream) {
  check_params(params, count, "grad_norm");
  uint32_t total = 0;
  for (int i = 0; i < count; ++i) total += param_blocks(params[i]);
  const cudaStream_t s = enter(stream);
  Scratch scratch(stream, sizeof(double) * total);
  auto* partials = scratch.as<double>();
  for_each_list(params, count, [&](const ParamList& list, uint32_t blocks) {
    squares_kernel<<<blocks, kParamThreads, 0, s>>>(list, partials);
    check_launch("grad_norm");
  });
  norm_kernel<<<1, kTotalThreads, 0, s>>>(partials, total, norm);
  check_launch("grad_norm");
}

void grad_clip(const OptimParam* params, int count, const float* norm, double max_norm,
               Stream& stream) {
  check_params(params, count, "grad_clip");
  const cudaStream_t s = enter(stream);
  for_each_list(params, count, [&](const ParamList& list, uint32_t blocks) {
    clip_kernel<<<blocks, kParamThreads, 0, s>>>(list, norm, max_norm);
    check_launch("grad_clip");
  });
}

}  // namespace weft::cuda
