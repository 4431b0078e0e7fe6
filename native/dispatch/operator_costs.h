// What an operator call moves and computes, from its shapes: bytes that it reads and writes in memory, and FLOP of
// matrix products. The one place for it, beside operators.def; work_log asks in mode timing, and the costs go into
// event records, where profiles find them.
#pragma once

#include <span>

#include "autograd/node.h"
#include "dispatch/op_table.h"

namespace weft {

/// The least that a kernel must do: each operand is read once, each result written once.
struct OperatorCost {
  uint64_t bytes = 0;
  uint64_t flop = 0;  ///< a product of n·k by k·m is 2nkm; 0: no matrix product
};

/// Of a call that was made: operands and results are there.
OperatorCost operator_cost(const OpCall& call);
/// Of the gradient formula of `node`, by the gradients that it was given and those that it made.
OperatorCost gradient_cost(const Node& node, std::span<const Tensor> grads,
                           std::span<const Tensor> results);

/// As event records carry it (`extra`): FLOP above, bytes below, each an IEEE single; 0: not known.
uint64_t packed_cost(const OperatorCost& cost);

}  // namespace weft
