// Joint nodes: one piece of history over tensors on several devices. parallel/joint_collective.cc
// records one for each differentiable collective; the engines run it like any node.
//
// Design. The node has one slot an output and one edge an input, whatever their devices. The engine
// runs it once, when no gradient of any output can come any more: slots that nobody reached count as
// zeros. Its formula enqueues on all the devices, on the streams of the forward.
//  - Order on the devices: the engine hands each slot's gradient to the stream of the slot's device
//    (GraphTask), and each result from the stream of its own device to whoever consumes it.
//  - It belongs to the worker of its first output's device, so joint nodes of one group run one
//    after another, in every pass.
//  - What breaks it: a formula that uses a device of which the forward had no tensor.
#pragma once

#include <functional>
#include <span>

#include "autograd/node.h"

namespace weft {

/// grads: one an output, all defined. results: one an input, to be filled.
using JointFormula = std::function<void(std::span<Tensor> grads, std::span<Tensor> results)>;

/// Is a joint call over `inputs` to be recorded? Throws UsageError naming the call where the history
/// of an input does not hold any more.
bool joint_recorded(const char* name, std::span<const Tensor> inputs);

/// Gives `outputs`, just made from `inputs`, one joint node. `name` must outlive it (a literal).
void record_joint(const char* name, std::span<const Tensor> inputs, std::span<const Tensor> outputs,
                  JointFormula formula);

}  // namespace weft
