// The backward engine. A graph on one device runs on the calling thread; a graph over several
// devices runs each device's nodes on that device's persistent worker, and devices meet only in
// copy and collective nodes, whose own events order them. Nothing here waits for a device.
#pragma once

#include <chrono>
#include <span>

#include "autograd/node.h"

namespace weft {

struct BackwardOptions {
  bool retain_graph = false;
  /// For enqueueing a graph over several devices; far above any real one.
  std::chrono::milliseconds limit = std::chrono::minutes(10);
};

/// Computes gradients of `roots` with respect to all leaves and accumulates them into leaf.grad.
/// gradients[i] belongs to roots[i]; undefined means 1 for a one-element root (else UsageError).
/// Several calls may run at once on different graphs. Throws what a formula throws; the graph's
/// leaves then keep what was accumulated so far.
void backward(std::span<const Tensor> roots, std::span<const Tensor> gradients,
              BackwardOptions options = {});

}  // namespace weft
