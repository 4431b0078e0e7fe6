// gelu_rows: see activation.h. A thread takes a pack of 16 bytes where rows allow it, else an element.
#include <algorithm>

#include "cuda/element.cuh"
#include "cuda/gemm/activation.h"
#include "cuda/launch.h"
#include "fabric/error.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float gelu(float x) {
  const float u = x * (1.5957691216057308f + 0.07135481627260025f * x * x);
  return __fdividef(x, 1.0f + __expf(-u));
}

template <typename T>
__global__ void __launch_bounds__(kThreads) packed_kernel(const T* in, T* out, int64_t packs) {
  constexpr int V = kPack<T>, U = 2;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads * U + threadIdx.x;
  Pack<T, V> x[U];
#pragma unroll
  for (int u = 0; u < U; ++u)
    if (first + u * kThreads < packs) x[u] = load_pack<V>(in + (first + u * kThreads) * V);
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if (first + u * kThreads >= packs) return;
#pragma unroll
    for (int k = 0; k < V; ++k) x[u].v[k] = convert<T>(gelu(convert<float>(x[u].v[k])));
    store_pack(out + (first + u * kThreads) * V, x[u]);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    gelu_kernel(const T* in, T* out, int64_t count, int64_t columns, int64_t ld) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < count;
       i += step) {
    const int64_t at = ld == columns ? i : i / columns * ld + i % columns;
    out[at] = convert<T>(gelu(convert<float>(in[at])));
  }
}

template <typename T>
void launch(const void* in, void* out, int64_t rows, int64_t columns, int64_t ld,
            cudaStream_t stream) {
  const int64_t count = rows * columns;
  const auto* from = static_cast<const T*>(in);
  auto* to = static_cast<T*>(out);
  if (ld == columns && count % kPack<T> == 0 && is_aligned(in, 16) && is_aligned(out, 16)) {
    const int64_t packs = count / kPack<T>;
    packed_kernel<T><<<block_count(packs, 2 * kThreads), kThreads, 0, stream>>>(from, to, packs);
    return check_launch("gelu_rows");
  }
  const int64_t blocks = std::min<int64_t>((count + kThreads - 1) / kThreads, 1 << 20);
  if (blocks == 0) return;
  gelu_kernel<T>
      <<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(from, to, count, columns, ld);
  check_launch("gelu_rows");
}

}  // namespace

void gelu_rows(const void* in, void* out, int64_t rows, int64_t columns, int64_t ld,
               fabric::DType dtype, cudaStream_t stream) {
  using fabric::DType;
  switch (dtype) {
    case DType::kF32:
      return launch<float>(in, out, rows, columns, ld, stream);
    case DType::kF16:
      return launch<__half>(in, out, rows, columns, ld, stream);
    case DType::kBF16:
      return launch<__nv_bfloat16>(in, out, rows, columns, ld, stream);
    default:
      fabric::fail(fabric::ErrorCode::kDtype, "gelu: dtype %s has no kernel here",
                   fabric::dtype_name(dtype));
  }
}

}  // namespace weft::cuda
