// Kernels of reductions: outputs of short runs by a few lanes each, long runs by a block a chunk,
// and outputs that lie side by side in memory by a thread each. Chunks depend on the shape alone
// and are combined in order by reduce_finish.cuh, so the same input gives the same bits.
// reduce_*.cu instantiate them with an operator:
//
//   Lane            what elements are converted to
//   Value           a partial result, of 4-byte words; starts as start()
//   Thread          what a thread accumulates in: begin(pivot) at first, value() gives its Value
//   add(t, x, i)    takes element x of index i among the reduced ones
//   merge(a, b)     of two Values, in any order of their elements
//   store(...)      writes a final Value
#pragma once

#include "cuda/arithmetic.cuh"
#include "cuda/element.cuh"
#include "cuda/launch.h"
#include "cuda/reduce/finish.cuh"
#include "cuda/reduce/shape.h"

namespace weft::cuda {

inline constexpr int kRunThreads = 512, kLineThreads = 256;
inline constexpr int kColumnThreads = 32, kColumnLines = 8;

/// Elements of a dtype known when compiled.
template <typename T>
struct Elements {
  using Type = T;
  const T* in;
  template <typename L>
  __device__ __forceinline__ L at(int64_t offset) const {
    return convert<L>(in[offset]);
  }
};
/// Integers of any width, and bool.
struct AnyElements {
  using Type = void;
  const char* in;
  DType dtype;
  int bytes;
  template <typename L>
  __device__ __forceinline__ L at(int64_t offset) const {
    return load_any<L>(in + offset * bytes, dtype);
  }
};

/// Elements begin + rank, begin + rank + step, ... of the run at `base`, any strides.
template <typename Op, typename E>
__device__ __forceinline__ typename Op::Value strided_run(const Op& op, const E& elements,
                                                          const Walk& walk, int64_t base,
                                                          int64_t begin, int64_t end, int rank,
                                                          int step) {
  using L = typename Op::Lane;
  constexpr int U = 4;
  const L pivot = elements.template at<L>(base);
  typename Op::Thread t[U];
#pragma unroll
  for (int u = 0; u < U; ++u) t[u] = op.begin(pivot);
  int64_t i = begin + rank;
  for (; i + (U - 1) * step < end; i += int64_t{U} * step) {
    L x[U];
#pragma unroll
    for (int u = 0; u < U; ++u) x[u] = elements.template at<L>(base + walk.offset(i + u * step));
#pragma unroll
    for (int u = 0; u < U; ++u) op.add(t[u], x[u], i + u * step);
  }
  for (; i < end; i += step) op.add(t[0], elements.template at<L>(base + walk.offset(i)), i);
  return merge_accumulators(op, t);
}

/// The same of a run that is dense in memory, in packs of 16 bytes between its ends.
template <typename Op, typename T>
__device__ __forceinline__ typename Op::Value dense_run(const Op& op, const T* run, int64_t begin,
                                                        int64_t end, int rank, int step) {
  using L = typename Op::Lane;
  constexpr int V = kPack<T>, U = 4;
  const L pivot = convert<L>(run[0]);
  typename Op::Thread t[V];
#pragma unroll
  for (int k = 0; k < V; ++k) t[k] = op.begin(pivot);
  const auto past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(run + begin) % 16);
  int64_t packed = begin + (past == 0 ? 0 : (16 - past) / static_cast<int64_t>(sizeof(T)));
  if (packed > end) packed = end;
  for (int64_t i = begin + rank; i < packed; i += step) op.add(t[0], convert<L>(run[i]), i);
  const int64_t last = packed + (end - packed) / V * V;
  const int64_t stride = int64_t{step} * V;
  int64_t i = packed + int64_t{rank} * V;
  for (; i + (U - 1) * stride < last; i += U * stride) {
    Pack<T, V> x[U];
#pragma unroll
    for (int u = 0; u < U; ++u) x[u] = load_pack<V>(run + i + u * stride);
#pragma unroll
    for (int u = 0; u < U; ++u)
#pragma unroll
      for (int k = 0; k < V; ++k) op.add(t[k], convert<L>(x[u].v[k]), i + u * stride + k);
  }
  for (; i < last; i += stride) {
    const Pack<T, V> x = load_pack<V>(run + i);
#pragma unroll
    for (int k = 0; k < V; ++k) op.add(t[k], convert<L>(x.v[k]), i + k);
  }
  for (i = last + rank; i < end; i += step) op.add(t[0], convert<L>(run[i]), i);
  return merge_accumulators(op, t);
}

template <bool kDense, typename Op, typename E>
__device__ __forceinline__ typename Op::Value any_run(const Op& op, const E& elements,
                                                      const ReduceShape& shape, int64_t base,
                                                      int64_t begin, int64_t end, int rank,
                                                      int step) {
  if constexpr (kDense) {
    return dense_run(op, elements.in + base, begin, end, rank, step);
  } else {
    return strided_run(op, elements, shape.reduced, base, begin, end, rank, step);
  }
}

/// `lanes` threads (a power of two up to 32) for each output.
template <bool kDense, typename Op, typename E>
__global__ void __launch_bounds__(kLineThreads, 3)
    lines_kernel(Op op, E elements, ReduceShape shape, int lanes, ReduceTarget target) {
  const int64_t output =
      static_cast<int64_t>(blockIdx.x) * (kLineThreads / lanes) + threadIdx.x / lanes;
  const bool present = output < shape.outputs;
  typename Op::Value v = op.start();
  if (present) {
    v = any_run<kDense>(op, elements, shape, shape.kept.offset(output), 0, shape.count,
                        threadIdx.x % lanes, lanes);
  }
  v = lanes_merge(op, v, lanes);
  if (present && threadIdx.x % lanes == 0) op.store(target, output, v, shape.count);
}

/// A block a chunk of an output's run; partials[output * chunks + chunk] when there are several.
template <bool kDense, typename Op, typename E>
__global__ void __launch_bounds__(kRunThreads, 2)
    runs_kernel(Op op, E elements, ReduceShape shape, typename Op::Value* partials,
                ReduceTarget target) {
  const auto output = static_cast<int64_t>(blockIdx.x / shape.chunks);
  const int64_t begin = (blockIdx.x % shape.chunks) * shape.chunk_length;
  const int64_t end =
      begin + shape.chunk_length < shape.count ? begin + shape.chunk_length : shape.count;
  typename Op::Value v = any_run<kDense>(op, elements, shape, shape.kept.offset(output), begin, end,
                                         threadIdx.x, blockDim.x);
  v = block_merge(op, v);
  if (threadIdx.x != 0) return;
  if (shape.chunks > 1) {
    partials[blockIdx.x] = v;
  } else {
    op.store(target, output, v, shape.count);
  }
}

/// Neighbouring outputs along x, chunks of the reduced elements along blockIdx.y;
/// partials[chunk * outputs + output].
template <typename Op, typename E>
__global__ void __launch_bounds__(kColumnThreads* kColumnLines, 3)
    columns_kernel(Op op, E elements, ReduceShape shape, typename Op::Value* partials,
                   ReduceTarget target) {
  const int64_t output = static_cast<int64_t>(blockIdx.x) * kColumnThreads + threadIdx.x;
  const int64_t begin = blockIdx.y * shape.chunk_length;
  const int64_t end =
      begin + shape.chunk_length < shape.count ? begin + shape.chunk_length : shape.count;
  __shared__ typename Op::Value lines[kColumnLines][kColumnThreads];
  if (output < shape.outputs) {
    lines[threadIdx.y][threadIdx.x] =
        strided_run(op, elements, shape.reduced, shape.kept.offset(output), begin, end, threadIdx.y,
                    kColumnLines);
  }
  __syncthreads();
  if (threadIdx.y != 0 || output >= shape.outputs) return;
  typename Op::Value v = lines[0][threadIdx.x];
#pragma unroll
  for (int y = 1; y < kColumnLines; ++y) v = op.merge(v, lines[y][threadIdx.x]);
  if (shape.chunks > 1) {
    partials[blockIdx.y * shape.outputs + output] = v;
  } else {
    op.store(target, output, v, shape.count);
  }
}

/// The same where rows begin and end at 16 bytes: a thread takes a pack of neighbouring outputs.
template <typename Op, typename T>
__global__ void __launch_bounds__(kColumnThreads* kColumnLines, 3)
    packed_columns_kernel(Op op, const T* in, ReduceShape shape, typename Op::Value* partials,
                          ReduceTarget target) {
  using L = typename Op::Lane;
  using Value = typename Op::Value;
  constexpr int V = kPack<T>, U = 4;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kColumnThreads + threadIdx.x) * V;
  const int64_t begin = blockIdx.y * shape.chunk_length, row = shape.reduced.stride[0];
  const int64_t end =
      begin + shape.chunk_length < shape.count ? begin + shape.chunk_length : shape.count;
  const bool present = first < shape.outputs;
  typename Op::Thread t[V];
  if (present) {
    const Pack<T, V> pivots = load_pack<V>(in + first);
#pragma unroll
    for (int k = 0; k < V; ++k) t[k] = op.begin(convert<L>(pivots.v[k]));
    int64_t i = begin + threadIdx.y;
    for (; i + (U - 1) * kColumnLines < end; i += U * kColumnLines) {
      Pack<T, V> x[U];
#pragma unroll
      for (int u = 0; u < U; ++u) x[u] = load_pack<V>(in + (i + u * kColumnLines) * row + first);
#pragma unroll
      for (int u = 0; u < U; ++u)
#pragma unroll
        for (int k = 0; k < V; ++k) op.add(t[k], convert<L>(x[u].v[k]), i + u * kColumnLines);
    }
    for (; i < end; i += kColumnLines) {
      const Pack<T, V> x = load_pack<V>(in + i * row + first);
#pragma unroll
      for (int k = 0; k < V; ++k) op.add(t[k], convert<L>(x.v[k]), i);
    }
  }
  // Line by line through shared memory, a column of the packs at a time.
  __shared__ Value lines[kColumnLines][kColumnThreads];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    __syncthreads();
    if (present) lines[threadIdx.y][threadIdx.x] = op.value(t[k]);
    __syncthreads();
    if (threadIdx.y != 0 || !present) continue;
    Value v = lines[0][threadIdx.x];
#pragma unroll
    for (int y = 1; y < kColumnLines; ++y) v = op.merge(v, lines[y][threadIdx.x]);
    if (shape.chunks > 1) {
      partials[blockIdx.y * shape.outputs + first + k] = v;
    } else {
      op.store(target, first + k, v, shape.count);
    }
  }
}

/// Scratch memory for the partials of `shape`, if it has chunks.
template <typename Value>
size_t partial_bytes(const ReduceShape& shape) {
  return shape.chunks > 1 ? sizeof(Value) * shape.chunks * static_cast<size_t>(shape.outputs) : 0;
}

template <bool kDense, typename Op, typename E>
void launch_runs(const Op& op, const E& elements, const ReduceShape& shape,
                 const ReduceTarget& target, Stream& stream) {
  const cudaStream_t s = enter(stream);
  if (shape.lanes > 0) {
    lines_kernel<kDense>
        <<<block_count(shape.outputs, kLineThreads / shape.lanes), kLineThreads, 0, s>>>(
            op, elements, shape, shape.lanes, target);
    return check_launch("reduce");
  }
  Scratch scratch(stream, partial_bytes<typename Op::Value>(shape));
  auto* partials = scratch.as<typename Op::Value>();
  const int threads = shape.chunk_length <= 8192 ? 256 : kRunThreads;
  runs_kernel<kDense><<<static_cast<unsigned>(shape.outputs * shape.chunks), threads, 0, s>>>(
      op, elements, shape, partials, target);
  check_launch("reduce");
  launch_finish(op, partials, shape, shape.chunks, 1, target, s);
}

template <typename Op, typename E>
void launch_reduce(const Op& op, const E& elements, const ReduceShape& shape,
                   const ReduceTarget& target, Stream& stream) {
  if (shape.columns) {
    const cudaStream_t s = enter(stream);
    Scratch scratch(stream, partial_bytes<typename Op::Value>(shape));
    auto* partials = scratch.as<typename Op::Value>();
    const dim3 block(kColumnThreads, kColumnLines);
    // A variance's accumulators for a pack would not fit into registers.
    if constexpr (!std::is_void_v<typename E::Type> && sizeof(typename Op::Thread) <= 8) {
      if (shape.packed) {
        const int64_t each = int64_t{kColumnThreads} * kPack<typename E::Type>;
        packed_columns_kernel<<<dim3(block_count(shape.outputs, each), shape.chunks), block, 0,
                                s>>>(op, elements.in, shape, partials, target);
        check_launch("reduce");
        return launch_finish(op, partials, shape, 1, shape.outputs, target, s);
      }
    }
    columns_kernel<<<dim3(block_count(shape.outputs, kColumnThreads), shape.chunks), block, 0, s>>>(
        op, elements, shape, partials, target);
    check_launch("reduce");
    return launch_finish(op, partials, shape, 1, shape.outputs, target, s);
  }
  if constexpr (!std::is_void_v<typename E::Type>) {
    if (shape.dense) return launch_runs<true>(op, elements, shape, target, stream);
  }
  launch_runs<false>(op, elements, shape, target, stream);
}

/// Calls run(Elements<T>) or run(AnyElements) for the input of `args`.
template <typename Run>
void with_elements(const ReduceArgs& args, Run&& run) {
  switch (args.in_dtype) {
    case DType::kF32:
      return run(Elements<float>{static_cast<const float*>(args.in)});
    case DType::kF64:
      return run(Elements<double>{static_cast<const double*>(args.in)});
    case DType::kF16:
      return run(Elements<F16>{static_cast<const F16*>(args.in)});
    case DType::kBF16:
      return run(Elements<BF16>{static_cast<const BF16*>(args.in)});
    default:
      return run(AnyElements{static_cast<const char*>(args.in), args.in_dtype,
                             static_cast<int>(dtype_bytes(args.in_dtype))});
  }
}
/// The lane of a with_elements() argument.
template <typename E>
struct LaneOfElements {
  using type = Lane<typename E::Type>;
};
template <>
struct LaneOfElements<AnyElements> {
  using type = int64_t;
};

}  // namespace weft::cuda
