// The sums behind norm_weight.h. Columns lie along x, so loads are coalesced; rows are cut in
// chunks by shape alone, each summed by one block in a fixed order, and a second kernel adds the
// chunks in order.
#include "cuda/arithmetic.cuh"
#include "cuda/element.cuh"
#include "cuda/launch.h"
#include "cuda/rows/norm_weight.h"

namespace weft::cuda {
namespace {

constexpr int kColumns = 32, kLines = 16;  // threads of a block: x and y
constexpr int kMaxChunks = 64;
constexpr int kUnroll = 4;

/// partials[chunk][0][column] of grad_weight and [1] of grad_bias.
template <typename T, typename Y>
__global__ void __launch_bounds__(kColumns* kLines)
    partial_kernel(const T* x, const Y* grad, const Lane<T>* means, const Lane<T>* rstds,
                   Lane<T>* partials, int64_t rows, int64_t cols, int64_t chunk_rows,
                   bool centred) {
  using L = Lane<T>;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  const int64_t begin = blockIdx.y * chunk_rows;
  const int64_t end = begin + chunk_rows < rows ? begin + chunk_rows : rows;
  L weight = 0, bias = 0;
  if (column < cols) {
    int64_t r = begin + threadIdx.y;
    for (; r + (kUnroll - 1) * kLines < end; r += kUnroll * kLines) {
      L g[kUnroll], v[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int64_t row = r + u * kLines;
        g[u] = convert<L>(grad[row * cols + column]);
        v[u] = (convert<L>(x[row * cols + column]) - (centred ? means[row] : L(0))) * rstds[row];
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        weight += g[u] * v[u];
        bias += g[u];
      }
    }
    for (; r < end; r += kLines) {
      const L g = convert<L>(grad[r * cols + column]);
      weight += g * ((convert<L>(x[r * cols + column]) - (centred ? means[r] : L(0))) * rstds[r]);
      bias += g;
    }
  }
  __shared__ L weights[kLines][kColumns], biases[kLines][kColumns];
  weights[threadIdx.y][threadIdx.x] = weight;
  biases[threadIdx.y][threadIdx.x] = bias;
  __syncthreads();
  if (threadIdx.y >= 2 || column >= cols) return;
  const auto& lines = threadIdx.y == 0 ? weights : biases;
  L sum = 0;
#pragma unroll
  for (int y = 0; y < kLines; ++y) sum += lines[y][threadIdx.x];
  partials[(static_cast<int64_t>(blockIdx.y) * 2 + threadIdx.y) * cols + column] = sum;
}

/// blockIdx.y: 0 grad_weight, 1 grad_bias.
template <typename T>
__global__ void __launch_bounds__(kColumns* kLines)
    total_kernel(const Lane<T>* partials, int chunks, int64_t cols, T* grad_weight, T* grad_bias) {
  using L = Lane<T>;
  T* out = blockIdx.y == 0 ? grad_weight : grad_bias;
  if (out == nullptr) return;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  __shared__ L lines[kLines][kColumns];
  L sum = 0;
  if (column < cols) {
#pragma unroll 4
    for (int chunk = threadIdx.y; chunk < chunks; chunk += kLines)
      sum += partials[(int64_t{chunk} * 2 + blockIdx.y) * cols + column];
  }
  lines[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= cols) return;
  sum = 0;
#pragma unroll
  for (int y = 0; y < kLines; ++y) sum += lines[y][threadIdx.x];
  out[column] = convert<T>(sum);
}

template <typename T>
void launch_total(const NormArgs& args, const Lane<T>* partials, int chunks, cudaStream_t s) {
  const dim3 grid(block_count(args.cols, kColumns), 2), block(kColumns, kLines);
  total_kernel<T><<<grid, block, 0, s>>>(partials, chunks, args.cols,
                                         static_cast<T*>(args.grad_weight),
                                         static_cast<T*>(args.grad_bias));
  check_launch("norm gradient");
}

template <typename T, typename Y = T>
void run(const NormArgs& args, const Lane<T>* means, const Lane<T>* rstds, Stream& stream) {
  const unsigned across = block_count(args.cols, kColumns);
  // A chunk has rows for every line of its block; chunks are few where columns fill the device.
  const int64_t wanted = std::min<int64_t>(kMaxChunks, ceil_div(1024, across));
  const int64_t chunk_rows = std::max<int64_t>(ceil_div(args.rows, wanted), kUnroll * kLines);
  const auto chunks = static_cast<unsigned>(ceil_div(args.rows, chunk_rows));
  const cudaStream_t s = enter(stream);
  Scratch scratch(stream, sizeof(Lane<T>) * 2 * chunks * static_cast<size_t>(args.cols));
  auto* partials = scratch.template as<Lane<T>>();
  const dim3 block(kColumns, kLines);
  partial_kernel<T, Y><<<dim3(across, chunks), block, 0, s>>>(
      static_cast<const T*>(args.x), static_cast<const Y*>(args.grad_y), means, rstds, partials,
      args.rows, args.cols, chunk_rows, args.mean != nullptr);
  check_launch("norm gradient");
  launch_total<T>(args, partials, static_cast<int>(chunks), s);
}

}  // namespace

void norm_grad_weight(const NormArgs& args, const float* means, const float* rstds,
                      Stream& stream) {
  switch (args.dtype) {
    case DType::kF16:
      return run<F16>(args, means, rstds, stream);
    case DType::kBF16:
      return run<BF16>(args, means, rstds, stream);
    default:
      if (args.y_dtype == DType::kF16) return run<float, F16>(args, means, rstds, stream);
      if (args.y_dtype == DType::kBF16) return run<float, BF16>(args, means, rstds, stream);
      return run<float>(args, means, rstds, stream);
  }
}
void norm_grad_weight(const NormArgs& args, const double* means, const double* rstds,
                      Stream& stream) {
  run<double>(args, means, rstds, stream);
}

template <typename T>
void norm_total(const NormArgs& args, const float* partials, int chunks, Stream& stream) {
  launch_total<T>(args, partials, chunks, enter(stream));
}
template void norm_total<float>(const NormArgs&, const float*, int, Stream&);
template void norm_total<F16>(const NormArgs&, const float*, int, Stream&);
template void norm_total<BF16>(const NormArgs&, const float*, int, Stream&);

}  // namespace weft::cuda
