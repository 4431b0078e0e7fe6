// gemm_simt: the matrix product without tensor cores, for what the menu cannot read: f64, integers,
// exact f32, odd strides and alignments, broadcast batches. Called by gemm.cc. A block makes a
// 64x64 tile of C from slices in shared memory, each thread 4x4 of it. Results with too few tiles to
// fill the GPU (ten classes) take a warp an element, whose lanes share k. Either way sums run in one fixed order.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "cuda/gemm/gemm.h"
#include "fabric/cuda_launch.h"
#include "fabric/error.h"

namespace weft::cuda {
namespace {

constexpr int kTile = 64;   // rows and columns of C in a block
constexpr int kDepth = 16;  // of a slice
constexpr int kThreads = 256;
constexpr int kPer = 4;                   // rows and columns of a thread
constexpr int kPitch = kTile + 4;         // of a slice's row: fewer bank conflicts
constexpr int64_t kMostElements = 65536;  // of C where a warp makes one: reads are not shared
constexpr unsigned kMostBatches = 65535;  // of gridDim.z

struct Operand {
  const void* at;
  int64_t row_stride, column_stride;  // of op(X), in elements
  bool rows_dense;                    // column_stride is 1
};

struct SimtGemm {
  int64_t m, n, k;
  Operand a, b;
  void* c;
  int64_t ldc;
  double alpha, beta;
  const void* bias;
  void* before;
  bool gelu;
  unsigned column_tiles;
  int64_t batches;
  int batch_dims;
  int64_t batch_shape[kMaxDims], a_batch[kMaxDims], b_batch[kMaxDims], c_batch[kMaxDims];
};

// Arithmetic is done in Wide: f32 for halves, unsigned for integers (they wrap).
template <typename T>
struct WideOf {
  using type = T;
};
template <>
struct WideOf<__half> {
  using type = float;
};
template <>
struct WideOf<__nv_bfloat16> {
  using type = float;
};

template <typename Wide>
__device__ Wide gelu(Wide x) {
  const Wide u = x * (Wide(1.5957691216057307118) + Wide(0.071354816272600256) * x * x);
  return x / (Wide(1) + exp(-u));
}

// A slice of op(X), rows `row0`.. by columns `column0`.., into `to` with its `kRowsAcross`
// dimension along the pitch; zeros past the edge. Neighbouring threads follow the dense dimension.
template <typename T, typename Wide, bool kRowsAcross>
__device__ void load_slice(const Operand& x, int64_t offset, int64_t row0, int64_t column0,
                           int64_t rows, int64_t columns, Wide (*to)[kPitch]) {
  constexpr int kRows = kRowsAcross ? kTile : kDepth;
  constexpr int kColumns = kRowsAcross ? kDepth : kTile;
  const T* from = static_cast<const T*>(x.at) + offset;
#pragma unroll
  for (int step = 0; step < kTile * kDepth / kThreads; ++step) {
    const int i = threadIdx.x + step * kThreads;
    const int r = x.rows_dense ? i / kColumns : i % kRows;
    const int c = x.rows_dense ? i % kColumns : i / kRows;
    Wide v = Wide(0);
    if (row0 + r < rows && column0 + c < columns)
      v = static_cast<Wide>(from[(row0 + r) * x.row_stride + (column0 + c) * x.column_stride]);
    if constexpr (kRowsAcross) {
      to[c][r] = v;
    } else {
      to[r][c] = v;
    }
  }
}

/// Where batch `index` lies in A, B and C.
struct Places {
  int64_t a = 0, b = 0, c = 0;

  __device__ Places(const SimtGemm& g, int64_t index) {
    for (int d = 0; d < g.batch_dims; ++d) {
      const int64_t i = index % g.batch_shape[d];
      index /= g.batch_shape[d];
      a += i * g.a_batch[d];
      b += i * g.b_batch[d];
      c += i * g.c_batch[d];
    }
  }
};

/// Stores an element of C from its sum of products.
template <typename T, typename Wide>
__device__ void finish(const SimtGemm& g, int64_t c_at, int64_t row, int64_t column, Wide sum) {
  Wide v = static_cast<Wide>(g.alpha) * sum;
  const Wide beta = static_cast<Wide>(g.beta);
  if (g.bias) v += static_cast<Wide>(static_cast<const T*>(g.bias)[column]);
  const int64_t at = c_at + row * g.ldc + column;
  if (g.before) static_cast<T*>(g.before)[at] = static_cast<T>(v);
  if constexpr (!std::is_integral_v<Wide>) {
    if (g.gelu) v = gelu(v);
  }
  T* out = static_cast<T*>(g.c) + at;
  if (beta != Wide(0)) v += beta * static_cast<Wide>(*out);
  *out = static_cast<T>(v);
}

/// A warp an element: lane l sums k = l, l + 32, ...
template <typename T>
__global__ void __launch_bounds__(kThreads) element_kernel(SimtGemm g) {
  using Wide = typename WideOf<T>::type;
  const int64_t element = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (element >= g.m * g.n) return;
  const int64_t row = element / g.n, column = element % g.n;
  for (int64_t index = blockIdx.z; index < g.batches; index += gridDim.z) {
    const Places at(g, index);
    const T* a = static_cast<const T*>(g.a.at) + at.a + row * g.a.row_stride;
    const T* b = static_cast<const T*>(g.b.at) + at.b + column * g.b.column_stride;
    Wide sum = Wide(0);
    for (int64_t k = threadIdx.x % 32; k < g.k; k += 32)
      sum += static_cast<Wide>(a[k * g.a.column_stride]) * static_cast<Wide>(b[k * g.b.row_stride]);
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (threadIdx.x % 32 == 0) finish<T>(g, at.c, row, column, sum);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 1) simt_kernel(SimtGemm g) {
  using Wide = typename WideOf<T>::type;
  __shared__ __align__(16) Wide a_slice[kDepth][kPitch];
  __shared__ __align__(16) Wide b_slice[kDepth][kPitch];
  const int64_t row0 = static_cast<int64_t>(blockIdx.x / g.column_tiles) * kTile;
  const int64_t column0 = static_cast<int64_t>(blockIdx.x % g.column_tiles) * kTile;
  const int thread_row = threadIdx.x / 16 * kPer, thread_column = threadIdx.x % 16 * kPer;

  for (int64_t index = blockIdx.z; index < g.batches; index += gridDim.z) {
    const Places at(g, index);
    Wide sum[kPer][kPer] = {};
    for (int64_t k0 = 0; k0 < g.k; k0 += kDepth) {
      load_slice<T, Wide, true>(g.a, at.a, row0, k0, g.m, g.k, a_slice);
      load_slice<T, Wide, false>(g.b, at.b, k0, column0, g.k, g.n, b_slice);
      __syncthreads();
#pragma unroll 4
      for (int d = 0; d < kDepth; ++d) {
        Wide a[kPer], b[kPer];
#pragma unroll
        for (int i = 0; i < kPer; ++i) a[i] = a_slice[d][thread_row + i];
#pragma unroll
        for (int j = 0; j < kPer; ++j) b[j] = b_slice[d][thread_column + j];
#pragma unroll
        for (int i = 0; i < kPer; ++i)
#pragma unroll
          for (int j = 0; j < kPer; ++j) sum[i][j] += a[i] * b[j];
      }
      __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < kPer; ++i) {
#pragma unroll
      for (int j = 0; j < kPer; ++j) {
        const int64_t row = row0 + thread_row + i, column = column0 + thread_column + j;
        if (row < g.m && column < g.n) finish<T>(g, at.c, row, column, sum[i][j]);
      }
    }
  }
}

Operand operand(const void* at, int64_t ld, bool transposed) {
  return {at, transposed ? 1 : ld, transposed ? ld : 1, !transposed};
}

template <typename T>
void launch(const SimtGemm& g, dim3 grid, bool elements, cudaStream_t stream) {
  if (elements) {
    element_kernel<T><<<grid, kThreads, 0, stream>>>(g);
  } else {
    simt_kernel<T><<<grid, kThreads, 0, stream>>>(g);
  }
}

}  // namespace

void gemm_simt(const GemmArgs& args, Stream& stream) {
  SimtGemm g{};
  g.m = args.m, g.n = args.n, g.k = args.k;
  g.a = operand(args.a, args.lda, args.a_transposed);
  g.b = operand(args.b, args.ldb, args.b_transposed);
  g.c = args.c;
  g.ldc = args.ldc;
  g.alpha = args.alpha, g.beta = args.beta;
  g.bias = args.bias;
  g.before = args.pre_activation;
  g.gelu = args.activation == Activation::kGelu;
  g.batches = 1;
  g.batch_dims = args.batch_dims;
  for (int d = 0; d < args.batch_dims; ++d) {
    g.batches *= g.batch_shape[d] = args.batch_shape[d];
    g.a_batch[d] = args.a_batch[d];
    g.b_batch[d] = args.b_batch[d];
    g.c_batch[d] = args.c_batch[d];
  }
  if (g.m == 0 || g.n == 0 || g.batches == 0) return;
  const int64_t column_tiles = (g.n + kTile - 1) / kTile;
  const int64_t tiles = (g.m + kTile - 1) / kTile * column_tiles;
  if (tiles > INT32_MAX)
    fabric::fail(fabric::ErrorCode::kShape,
                 "matmul: a %lld x %lld result is too large for one launch", (long long)g.m,
                 (long long)g.n);
  g.column_tiles = static_cast<unsigned>(column_tiles);
  // By shape and GPU alone, so that a product gives the same bits each time.
  const bool elements = tiles * g.batches * 4 < stream.device().properties().multiprocessors &&
                        g.m * g.n <= kMostElements;
  const int64_t blocks = elements ? (g.m * g.n + kThreads / 32 - 1) / (kThreads / 32) : tiles;
  const dim3 grid(static_cast<unsigned>(blocks), 1,
                  static_cast<unsigned>(g.batches < kMostBatches ? g.batches : kMostBatches));
  fabric::cuda::use_device(stream.device().ordinal());
  auto handle = static_cast<cudaStream_t>(stream.handle());
  switch (args.dtype) {
    case DType::kF32:
      launch<float>(g, grid, elements, handle);
      break;
    case DType::kF64:
      launch<double>(g, grid, elements, handle);
      break;
    case DType::kF16:
      launch<__half>(g, grid, elements, handle);
      break;
    case DType::kBF16:
      launch<__nv_bfloat16>(g, grid, elements, handle);
      break;
    case DType::kI32:
      launch<uint32_t>(g, grid, elements, handle);
      break;
    case DType::kI64:
      launch<uint64_t>(g, grid, elements, handle);
      break;
    default:
      fabric::fail(fabric::ErrorCode::kDtype, "matmul: dtype %s is not supported",
                   dtype_name(args.dtype));
  }
  fabric::cuda::check_launch("gemm_simt");
}

}  // namespace weft::cuda
