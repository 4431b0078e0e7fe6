// reduce() on CUDA: lays the reduction out over threads and calls its family. Called through the
// kernel table. Semantics are those of native/cpu/reduce/reduce.cc.
#include <algorithm>
#include <cstdlib>

#include "cuda/kernel_list.h"
#include "cuda/reduce/kinds.h"

namespace weft::cuda {
namespace {

constexpr int64_t kLineLength = 1024;  // runs up to this long take a warp or less
constexpr int64_t kChunk = 16384;      // elements that are worth a block of their own
constexpr int64_t kWantedBlocks = 2048;
constexpr int64_t kMaxColumnChunks = 64;
constexpr int64_t kPackedBlocks =
    528;  // of columns in packs: four for each multiprocessor of a large GPU
constexpr int64_t kPackedRows = 64;  // that are worth one of them

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int power_of_two(int64_t at_least, int most) {
  int p = 1;
  while (p < at_least && p < most) p *= 2;
  return p;
}

/// The reduced dimensions in the order of memory, merged: any order serves but for argmax, whose
/// indices count in the order given.
Walk reduced_walk(const ReduceArgs& args) {
  if (args.kind == ReduceKind::kArgMax)
    return Walk(args.reduced_dims, args.reduced_shape, args.reduced_strides, args.reduced_count);
  int order[kMaxDims];
  for (int d = 0; d < args.reduced_dims; ++d) order[d] = d;
  for (int i = 1; i < args.reduced_dims; ++i)
    for (int j = i; j > 0 && std::abs(args.reduced_strides[order[j]]) <
                                 std::abs(args.reduced_strides[order[j - 1]]);
         --j)
      std::swap(order[j], order[j - 1]);
  int n = 0;
  int64_t shape[kMaxDims], strides[kMaxDims];
  for (int i = 0; i < args.reduced_dims; ++i) {
    const int64_t size = args.reduced_shape[order[i]], stride = args.reduced_strides[order[i]];
    if (n > 0 && stride == strides[n - 1] * shape[n - 1]) {
      shape[n - 1] *= size;
    } else {
      shape[n] = size;
      strides[n++] = stride;
    }
  }
  return Walk(n, shape, strides, args.reduced_count);
}

/// Elements in 16 bytes, for the dtypes whose columns are read in packs; else 0.
int64_t column_pack(DType dtype) {
  return is_floating(dtype) ? 16 / static_cast<int64_t>(dtype_bytes(dtype)) : 0;
}

}  // namespace

Walk::Walk(int n, const int64_t* sizes, const int64_t* strides, int64_t count)
    : dims(n), small(count <= 0x7fffffff) {
  for (int d = 0; d < n; ++d) {
    shape[d] = sizes[d];
    stride[d] = strides[d];
    if (small) size[d] = FastDivisor(static_cast<uint32_t>(sizes[d]));
  }
}

ReduceShape::ReduceShape(const ReduceArgs& args)
    : kept(args.kept_dims, args.kept_shape, args.kept_strides, args.kept_count),
      reduced(reduced_walk(args)),
      outputs(args.kept_count),
      count(args.reduced_count),
      lanes(0),
      chunks(1),
      chunk_length(args.reduced_count) {
  dense = reduced.dims == 0 || (reduced.dims == 1 && reduced.stride[0] == 1);
  columns = !dense && kept.dims > 0 && kept.stride[0] == 1 && kept.shape[0] >= 16;
  const int64_t pack = column_pack(args.in_dtype);
  packed = columns && args.kind != ReduceKind::kVar && args.kind != ReduceKind::kArgMax &&
           pack > 0 && kept.dims == 1 && reduced.dims == 1 && outputs % pack == 0 &&
           reduced.stride[0] % pack == 0 && reinterpret_cast<uintptr_t>(args.in) % 16 == 0;
  if (packed) {
    const int64_t wanted = std::max<int64_t>(1, kPackedBlocks / ceil_div(outputs, 32 * pack));
    chunk_length = std::max(ceil_div(count, wanted), kPackedRows);
  } else if (columns) {
    const int64_t across = ceil_div(outputs, 32);
    const int64_t wanted = std::min(kMaxColumnChunks, std::max<int64_t>(1, 1024 / across));
    chunk_length = std::max<int64_t>(ceil_div(count, wanted), 64);
  } else if (count <= kLineLength) {
    lanes = power_of_two(dense ? ceil_div(count, 4) : count, 32);
    return;
  } else if (outputs < kWantedBlocks && count >= 2 * kChunk) {
    const int64_t wanted =
        std::min(ceil_div(count, kChunk), std::max<int64_t>(1, kWantedBlocks / outputs));
    // A multiple of every pack, so that all chunks are aligned as the first.
    chunk_length = ceil_div(ceil_div(count, wanted), 1024) * 1024;
  }
  chunks = static_cast<unsigned>(std::max<int64_t>(1, ceil_div(count, chunk_length)));
}

void reduce(const ReduceArgs& args, Stream& stream) {
  if (args.kept_count == 0) return;
  if (args.kind == ReduceKind::kArgMax && args.out_dtype != DType::kI64)
    fail(ErrorCode::kDtype, "argmax writes i64, not %s", dtype_name(args.out_dtype));
  const ReduceShape shape(args);
  const ReduceTarget target{args.out, args.out_dtype, static_cast<int>(dtype_bytes(args.out_dtype)),
                            args.kind, args.correction};
  switch (args.kind) {
    case ReduceKind::kSum:
    case ReduceKind::kMean:
    case ReduceKind::kSumSquares:
      return reduce_sum(args, shape, target, stream);
    case ReduceKind::kMax:
    case ReduceKind::kMin:
      return reduce_extremum(args, shape, target, stream);
    case ReduceKind::kArgMax:
      return reduce_argmax(args, shape, target, stream);
    case ReduceKind::kVar:
      return reduce_variance(args, shape, target, stream);
  }
}

}  // namespace weft::cuda
