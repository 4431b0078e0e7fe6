// See graph_task.h.
#include "autograd/graph_task.h"

#include <algorithm>
#include <deque>

#include "dispatch/work_log.h"
#include "fabric/fabric.h"
#include "ops/ops.h"

namespace weft {
namespace {

/// `grad`, made on `from`, is used on `to` next.
void hand_over(const Tensor& grad, Stream& from, Stream& to) {
  if (&from == &to || &from.device() != &to.device()) return;
  fabric::order_after(to, from);
  grad->storage->use_on(to);
}

/// Where the gradient of `slot` is awaited and summed.
Stream& slot_stream(const GraphTask::State& state, int slot) {
  const Node& node = *state.node;
  if (!node.streams.empty()) {
    const uint16_t device = node.output_metas[static_cast<size_t>(slot)].device;
    for (Stream* stream : node.streams) {
      if (stream->device().index() == device) return *stream;
    }
  }
  return *state.stream;
}

/// The gradient that `root` starts from, on the stream of its node.
Tensor first_gradient(const Tensor& root, const Tensor& given, Stream& stream) {
  if (!given) {
    StreamGuard guard(stream);
    Tensor grad = ops::full(root.shape(), 1, root.dtype(), root.device());
    work_log::log(Work::kGradientStart, Op::full, grad);
    return grad;
  }
  Tensor grad = given;
  if (given.dtype() != root.dtype()) {
    grad = ops::to_dtype(given, root.dtype());
    work_log::log(Work::kGradientStart, Op::to_dtype, grad);
  }
  hand_over(grad, current_stream(root.device()), stream);
  return grad;
}

}  // namespace

void GraphTask::build(std::span<const Tensor> roots, std::span<const Tensor> gradients) {
  std::vector<Node*> open;
  auto visit = [&](const Ref<Node>& node) -> State& {
    auto [it, fresh] = states_.try_emplace(node.get());
    if (fresh) {
      it->second.node = node;
      it->second.stream =
          node->stream ? node->stream : &current_stream(fabric::device_at(node->device));
      open.push_back(node.get());
    }
    return it->second;
  };
  for (size_t i = 0; i < roots.size(); ++i) {
    Edge edge = gradient_edge(roots[i]);
    State& state = visit(edge.node);
    Tensor first = first_gradient(roots[i], gradients[i], slot_stream(state, edge.slot));
    state.parts.push_back({~uint64_t{0} - i, 0, edge.slot, std::move(first)});
  }
  uint16_t device = roots[0].device().index();
  while (!open.empty()) {
    Node* node = open.back();
    open.pop_back();
    if (node->device != device || node->streams.size() > 1) several_devices_ = true;
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
        StreamGuard guard(slot_stream(to, part.slot));
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
    StreamGuard guard(slot_stream(state, part.slot));
    slot = slot ? add_gradients(std::move(slot), part.grad) : std::move(part.grad);
    part.grad = Tensor();
  }
  state.parts.clear();
  return grads;
}

GraphTask::Results GraphTask::evaluate(const State& state, GradList grads, bool retain_graph) {
  Results results;
  bool reached = false;
  for (const Tensor& g : grads) reached = reached || g.defined();
  if (!reached) return results;
  Node& node = *state.node;
  StreamGuard guard(*state.stream);
  std::deque<StreamGuard> others;
  for (Stream* stream : node.streams) others.emplace_back(*stream);
  results.grads = evaluate_node(node, std::move(grads));
  for (const Tensor& g : results.grads) {
    results.streams.push_back(g ? &current_stream(g.device()) : nullptr);
  }
  if (!retain_graph && !node.leaf) node.release_saved();
  return results;
}

void GraphTask::deliver(State& state, Results results, std::vector<State*>& ready) {
  Node& node = *state.node;
  for (size_t i = 0; i < node.edges.size(); ++i) {
    const Edge& edge = node.edges[i];
    if (!edge.node) continue;
    State& next = states_.find(edge.node.get())->second;
    if (i < results.grads.size() && results.grads[i]) {
      hand_over(results.grads[i], *results.streams[i], slot_stream(next, edge.slot));
      add_part(next, {node.sequence, static_cast<int>(i), edge.slot, std::move(results.grads[i])});
    }
    if (--next.waiting == 0) ready.push_back(&next);
  }
}

}  // namespace weft
