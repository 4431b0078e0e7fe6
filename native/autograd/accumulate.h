// Adding a gradient into a leaf, and evaluating one node: the steps that both engines share.
#pragma once

#include <span>

#include "autograd/node.h"
#include "core/small_vector.h"

namespace weft {

using GradList = SmallVector<Tensor, 3>;

/// Adds `grad` into leaf.grad on the current stream: takes it when it is the only owner, copies it
/// into stale memory (arenas), else adds in place. Then runs the leaf's hooks.
void accumulate_into_leaf(TensorImpl* leaf, Tensor grad);
/// a + b for two gradients of one slot; reuses a's memory when nobody else sees it.
Tensor add_gradients(Tensor a, const Tensor& b);
/// Runs hooks and the formula of `node` on `grads` (one entry a slot) and returns one gradient an
/// edge. For a leaf's accumulator it accumulates and returns nothing.
GradList evaluate_node(Node& node, GradList grads);

}  // namespace weft
