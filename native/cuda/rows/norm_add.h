// A norm of the sum of a residual stream and a branch, in one kernel each way. Called by norm_forward() and
// norm_backward(), which check the types.
#pragma once

#include "dispatch/kernels.h"

namespace weft::cuda {

/// `args` with `residual`: writes sum, y and the statistics.
void norm_add_forward(const NormArgs& args, Stream& stream);
/// `args` with `grad_sum` or `grad_branch`: writes those of grad_x and grad_branch that are not nullptr. Statistics of
/// f64 rows are given in f64, those of the others in f32.
void norm_add_grad_x(const NormArgs& args, const float* means, const float* rstds, Stream& stream);
void norm_add_grad_x(const NormArgs& args, const double* means, const double* rstds,
                     Stream& stream);

}  // namespace weft::cuda
