// Gradients of a norm's weight and bias: sums over rows. Called by norm.cu and norm_held.cu.
#pragma once

#include "dispatch/kernels.h"

namespace weft::cuda {

/// Writes grad_weight and grad_bias of `args` where they are not nullptr. Statistics of f64 rows
/// are given in f64, those of the others in f32; `means` is read only where args.mean is not
/// nullptr.
void norm_grad_weight(const NormArgs& args, const float* means, const float* rstds, Stream& stream);
void norm_grad_weight(const NormArgs& args, const double* means, const double* rstds,
                      Stream& stream);

/// Writes grad_weight and grad_bias of `args`, of T, where they are not nullptr, from the sums of
/// `chunks` parts of the rows, added in order: partials (chunks, 2, cols), of weight and of bias.
template <typename T>
void norm_total(const NormArgs& args, const float* partials, int chunks, Stream& stream);

}  // namespace weft::cuda
