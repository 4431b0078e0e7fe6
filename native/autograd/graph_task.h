// One backward pass: how many gradients each reachable node still waits for, those that arrived,
// and the stream each node's work runs on. Both engines drive it; it does no locking of its own.
//
// Streams, the same for both engines. A node's formula, and the sums of the gradients that reach
// it, run on the stream that the forward ran on; a leaf accumulates on the stream that was current
// where backward() was called, so that what the caller enqueues next finds the gradients. Whatever
// passes from one stream of a device to another goes by an event edge and is noted with the
// allocator: first gradients given by the caller, results of formulas, contributions to a sum.
// Between devices the copy nodes' transfers wait by themselves, and the stream that a copy arrived
// on hands it on like any other. A joint node has a stream on each of its devices: the gradient of a
// slot reaches it on the stream of that slot's device.
//  - What breaks it: a formula that enqueues on a stream that is not current.
#pragma once

#include <queue>
#include <unordered_map>
#include <vector>

#include "autograd/accumulate.h"

namespace weft {

/// Contributions are summed in a fixed order, whatever order they arrive in: by the sequence number
/// of the node they come from, later nodes first, as one thread would make them.
class GraphTask {
 public:
  struct State {
    Ref<Node> node;
    Stream* stream = nullptr;  // where its work runs; of a joint node, on its first device
    int waiting = 0;           // edges that will still deliver, or not, a gradient
    struct Part {
      uint64_t from;  // sequence of the producer
      int edge;       // its edge
      int slot;
      Tensor grad;
    };
    std::vector<Part> parts;
  };
  struct ByAge {  // later nodes first, leaves' accumulators before all
    bool operator()(const State* a, const State* b) const {
      return a->node->sequence < b->node->sequence;
    }
  };
  /// What a node made: one gradient an edge, and the stream each was made on.
  struct Results {
    GradList grads;
    SmallVector<Stream*, 3> streams;
  };

  /// Finds every node reachable from the roots and makes the first gradients: gradients[i], or 1
  /// where that is undefined. Where the nodes lie on several devices (several threads run them),
  /// contributions are kept apart until all are there; else they are added on arrival.
  void build(std::span<const Tensor> roots, std::span<const Tensor> gradients);
  bool several_devices() const { return several_devices_; }
  size_t size() const { return states_.size(); }
  std::vector<State*> initially_ready();
  /// Sums what arrived, in order; undefined entries for slots nobody reached.
  GradList take_gradients(State& state);
  /// Runs the node's hooks and formula on its stream, where any gradient reached it. Needs no lock.
  static Results evaluate(const State& state, GradList grads, bool retain_graph);
  /// Hands the results of `state` on; states that become ready are appended to `ready`.
  void deliver(State& state, Results results, std::vector<State*>& ready);

 private:
  void add_part(State& to, State::Part part);

  std::unordered_map<Node*, State> states_;
  bool several_devices_ = false;
};

}  // namespace weft
