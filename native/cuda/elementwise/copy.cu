// Copies between equal dtypes on CUDA, any layout, moved by element size. Where the source is dense
// along another dimension than the destination, tiles turn over in shared memory (Ruetsch &
// Micikevicius 2009, "Optimizing matrix transpose in CUDA"), so that both sides are coalesced.
// Called by cast().
#include "cuda/elementwise/elementwise.cuh"
#include "cuda/kernel_list.h"

namespace weft::cuda {
namespace {

template <typename T>
struct Move {
  using Lane = T;
  __device__ __forceinline__ T operator()(T x) const { return x; }
};

constexpr int kTileRows = 8;  // threads of a tile's block along y; x is a warp

/// A transposed copy: destination dense along dimension 0, source dense along dimension 1 of the
/// tile; `rest` counts the other dimensions.
struct TransposeLoop {
  const char* in;
  char* out;
  int64_t in_step, out_step;  // bytes along the dimension where the side is not dense
  uint32_t width, height;     // sizes of dimension 0 and of the source's dense dimension
  FastDivisor tiles_x, tiles_y;
  FastDivisor size[kMaxDims];
  int64_t in_stride[kMaxDims], out_stride[kMaxDims];
  int rest;
  uint32_t blocks;
};

template <typename T, int kTile>
__global__ void __launch_bounds__(32 * kTileRows) transpose_kernel(TransposeLoop loop) {
  __shared__ T tile[kTile][kTile + 4 / sizeof(T) + (sizeof(T) > 4)];
  const uint32_t block = blockIdx.x;
  const uint32_t above = loop.tiles_x.divide(block);
  uint32_t item = loop.tiles_y.divide(above);
  const uint32_t x0 = (block - above * loop.tiles_x.divisor) * kTile;
  const uint32_t y0 = (above - item * loop.tiles_y.divisor) * kTile;
  const char* in = loop.in;
  char* out = loop.out;
#pragma unroll
  for (int d = 0; d < kMaxDims; ++d) {
    if (d == loop.rest) break;
    const uint32_t left = loop.size[d].divide(item);
    const auto index = static_cast<int64_t>(item - left * loop.size[d].divisor);
    in += index * loop.in_stride[d];
    out += index * loop.out_stride[d];
    item = left;
  }
  // The source is read along y, the destination written along x.
#pragma unroll
  for (int j = 0; j < kTile; j += kTileRows) {
    const uint32_t x = x0 + j + threadIdx.y;
#pragma unroll
    for (int i = 0; i < kTile; i += 32) {
      const uint32_t y = y0 + i + threadIdx.x;
      if (x < loop.width && y < loop.height) {
        tile[j + threadIdx.y][i + threadIdx.x] =
            reinterpret_cast<const T*>(in + static_cast<int64_t>(x) * loop.in_step)[y];
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kTile; j += kTileRows) {
    const uint32_t y = y0 + j + threadIdx.y;
#pragma unroll
    for (int i = 0; i < kTile; i += 32) {
      const uint32_t x = x0 + i + threadIdx.x;
      if (x < loop.width && y < loop.height) {
        reinterpret_cast<T*>(out + static_cast<int64_t>(y) * loop.out_step)[x] =
            tile[i + threadIdx.x][j + threadIdx.y];
      }
    }
  }
}

/// The dimension along which the source is dense when the destination is dense along 0 and the
/// source is not; -1 when the copy is no transposition worth tiles.
int source_dimension(const TensorIterator& it, int64_t bytes) {
  if (it.ndim < 2 || it.operand[0].strides[0] != bytes || it.operand[1].strides[0] == bytes ||
      it.operand[1].strides[0] == 0 || it.shape[0] < 16)
    return -1;
  for (int d = 1; d < it.ndim; ++d)
    if (it.operand[1].strides[d] == bytes && it.shape[d] >= 16) return d;
  return -1;
}

template <typename T, int kTile>
void launch_transpose(const TensorIterator& it, int dense, cudaStream_t s) {
  TransposeLoop loop{};
  loop.in = it.operand[1].data;
  loop.out = it.operand[0].data;
  loop.in_step = it.operand[1].strides[0];
  loop.out_step = it.operand[0].strides[dense];
  loop.width = static_cast<uint32_t>(it.shape[0]);
  loop.height = static_cast<uint32_t>(it.shape[dense]);
  const auto tiles_x = static_cast<uint32_t>(ceil_div(it.shape[0], kTile));
  const auto tiles_y = static_cast<uint32_t>(ceil_div(it.shape[dense], kTile));
  loop.tiles_x = FastDivisor(tiles_x);
  loop.tiles_y = FastDivisor(tiles_y);
  loop.blocks = tiles_x * tiles_y;
  for (int d = 1; d < it.ndim; ++d) {
    if (d == dense) continue;
    loop.size[loop.rest] = FastDivisor(static_cast<uint32_t>(it.shape[d]));
    loop.in_stride[loop.rest] = it.operand[1].strides[d];
    loop.out_stride[loop.rest++] = it.operand[0].strides[d];
    loop.blocks *= static_cast<uint32_t>(it.shape[d]);
  }
  transpose_kernel<T, kTile><<<loop.blocks, dim3(32, kTileRows), 0, s>>>(loop);
  check_launch("copy");
}

template <typename T>
void copy_elements(const TensorIterator& it, Stream& stream) {
  constexpr int64_t kBytes = sizeof(T);
  constexpr int kTile = sizeof(T) < 4 ? 64 : 32;
  const int dense = it.contiguous ? -1 : source_dimension(it, kBytes);
  if (dense < 0) return launch1<Move<T>, T, T, true>({}, it, stream, "copy");
  const cudaStream_t s = enter(stream);
  for_each_piece(it,
                 [&](const TensorIterator& piece) { launch_transpose<T, kTile>(piece, dense, s); });
}

}  // namespace

void copy(const TensorIterator& it, Stream& stream) {
  switch (dtype_bytes(it.operand[0].dtype)) {
    case 1:
      return copy_elements<uint8_t>(it, stream);
    case 2:
      return copy_elements<uint16_t>(it, stream);
    case 4:
      return copy_elements<uint32_t>(it, stream);
    default:
      return copy_elements<uint64_t>(it, stream);
  }
}

}  // namespace weft::cuda
