// See graph_task.h.
#include "autograd/graph_task.h"

#include <algorithm>

#include "fabric/fabric.h"

namespace weft {

Stream& GraphTask::stream_of(const Node& node) {
  return node.stream ? *node.stream : current_stream(fabric::device_at(node.device));
}

void GraphTask::build(std::span<const Tensor> roots, std::span<const Tensor> gradients) {
  std::vector<Node*> open;
  auto visit = [&](const Ref<Node>& node) -> State& {
    auto [it, fresh] = states_.try_emplace(node.get());
    if (fresh) {
      it->second.node = node;
      open.push_back(node.get());
    }
    return it->second;
  };
  for (size_t i = 0; i < roots.size(); ++i) {
    Edge edge = gradient_edge(roots[i]);
    State& state = visit(edge.node);
    state.parts.push_back({~uint64_t{0} - i, 0, edge.slot, gradients[i]});
  }
  uint16_t device = roots[0].device().index();
  while (!open.empty()) {
    Node* node = open.back();
    open.pop_back();
    if (node->device != device) several_devices_ = true;
    for (const Edge& edge : node->edges) {
      if (edge.node) ++visit(edge.node).waiting;
    }
  }
}

std::vector<GraphTask::State*> GraphTask::initially_ready() {
  std::vector<State*> ready;
  for (auto& [node, state] : states_) {
    if (state.waiting == 0) ready.push_back(&state);
  }
  std::sort(ready.begin(), ready.end(), [](State* a, State* b) { return ByAge()(b, a); });
  return ready;
}

void GraphTask::add_part(State& to, State::Part part) {
  if (!several_devices_) {
    for (State::Part& present : to.parts) {
      if (present.slot == part.slot) {
        present.grad = add_gradients(std::move(present.grad), part.grad);
        return;
      }
    }
  }
  to.parts.push_back(std::move(part));
}

GradList GraphTask::take_gradients(State& state) {
  if (several_devices_) {
    std::sort(state.parts.begin(), state.parts.end(),
              [](const State::Part& a, const State::Part& b) {
                return a.from != b.from ? a.from > b.from : a.edge < b.edge;
              });
  }
  GradList grads;
  grads.resize(static_cast<size_t>(state.node->outputs));
  for (State::Part& part : state.parts) {
    Tensor& slot = grads[static_cast<size_t>(part.slot)];
    slot = slot ? add_gradients(std::move(slot), part.grad) : std::move(part.grad);
    part.grad = Tensor();
  }
  state.parts.clear();
  return grads;
}

void GraphTask::deliver(State& state, GradList results, std::vector<State*>& ready) {
  Node& node = *state.node;
  for (size_t i = 0; i < node.edges.size(); ++i) {
    const Edge& edge = node.edges[i];
    if (!edge.node) continue;
    State& next = states_.find(edge.node.get())->second;
    if (i < results.size() && results[i]) {
      // The consumer may run on another stream of this device: order it and tell the allocator.
      Stream& from = stream_of(node);
      Stream& to = stream_of(*edge.node);
      if (&from != &to && &from.device() == &to.device()) {
        fabric::order_after(to, from);
        results[i]->storage->use_on(to);
      }
      add_part(next, {node.sequence, static_cast<int>(i), edge.slot, std::move(results[i])});
    }
    if (--next.waiting == 0) ready.push_back(&next);
  }
}

}  // namespace weft
