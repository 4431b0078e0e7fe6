// The copies behind strided_copy.h: memcpy where both sides are dense, a blocked transpose where
// the two are dense along different dimensions, rows otherwise.
#include "cpu/elementwise/strided_copy.h"

#include <algorithm>
#include <cstring>

#include "cpu/elementwise/elementwise_loop.h"
#include "cpu/elementwise/odometer.h"
#include "fabric/host_queue.h"

namespace weft::cpu {
namespace {

// A 32 x 32 block of f32 is 64 cache lines a side: every line that is read is used up before it
// leaves.
constexpr int64_t kBlock = 32;

template <typename T>
void copy_row(char* out, int64_t out_stride, const char* in, int64_t in_stride, int64_t n) {
  constexpr int64_t kSize = sizeof(T);
  if (out_stride == kSize && in_stride == kSize) {
    std::memcpy(out, in, static_cast<size_t>(n * kSize));
  } else if (out_stride == kSize && in_stride == 0) {
    std::fill_n(reinterpret_cast<T*>(out), n, *reinterpret_cast<const T*>(in));
  } else {
    for (int64_t i = 0; i < n; ++i, out += out_stride, in += in_stride)
      *reinterpret_cast<T*>(out) = *reinterpret_cast<const T*>(in);
  }
}

template <typename T>
void copy_rows(const TensorIterator& it, int64_t begin, int64_t end) {
  const IterOperand &o = it.operand[0], &a = it.operand[1];
  Odometer out(it.ndim, it.shape, o.strides, o.data, begin);
  Odometer in(it.ndim, it.shape, a.strides, a.data, begin);
  while (begin < end) {
    int64_t n = std::min(end - begin, out.row_left());
    copy_row<T>(out.ptr(), o.strides[0], in.ptr(), a.strides[0], n);
    out.advance(n);
    in.advance(n);
    begin += n;
  }
}

/// The dimension along which the input is dense when the output is dense along dimension 0; else 0.
int transposed_dim(const TensorIterator& it, int64_t size) {
  if (it.ndim < 2 || it.operand[0].strides[0] != size || it.operand[1].strides[0] <= size) return 0;
  for (int d = 1; d < it.ndim; ++d)
    if (it.operand[1].strides[d] == size && it.shape[d] >= 8 && it.shape[0] >= 8) return d;
  return 0;
}

/// Bands of kBlock along `dim`, for every position in the other dimensions.
template <typename T>
void copy_transposed(const TensorIterator& it, int dim) {
  const IterOperand &o = it.operand[0], &a = it.operand[1];
  int64_t shape[kMaxDims], out_strides[kMaxDims], in_strides[kMaxDims];
  const int64_t bands = (it.shape[dim] + kBlock - 1) / kBlock;
  int outer = 0;
  int64_t count = bands;
  for (int d = 1; d < it.ndim; ++d) {
    shape[outer] = d == dim ? bands : it.shape[d];
    out_strides[outer] = o.strides[d] * (d == dim ? kBlock : 1);
    in_strides[outer] = a.strides[d] * (d == dim ? kBlock : 1);
    if (d != dim) count *= it.shape[d];
    ++outer;
  }
  int64_t band_stride = 1;  // of the band number in the order of the outer dimensions
  for (int d = 1; d < dim; ++d) band_stride *= it.shape[d];
  const int64_t row = it.shape[0];
  auto run = [&](int64_t begin, int64_t end) {
    Odometer out(outer, shape, out_strides, o.data, begin);
    Odometer in(outer, shape, in_strides, a.data, begin);
    for (int64_t task = begin; task < end; ++task) {
      int64_t first = task / band_stride % bands * kBlock;
      int64_t width = std::min(kBlock, it.shape[dim] - first);
      for (int64_t i0 = 0; i0 < row; i0 += kBlock) {
        int64_t i1 = std::min(row, i0 + kBlock);
        for (int64_t j = 0; j < width; ++j) {
          char* to = out.ptr() + j * o.strides[dim] + i0 * static_cast<int64_t>(sizeof(T));
          const char* from = in.ptr() + j * a.strides[dim] + i0 * a.strides[0];
          copy_row<T>(to, sizeof(T), from, a.strides[0], i1 - i0);
        }
      }
      out.advance(1);
      in.advance(1);
    }
  };
  const int64_t grain = std::max<int64_t>(1, kElementGrain / (row * kBlock));
  if (count <= grain) return run(0, count);
  fabric::host::parallel_for(count, grain, run);
}

template <typename T>
void copy_elements(const TensorIterator& it) {
  if (int dim = transposed_dim(it, sizeof(T))) return copy_transposed<T>(it, dim);
  if (it.numel <= kElementGrain) return copy_rows<T>(it, 0, it.numel);
  fabric::host::parallel_for(it.numel, kElementGrain,
                             [&](int64_t begin, int64_t end) { copy_rows<T>(it, begin, end); });
}

void copy_dense(const TensorIterator& it, int64_t size) {
  auto run = [&](int64_t begin, int64_t end) {
    std::memcpy(it.operand[0].data + begin * size, it.operand[1].data + begin * size,
                static_cast<size_t>((end - begin) * size));
  };
  if (it.numel <= kElementGrain * 4) return run(0, it.numel);
  fabric::host::parallel_for(it.numel, kElementGrain * 4, run);
}

}  // namespace

void strided_copy(const TensorIterator& it) {
  const auto size = static_cast<int64_t>(dtype_bytes(it.operand[0].dtype));
  if (it.operand[0].data == it.operand[1].data && it.contiguous) return;
  if (it.contiguous || it.ndim == 0) return copy_dense(it, size);
  switch (size) {
    case 1:
      return copy_elements<uint8_t>(it);
    case 2:
      return copy_elements<uint16_t>(it);
    case 4:
      return copy_elements<uint32_t>(it);
    default:
      return copy_elements<uint64_t>(it);
  }
}

}  // namespace weft::cpu
