// gelu_rows: see activation.h. One thread takes one element; rows are spread over the grid.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "cuda/gemm/activation.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    gelu_kernel(const T* in, T* out, int64_t count, int64_t columns, int64_t ld) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x; i < count;
       i += step) {
    const int64_t at = ld == columns ? i : i / columns * ld + i % columns;
    const float x = static_cast<float>(in[at]);
    const float u = x * (1.5957691216057308f + 0.07135481627260025f * x * x);
    out[at] = static_cast<T>(x / (1.0f + __expf(-u)));
  }
}

template <typename T>
void launch(const void* in, void* out, int64_t rows, int64_t columns, int64_t ld,
            cudaStream_t stream) {
  const int64_t count = rows * columns;
  const int64_t blocks = std::min<int64_t>((count + kThreads - 1) / kThreads, 1 << 20);
  if (blocks == 0) return;
  gelu_kernel<T><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      static_cast<const T*>(in), static_cast<T*>(out), count, columns, ld);
  fabric::cuda::check_launch("gelu_rows");
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
