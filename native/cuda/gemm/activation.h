// The tanh-GELU as a launch of its own, for products whose layout has no kernel with the fused one.
// Called by gemm.cc.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "fabric/dtype.h"

namespace weft::cuda {

/// out (rows, columns) = gelu(in), both with row stride `ld`; `in` may be `out`. f32, f16, bf16.
void gelu_rows(const void* in, void* out, int64_t rows, int64_t columns, int64_t ld,
               fabric::DType dtype, cudaStream_t stream);

}  // namespace weft::cuda
