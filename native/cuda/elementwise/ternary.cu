// where(condition, a, b) on CUDA: elements are chosen and moved by size, whatever they mean. Called
// through the kernel table. Semantics are those of native/cpu/elementwise/ternary.cc.
#include "cuda/elementwise/elementwise.cuh"
#include "cuda/kernel_list.h"

namespace weft::cuda {
namespace {

constexpr int kUnroll = 2;

template <typename T, int V>
__global__ void __launch_bounds__(kElementThreads)
    where_dense_kernel(T* out, const Bool* condition, const T* a, const T* b, int64_t n) {
  const int64_t step = static_cast<int64_t>(blockDim.x) * V, packed = n / V * V;
  int64_t i = static_cast<int64_t>(blockIdx.x) * step * kUnroll + threadIdx.x * V;
#pragma unroll
  for (int u = 0; u < kUnroll; ++u, i += step) {
    if (i >= packed) break;
    const Pack<Bool, V> c = load_pack<V>(condition + i);
    const Pack<T, V> x = load_pack<V>(a + i), y = load_pack<V>(b + i);
    Pack<T, V> z;
#pragma unroll
    for (int k = 0; k < V; ++k) z.v[k] = c.v[k].v ? x.v[k] : y.v[k];
    store_pack(out + i, z);
  }
  const int64_t last = packed + threadIdx.x;
  if (blockIdx.x + 1 == gridDim.x && last < n) out[last] = condition[last].v ? a[last] : b[last];
}

template <typename T>
__global__ void __launch_bounds__(kElementThreads) where_strided_kernel(StridedLoop<4> loop) {
  const uint32_t item = blockIdx.x * kElementThreads + threadIdx.x;
  if (item >= loop.items) return;
  int64_t at[4];
  loop.offsets(item, at);
  const bool first = reinterpret_cast<const Bool*>(loop.data[1] + at[1])->v != 0;
  *reinterpret_cast<T*>(loop.data[0] + at[0]) =
      *reinterpret_cast<const T*>(first ? loop.data[2] + at[2] : loop.data[3] + at[3]);
}

/// Operands of different dtypes combine in the widest lane.
template <typename L>
__global__ void __launch_bounds__(kElementThreads)
    where_mixed_kernel(StridedLoop<4> loop, DTypes<4> dtypes) {
  const uint32_t item = blockIdx.x * kElementThreads + threadIdx.x;
  if (item >= loop.items) return;
  int64_t at[4];
  loop.offsets(item, at);
  const int from = reinterpret_cast<const Bool*>(loop.data[1] + at[1])->v != 0 ? 2 : 3;
  const L value = from == 2 ? load_any<L>(loop.data[2] + at[2], dtypes.of[2])
                            : load_any<L>(loop.data[3] + at[3], dtypes.of[3]);
  store_any<L>(loop.data[0] + at[0], dtypes.of[0], value);
}

template <typename T>
void launch_same(const TensorIterator& it, Stream& stream) {
  constexpr int V = kPack<T>;
  const cudaStream_t s = enter(stream);
  if (dense_packs<V>(it)) {
    const int threads = dense_threads(it.numel, V * kUnroll, stream);
    where_dense_kernel<T, V>
        <<<block_count(it.numel, int64_t{V} * kUnroll * threads), threads, 0, s>>>(
            data_of<T>(it, 0), data_of<Bool>(it, 1), data_of<T>(it, 2), data_of<T>(it, 3),
            it.numel);
    return check_launch("where");
  }
  for_each_piece(it, [&](const TensorIterator& piece) {
    StridedLoop<4> loop(piece, 1);
    where_strided_kernel<T>
        <<<block_count(loop.items, kElementThreads), kElementThreads, 0, s>>>(loop);
    check_launch("where");
  });
}

template <typename L>
void launch_lanes(const TensorIterator& it, Stream& stream) {
  const cudaStream_t s = enter(stream);
  DTypes<4> dtypes;
  for (int o = 0; o < 4; ++o) dtypes.of[o] = it.operand[o].dtype;
  for_each_piece(it, [&](const TensorIterator& piece) {
    StridedLoop<4> loop(piece, 1);
    where_mixed_kernel<L>
        <<<block_count(loop.items, kElementThreads), kElementThreads, 0, s>>>(loop, dtypes);
    check_launch("where");
  });
}

}  // namespace

void ternary(TernaryOp op, const TensorIterator& it, Stream& stream) {
  if (it.numel == 0) return;
  if (op != TernaryOp::kWhere || it.operand[1].dtype != DType::kBool)
    fail_dtype("ternary", static_cast<int>(op), it);
  const DType dtype = it.operand[0].dtype;
  if (it.operand[2].dtype == dtype && it.operand[3].dtype == dtype) {
    switch (dtype_bytes(dtype)) {
      case 1:
        return launch_same<uint8_t>(it, stream);
      case 2:
        return launch_same<uint16_t>(it, stream);
      case 4:
        return launch_same<uint32_t>(it, stream);
      default:
        return launch_same<uint64_t>(it, stream);
    }
  }
  switch (common_lane(it)) {
    case LaneKind::kF32:
      return launch_lanes<float>(it, stream);
    case LaneKind::kF64:
      return launch_lanes<double>(it, stream);
    case LaneKind::kI64:
      return launch_lanes<int64_t>(it, stream);
  }
}

}  // namespace weft::cuda
