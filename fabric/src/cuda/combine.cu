// The sum kernel of collectives: dst = op(a, b) * scale, 16 bytes a thread and access. Called by
// CudaDriver::combine.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/cuda_driver.h"
#include "fabric/cuda_launch.h"

namespace fabric::cuda {
namespace {

constexpr int kThreads = 512;
/// Blocks for long buffers: a copy engine feeds this kernel, so it must not take SMs from what runs
/// beside it.
constexpr int kMostBlocks = 64;

template <typename T>
struct Wide {
  using type = T;
};
template <>
struct Wide<__half> {
  using type = float;
};
template <>
struct Wide<__nv_bfloat16> {
  using type = float;
};
template <>
struct Wide<uint8_t> {
  using type = int;
};

template <typename T>
__device__ __forceinline__ typename Wide<T>::type widen(T v) {
  return static_cast<typename Wide<T>::type>(v);
}

template <typename T, typename W>
__device__ __forceinline__ T narrow(W v) {
  return static_cast<T>(v);
}

template <typename W>
__device__ __forceinline__ W apply(ReduceOp op, W a, W b) {
  switch (op) {
    case ReduceOp::kMax:
      return (a != a || a > b) ? a : b;
    case ReduceOp::kMin:
      return (a != a || a < b) ? a : b;
    case ReduceOp::kProd:
      return a * b;
    default:
      return a + b;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    combine_kernel(T* dst, const T* a, const T* b, size_t count, ReduceOp op, double scale,
                   bool vectors) {
  using W = typename Wide<T>::type;
  constexpr int kLanes = 16 / sizeof(T);
  const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
  const size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const W factor = static_cast<W>(scale);
  const bool scaled = scale != 1.0;
  size_t done = 0;
  if (vectors) {
    const size_t packs = count / kLanes;
    for (size_t p = first; p < packs; p += step) {
      uint4 va = reinterpret_cast<const uint4*>(a)[p];
      uint4 vb = reinterpret_cast<const uint4*>(b)[p];
      T ta[kLanes], tb[kLanes];
      memcpy(ta, &va, 16);
      memcpy(tb, &vb, 16);
#pragma unroll
      for (int i = 0; i < kLanes; ++i) {
        W v = apply<W>(op, widen(ta[i]), widen(tb[i]));
        ta[i] = narrow<T>(scaled ? v * factor : v);
      }
      memcpy(&va, ta, 16);
      reinterpret_cast<uint4*>(dst)[p] = va;
    }
    done = packs * kLanes;
  }
  for (size_t i = done + first; i < count; i += step) {
    W v = apply<W>(op, widen(a[i]), widen(b[i]));
    dst[i] = narrow<T>(scaled ? v * factor : v);
  }
}

template <typename T>
void launch(void* dst, const void* a, const void* b, size_t count, ReduceOp op, double scale,
            cudaStream_t stream) {
  auto bits = reinterpret_cast<uintptr_t>(dst) | reinterpret_cast<uintptr_t>(a) |
              reinterpret_cast<uintptr_t>(b);
  bool vectors = bits % 16 == 0;
  size_t items = vectors ? count / (16 / sizeof(T)) + 1 : count;
  size_t blocks = (items + kThreads - 1) / kThreads;
  if (blocks > kMostBlocks) blocks = kMostBlocks;
  combine_kernel<T><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      static_cast<T*>(dst), static_cast<const T*>(a), static_cast<const T*>(b), count, op, scale,
      vectors);
  check_launch("combine");
}

}  // namespace

void launch_combine(void* dst, const void* a, const void* b, size_t count, DType dtype, ReduceOp op,
                    double scale, int ordinal, cudaStream_t stream) {
  use_device(ordinal);
  switch (dtype) {
    case DType::kF32:
      return launch<float>(dst, a, b, count, op, scale, stream);
    case DType::kF64:
      return launch<double>(dst, a, b, count, op, scale, stream);
    case DType::kF16:
      return launch<__half>(dst, a, b, count, op, scale, stream);
    case DType::kBF16:
      return launch<__nv_bfloat16>(dst, a, b, count, op, scale, stream);
    case DType::kI64:
      return launch<long long>(dst, a, b, count, op, scale, stream);
    case DType::kI32:
      return launch<int>(dst, a, b, count, op, scale, stream);
    case DType::kU8:
    case DType::kBool:
      return launch<uint8_t>(dst, a, b, count, op, scale, stream);
  }
}

}  // namespace fabric::cuda
