// What the rows of norms share: parameters as kernels read them, and the arguments of one call. Used by normalization.cc
// and add_norm.cc.
#pragma once

#include "ops/launch.h"
#include "ops/ops.h"

namespace weft::ops {

/// Throws DtypeError or ShapeError naming `name` unless x is floating and has a last dimension.
void require_rows(const Tensor& x, const char* name);
/// A weight or bias as the kernel reads it: contiguous, of the dtype of x; undefined stays.
Tensor norm_parameter(const Tensor& p, const Tensor& x, const char* name, const char* what);

inline char* address(const Tensor& t) { return t.defined() ? t.data() : nullptr; }

/// Rows of x, its result of `y_dtype`; without `mean` a root-mean-square norm.
NormArgs norm_args(const Tensor& x, DType y_dtype, const Tensor& weight, const Tensor& mean,
                   const Tensor& rstd, double eps);

}  // namespace weft::ops
