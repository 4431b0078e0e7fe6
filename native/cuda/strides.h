// Strided addressing on the device: division by constants found on the host, and the description of
// an elementwise loop that a kernel takes by value. Used by the elementwise, copy, fill and reduce
// kernels.
#pragma once

#include <cstdint>

#include "iter/tensor_iterator.h"

namespace weft::cuda {

/// n / divisor for n < 2^31 by a multiplication (Granlund & Montgomery 1994).
struct FastDivisor {
  uint32_t divisor = 1, magic = 1, shift = 0;

  FastDivisor() = default;
  explicit FastDivisor(uint32_t d) : divisor(d) {
    while (shift < 32 && (uint64_t{1} << shift) < d) ++shift;
    magic = static_cast<uint32_t>((((uint64_t{1} << shift) - d) << 32) / d + 1);
  }
#if defined(__CUDACC__)
  __device__ __forceinline__ uint32_t divide(uint32_t n) const {
    return (__umulhi(n, magic) + n) >> shift;
  }
#endif
};

/// Most items of one strided launch: indices stay below 2^31. Larger iterations are split.
inline constexpr int64_t kMaxStridedItems = 0x7fffffff;

/// A loop over `items`, each `width` elements along dimension 0 of every operand that moves there.
template <int kOperands>
struct StridedLoop {
  char* data[kOperands];
  int64_t stride[kMaxDims][kOperands];  ///< bytes an item
  FastDivisor size[kMaxDims];
  int ndim;
  uint32_t items;
  bool spread[kOperands];  ///< one element serves the whole item (broadcast along dimension 0)

  /// `it` must have at most kMaxStridedItems elements; `width` divides its dimension 0.
  StridedLoop(const TensorIterator& it, int width) {
    ndim = it.ndim;
    items = static_cast<uint32_t>(it.numel / width);
    for (int o = 0; o < kOperands; ++o) {
      data[o] = it.operand[o].data;
      spread[o] = width > 1 && it.operand[o].strides[0] == 0;
    }
    for (int d = 0; d < ndim; ++d) {
      const int64_t shape = d == 0 ? it.shape[0] / width : it.shape[d];
      size[d] = FastDivisor(static_cast<uint32_t>(shape));
      for (int o = 0; o < kOperands; ++o)
        stride[d][o] = it.operand[o].strides[d] * (d == 0 ? width : 1);
    }
  }

#if defined(__CUDACC__)
  __device__ __forceinline__ void offsets(uint32_t item, int64_t (&at)[kOperands]) const {
#pragma unroll
    for (int o = 0; o < kOperands; ++o) at[o] = 0;
#pragma unroll
    for (int d = 0; d < kMaxDims; ++d) {
      if (d == ndim) break;
      // The last dimension needs no division: what is left is its index.
      const uint32_t rest = d + 1 == ndim ? 0 : size[d].divide(item);
      const auto index = static_cast<int64_t>(item - rest * size[d].divisor);
#pragma unroll
      for (int o = 0; o < kOperands; ++o) at[o] += index * stride[d][o];
      item = rest;
    }
  }
#endif
};

/// Calls run(piece) for pieces of `it` of at most kMaxStridedItems elements each.
template <typename Run>
void for_each_piece(const TensorIterator& it, Run&& run) {
  if (it.numel <= kMaxStridedItems) return run(it);
  int widest = 0;
  for (int d = 1; d < it.ndim; ++d)
    if (it.shape[d] >= it.shape[widest]) widest = d;
  TensorIterator piece = it;
  const int64_t half = it.shape[widest] / 2;
  piece.shape[widest] = half;
  piece.numel = it.numel / it.shape[widest] * half;
  for_each_piece(piece, run);
  piece.shape[widest] = it.shape[widest] - half;
  piece.numel = it.numel - piece.numel;
  for (int o = 0; o < it.operands; ++o)
    piece.operand[o].data += half * it.operand[o].strides[widest];
  for_each_piece(piece, run);
}

/// True when items of `width` elements work: dimension 0 divides, and every operand is dense along
/// it with aligned rows, or broadcast.
inline bool rows_pack(const TensorIterator& it, int width) {
  if (it.ndim == 0 || it.shape[0] % width != 0) return false;
  for (int o = 0; o < it.operands; ++o) {
    const IterOperand& operand = it.operand[o];
    const auto bytes = static_cast<int64_t>(dtype_bytes(operand.dtype));
    if (operand.strides[0] == 0 && o > 0) continue;
    if (operand.strides[0] != bytes) return false;
    const int64_t unit = bytes * width < 16 ? bytes * width : 16;
    int64_t bits = reinterpret_cast<int64_t>(operand.data);
    for (int d = 1; d < it.ndim; ++d) bits |= operand.strides[d];
    if (bits % unit != 0) return false;
  }
  return true;
}

}  // namespace weft::cuda
