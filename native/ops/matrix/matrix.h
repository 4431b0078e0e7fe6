// Matrices as GEMM sees them: which layouts it reads in place, and one launch for a (batched)
// product. Shared by matmul.cc and linear.cc.
#pragma once

#include "core/tensor.h"
#include "dispatch/kernels.h"

namespace weft::ops {

/// The last two dimensions of a tensor, readable by GEMM: `tensor` is the argument itself whenever
/// its rows or its columns are dense, else a contiguous copy.
struct Matrix {
  Tensor tensor;
  int64_t ld;
  bool transposed;  ///< columns are dense: memory holds the transposed matrix
};
Matrix as_matrix(const Tensor& t);

/// Fills m, n, k, operands and leading dimensions for out (.., m, n) = a (.., m, k) · b (.., k, n).
/// `out` is contiguous. Batch dimensions are the caller's.
GemmArgs gemm_args(const Tensor& out, const Matrix& a, const Matrix& b);
/// Launches, or writes zeros when k is 0. Nothing happens for an empty `out`.
void launch_gemm(const GemmArgs& args, const Tensor& out, const Matrix& a, const Matrix& b,
                 const Tensor& bias, const Tensor& pre_activation, const char* name);

/// Same dtype on both sides, floating or i32 or i64, else DtypeError.
void require_product_dtypes(const Tensor& a, const Tensor& b, const char* name);

}  // namespace weft::ops
