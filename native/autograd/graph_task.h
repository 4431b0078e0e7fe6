// One backward pass: how many gradients each reachable node still waits for, and those that
// arrived. Both engines drive it; it does no locking of its own.
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
    int waiting = 0;  // edges that will still deliver, or not, a gradient
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

  /// Finds every node reachable from the roots. Where they lie on several devices (several threads
  /// run them), contributions are kept apart until all are there; else they are added on arrival.
  void build(std::span<const Tensor> roots, std::span<const Tensor> gradients);
  bool several_devices() const { return several_devices_; }
  size_t size() const { return states_.size(); }
  std::vector<State*> initially_ready();
  /// Sums what arrived, in order; undefined entries for slots nobody reached.
  GradList take_gradients(State& state);
  /// Hands the results of `state` on; states that become ready are appended to `ready`.
  void deliver(State& state, GradList results, std::vector<State*>& ready);
  /// The stream a node's work runs on.
  static Stream& stream_of(const Node& node);

 private:
  void add_part(State& to, State::Part part);

  std::unordered_map<Node*, State> states_;
  bool several_devices_ = false;
};

}  // namespace weft
