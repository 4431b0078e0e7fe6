// Collectives that make new tensors and have gradients, called for all ranks from one thread.
// native/binding/fabric/joint.cc hands them to TypeScript (src/mesh/collectives.ts).
//
// Design. A call submits for all ranks at once (Group::submit_all), so ranks cannot disagree, and
// leaves each device's current stream waiting for its result by an event. Its joint node (see
// autograd/joint.h) runs the adjoint the same way in the backward pass: the host waits for nothing.
//
//   all-reduce sum, avg   <->  itself             all-gather  <->  reduce-scatter sum
//   reduce-scatter sum    <->  all-gather         broadcast   <->  reduce sum
//
//  - An adjoint counts every output as a value of its own: the gradient of an input is the sum over
//    the ranks of what their outputs pass back. Ranks without a gradient add zeros.
//  - What breaks it: a group whose ranks also call from their own threads; use one group for each.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "fabric/group.h"

namespace weft {

struct JointCall {
  fabric::CollectiveKind kind = fabric::CollectiveKind::kAllReduce;
  fabric::ReduceOp op = fabric::ReduceOp::kSum;
  int root = 0;
  int64_t timeout_ms = 30'000;  ///< for all ranks to arrive
  int64_t result_ms = 600'000;  ///< for the result
};

/// inputs[r] lies on the group's r-th device; broadcast takes the root's alone. Returns one result a
/// rank; reduce the root's alone. all-gather (n, …) -> (ranks · n, …) and reduce-scatter
/// (ranks · n, …) -> (n, …) work along dimension 0. Throws ShapeError, DtypeError, DeviceError on
/// what does not fit, UsageError where a maximum, minimum or product would need a gradient.
std::vector<Tensor> joint_collective(const std::shared_ptr<fabric::Group>& group,
                                     const JointCall& call, std::span<const Tensor> inputs);

}  // namespace weft
