// gather_forward and gather_backward along one dimension on CUDA. The backward pass sums equal
// indices in order: short lines by a thread each, long ones through sorted_sum.h. Called through
// the kernel table. Semantics are those of native/cpu/index/gather.cc.
#include "cuda/device_error.h"
#include "cuda/element.cuh"
#include "cuda/index/sorted_sum.h"
#include "cuda/kernel_list.h"
#include "dispatch/op_table.h"

namespace weft::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 20;  // larger work loops over the grid
constexpr int64_t kShortLine = 32;

/// Sizes of the three dimensions and the place of an element of `index`.
struct GatherShape {
  int64_t bound, count, inner, total;
  bool small;  ///< total below 2^31: 32-bit divisions

  /// Offset in `in` of index 0 of the line through element `at` of `index`.
  __device__ __forceinline__ int64_t line(int64_t at) const {
    if (small) {
      const auto i = static_cast<uint32_t>(at), n = static_cast<uint32_t>(inner);
      const uint32_t row = i / n;
      return static_cast<int64_t>(row / static_cast<uint32_t>(count)) * bound * inner +
             (i - row * n);
    }
    const int64_t row = at / inner;
    return row / count * bound * inner + (at - row * inner);
  }
};

template <typename U>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const U* in, const int64_t* index, U* out, GatherShape shape, DeviceError* error,
                   uint16_t op) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < shape.total;
       at += step) {
    const int64_t chosen = index[at];
    const bool valid = chosen >= 0 && chosen < shape.bound;
    if (!valid) report_index(error, op, chosen, shape.bound);
    out[at] = valid ? in[shape.line(at) + chosen * shape.inner] : U{};
  }
}

/// A thread a line (outer, k): the first of equal indices sums all of them. For short lines, or any
/// that are too many to sort; grad_in is zero before.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    lines_kernel(const T* grad_out, const int64_t* index, T* grad_in, GatherShape shape,
                 int64_t lines) {
  using L = Lane<T>;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t line = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; line < lines;
       line += step) {
    const int64_t outer = line / shape.inner, k = line - outer * shape.inner;
    const int64_t base = outer * shape.count * shape.inner + k;
    for (int64_t j = 0; j < shape.count; ++j) {
      const int64_t chosen = index[base + j * shape.inner];
      bool first = chosen >= 0 && chosen < shape.bound;
      for (int64_t before = 0; first && before < j; ++before)
        first = index[base + before * shape.inner] != chosen;
      if (!first) continue;
      L sum = convert<L>(grad_out[base + j * shape.inner]);
      for (int64_t later = j + 1; later < shape.count; ++later)
        if (index[base + later * shape.inner] == chosen)
          sum += convert<L>(grad_out[base + later * shape.inner]);
      grad_in[(outer * shape.bound + chosen) * shape.inner + k] = convert<T>(sum);
    }
  }
}

/// Key of a position: the element of grad_in that it is added to.
__global__ void __launch_bounds__(kThreads)
    keys_kernel(const int64_t* index, uint32_t* keys, GatherShape shape, uint32_t none) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= shape.total) return;
  const int64_t chosen = index[at];
  keys[at] = chosen >= 0 && chosen < shape.bound
                 ? static_cast<uint32_t>(shape.line(at) + chosen * shape.inner)
                 : none;
}

GatherShape shape_of(const GatherArgs& args) {
  const int64_t total = args.outer * args.count * args.inner;
  return {args.bound, args.count, args.inner, total, total <= 0x7fffffff};
}

template <typename U>
void launch_forward(const GatherArgs& args, Stream& stream) {
  const GatherShape shape = shape_of(args);
  DeviceError* error = device_error(args.device);
  const cudaStream_t s = enter(stream);
  forward_kernel<U><<<block_count(shape.total, kThreads, kMaxBlocks), kThreads, 0, s>>>(
      static_cast<const U*>(args.in), args.index, static_cast<U*>(args.out), shape, error,
      static_cast<uint16_t>(Op::gather));
  check_launch("gather");
}

}  // namespace

void gather_forward(const GatherArgs& args, Stream& stream) {
  if (args.outer == 0 || args.count == 0 || args.inner == 0) return;
  switch (dtype_bytes(args.dtype)) {
    case 1:
      return launch_forward<uint8_t>(args, stream);
    case 2:
      return launch_forward<uint16_t>(args, stream);
    case 4:
      return launch_forward<uint32_t>(args, stream);
    default:
      return launch_forward<uint64_t>(args, stream);
  }
}

void gather_backward(const GatherArgs& args, Stream& stream) {
  with_floating(args.dtype, "gather", [&](auto type) {
    using T = typename decltype(type)::type;
    if (args.outer == 0 || args.bound == 0 || args.inner == 0) return;
    const GatherShape shape = shape_of(args);
    const int64_t targets = args.outer * args.bound * args.inner;
    const cudaStream_t s = enter(stream);
    check(cudaMemsetAsync(args.grad_in, 0, static_cast<size_t>(targets) * sizeof(T), s),
          "gather gradient");
    if (shape.total == 0) return;
    if (args.count > kShortLine && shape.small && targets < 0x7fffffff) {
      SortedSum sum({args.dtype, args.grad_out, args.grad_in, 1, targets, shape.total}, stream);
      keys_kernel<<<block_count(shape.total, kThreads), kThreads, 0, s>>>(
          args.index, sum.keys(), shape, static_cast<uint32_t>(targets));
      check_launch("gather gradient");
      return sum.run();
    }
    const int64_t lines = args.outer * args.inner;
    lines_kernel<T><<<block_count(lines, kThreads, kMaxBlocks), kThreads, 0, s>>>(
        static_cast<const T*>(args.grad_out), args.index, static_cast<T*>(args.grad_in), shape,
        lines);
    check_launch("gather gradient");
  });
}

}  // namespace weft::cuda
