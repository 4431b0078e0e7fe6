// Norms of rows that a warp holds in its registers. Called by norm.cu, which takes other rows itself.
#pragma once

#include "dispatch/kernels.h"

namespace weft::cuda {

/// norm_forward() and norm_backward(), norms of a sum among them. False: nothing was done; the rows are too long,
/// not aligned, or of f64.
bool held_norm_forward(const NormArgs& args, const char* name, Stream& stream);
bool held_norm_backward(const NormArgs& args, const char* name, Stream& stream);

}  // namespace weft::cuda
