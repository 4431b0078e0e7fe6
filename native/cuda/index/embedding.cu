// embedding_forward and _backward on CUDA: rows of a table by index, and the sum of gradients back
// into them through sorted_sum.h. Called through the kernel table. Semantics are those of
// native/cpu/index/embedding.cc.
#include "cuda/device_error.h"
#include "cuda/element.cuh"
#include "cuda/index/sorted_sum.h"
#include "cuda/kernel_list.h"
#include "dispatch/op_table.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;

/// Rows of `units` elements of type U, whatever they mean: x over a row, y over rows.
template <typename U>
__global__ void __launch_bounds__(kThreads)
    rows_kernel(const U* weight, const int64_t* indices, U* out, int64_t count, int64_t units,
                int64_t vocabulary, DeviceError* error, uint16_t op) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (i >= count) return;
  const int64_t row = indices[i];
  const bool valid = row >= 0 && row < vocabulary;
  if (!valid && threadIdx.x == 0) report_index(error, op, row, vocabulary);
  const U* from = weight + row * units;
  U* to = out + i * units;
#pragma unroll 4
  for (int64_t u = threadIdx.x; u < units; u += blockDim.x) to[u] = valid ? from[u] : U{};
}

template <typename U>
void launch_rows_of(const EmbeddingArgs& args, Stream& stream) {
  const int64_t bytes = args.width * static_cast<int64_t>(dtype_bytes(args.dtype));
  const int64_t units = bytes / static_cast<int64_t>(sizeof(U));
  DeviceError* error = device_error(args.device);
  const cudaStream_t s = enter(stream);
  int across = 1;
  while (across < kThreads && across < units) across *= 2;
  const dim3 block(across, kThreads / across);
  rows_kernel<U><<<block_count(args.count, block.y), block, 0, s>>>(
      static_cast<const U*>(args.weight), args.indices, static_cast<U*>(args.out), args.count,
      units, args.vocabulary, error, static_cast<uint16_t>(Op::embedding));
  check_launch("embedding");
}

__global__ void __launch_bounds__(kThreads)
    keys_kernel(const int64_t* indices, uint32_t* keys, int64_t count, int64_t vocabulary) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t row = indices[i];
  keys[i] = static_cast<uint32_t>(row >= 0 && row < vocabulary ? row : vocabulary);
}

}  // namespace

void embedding_forward(const EmbeddingArgs& args, Stream& stream) {
  if (args.count == 0 || args.width == 0) return;
  const int64_t bytes = args.width * static_cast<int64_t>(dtype_bytes(args.dtype));
  const auto bits = reinterpret_cast<uintptr_t>(args.weight) |
                    reinterpret_cast<uintptr_t>(args.out) | static_cast<uintptr_t>(bytes);
  if (bits % 16 == 0) return launch_rows_of<uint4>(args, stream);
  if (bits % 8 == 0) return launch_rows_of<uint2>(args, stream);
  if (bits % 4 == 0) return launch_rows_of<uint32_t>(args, stream);
  if (bits % 2 == 0) return launch_rows_of<uint16_t>(args, stream);
  launch_rows_of<uint8_t>(args, stream);
}

void embedding_backward(const EmbeddingArgs& args, Stream& stream) {
  if (!is_floating(args.dtype))
    fail(ErrorCode::kDtype, "embedding: dtype %s is not a floating dtype", dtype_name(args.dtype));
  if (args.vocabulary == 0 || args.width == 0) return;
  constexpr int64_t kLimit = 0x7fffffff;
  if (args.count > kLimit || args.vocabulary >= kLimit)
    fail(ErrorCode::kUsage, "embedding: gradients of more than 2^31 - 1 rows or indices");
  const cudaStream_t s = enter(stream);
  const size_t bytes = static_cast<size_t>(args.vocabulary * args.width) * dtype_bytes(args.dtype);
  check(cudaMemsetAsync(args.grad_weight, 0, bytes, s), "embedding gradient");
  if (args.count == 0) return;
  SortedSum sum(
      {args.dtype, args.grad_out, args.grad_weight, args.width, args.vocabulary, args.count},
      stream);
  keys_kernel<<<block_count(args.count, kThreads), kThreads, 0, s>>>(args.indices, sum.keys(),
                                                                     args.count, args.vocabulary);
  check_launch("embedding gradient");
  sum.run();
}

}  // namespace weft::cuda
