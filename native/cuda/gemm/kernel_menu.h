// The menu of tensor-core GEMM kernels as device code sees it: what a kernel is asked to do, how it
// is launched, and the list of those built. menu/*.cu fill the list through tile.h;
// choice.cc picks from it and gemm.cc launches. What choosing needs of a row is gemm/menu.h's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "gemm/menu.h"

namespace weft::cuda {

/// C (m,n) of `batch` products, `*_batch` elements apart. Pointers and every stride are multiples
/// of 16 bytes, batch strides are not 0 where batch > 1.
struct GemmProblem {
  int m, n, k, batch;
  const void* a;     // (m,k) or (k,m)
  const void* b;     // (k,n) or (n,k)
  void* c;           // (m,n)
  const void* bias;  // (n,) or nullptr
  void* before;      // (m,n) like c, or nullptr
  int64_t lda, ldb, ldc;
  int64_t a_batch, b_batch, c_batch;
  float alpha, beta;
};

/// How a launch uses the device.
struct GemmSetting {
  int ordinal;
  int multiprocessors;
  int splits;  // as in GemmChoice
  int swizzle;
};

struct GemmKernel : GemmRow {
  size_t (*workspace)(const GemmProblem&, const GemmSetting&);
  /// `workspace` holds what workspace() asked for (nullptr when 0).
  cudaError_t (*launch)(const GemmProblem&, const GemmSetting&, void* workspace, cudaStream_t);
};

struct GemmKernels {
  const GemmKernel* first;
  int count;
  const GemmKernel* begin() const { return first; }
  const GemmKernel* end() const { return first + count; }
};

// One function for each file of menu/. File names say architecture, dtype and tile; sm90_*.cu
// is compiled for 90a alone and sm100_*.cu for 100a and 103a alone. A build without one of the
// architectures leaves its files out and does not define WEFT_GEMM_SM90 or WEFT_GEMM_SM100.
#define WEFT_GEMM_FILE(name) GemmKernels name();
#include "cuda/gemm/menu.def"
#undef WEFT_GEMM_FILE

}  // namespace weft::cuda
