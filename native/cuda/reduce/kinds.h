// The families of reductions, one .cu each. Called by reduce().
#pragma once

#include "cuda/reduce/shape.h"

namespace weft::cuda {

/// kSum, kMean and kSumSquares.
void reduce_sum(const ReduceArgs& args, const ReduceShape& shape, const ReduceTarget& target,
                Stream& stream);
/// kMax and kMin.
void reduce_extremum(const ReduceArgs& args, const ReduceShape& shape, const ReduceTarget& target,
                     Stream& stream);
void reduce_argmax(const ReduceArgs& args, const ReduceShape& shape, const ReduceTarget& target,
                   Stream& stream);
void reduce_variance(const ReduceArgs& args, const ReduceShape& shape, const ReduceTarget& target,
                     Stream& stream);

}  // namespace weft::cuda
