// How a reduction is laid out over threads: found on the host from the shape alone, taken by the
// kernels by value. Used by reduce.cu and the kernels of reduce.cuh.
#pragma once

#include "cuda/strides.h"
#include "dispatch/kernels.h"

namespace weft::cuda {

/// Offsets in elements of the positions 0, 1, ... of a few dimensions, dimension 0 the fastest.
struct Walk {
  int dims = 0;
  bool small = true;  ///< positions stay below 2^31
  FastDivisor size[kMaxDims];
  int64_t shape[kMaxDims] = {}, stride[kMaxDims] = {};

  Walk() = default;
  Walk(int n, const int64_t* sizes, const int64_t* strides, int64_t count);

#if defined(__CUDACC__)
  __device__ __forceinline__ int64_t offset(int64_t position) const {
    if (dims <= 1) return dims == 0 ? 0 : position * stride[0];
    int64_t at = 0;
    if (small) {
      auto left = static_cast<uint32_t>(position);
#pragma unroll
      for (int d = 0; d < kMaxDims; ++d) {
        if (d == dims) break;
        const uint32_t next = size[d].divide(left);
        at += static_cast<int64_t>(left - next * size[d].divisor) * stride[d];
        left = next;
      }
    } else {
#pragma unroll
      for (int d = 0; d < kMaxDims; ++d) {
        if (d == dims) break;
        const int64_t next = position / shape[d];
        at += (position - next * shape[d]) * stride[d];
        position = next;
      }
    }
    return at;
  }
#endif
};

struct ReduceShape {
  Walk kept, reduced;
  int64_t outputs, count;  ///< kept and reduced elements
  bool dense;              ///< runs are dense in memory
  bool columns;            ///< neighbouring outputs are neighbours in memory and runs are not dense
  bool packed;             ///< columns of a matrix whose rows begin and end at 16 bytes
  int lanes;               ///< threads an output when runs are short, else 0
  unsigned chunks;         ///< pieces of a run
  int64_t chunk_length;

  explicit ReduceShape(const ReduceArgs& args);
};

/// Where results go.
struct ReduceTarget {
  void* out;
  DType dtype;
  int bytes;
  ReduceKind kind;
  double correction;
};

}  // namespace weft::cuda
