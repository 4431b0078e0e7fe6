// Reductions over outer dimensions, where neighbouring outputs read neighbouring inputs: rows are
// added into a block of columns. Called by reduce.cc.
#pragma once

#include "cpu/elementwise/convert_block.h"
#include "dispatch/kernels.h"

namespace weft::cpu {

/// Whether the column loops apply: kept dimension 0 dense and wide enough, and a kind that they
/// have.
bool columns_apply(const ReduceArgs& args);
void reduce_columns(const ReduceArgs& args, LaneType lane);

}  // namespace weft::cpu
