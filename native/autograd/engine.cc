// The backward engine for one device: a ready queue on the calling thread. Hands graphs over
// several devices to device_engine.cc.
#include "autograd/engine.h"

#include <utility>

#include "autograd/device_engine.h"
#include "autograd/graph_task.h"
#include "fabric/fabric.h"
#include "ops/ops.h"

namespace weft {
namespace {

void run_on_this_thread(GraphTask& task, const BackwardOptions& options) {
  std::priority_queue<GraphTask::State*, std::vector<GraphTask::State*>, GraphTask::ByAge> queue;
  for (auto* state : task.initially_ready()) queue.push(state);
  std::vector<GraphTask::State*> ready;
  while (!queue.empty()) {
    GraphTask::State* state = queue.top();
    queue.pop();
    Node& node = *state->node;
    GradList grads = task.take_gradients(*state);
    bool reached = false;
    for (const Tensor& g : grads) reached = reached || g.defined();
    GradList results;
    if (reached) {
      Stream& stream = node.stream ? *node.stream : current_stream(fabric::device_at(node.device));
      StreamGuard guard(stream);
      results = evaluate_node(node, std::move(grads));
      if (!options.retain_graph && !node.leaf) node.release_saved();
    }
    ready.clear();
    task.deliver(*state, std::move(results), ready);
    for (auto* next : ready) queue.push(next);
  }
}

Tensor start_gradient(const Tensor& root, const Tensor& gradient) {
  if (gradient) {
    if (!(gradient.shape() == root.shape())) {
      fail(ErrorCode::kShape, "backward: the gradient has shape %s, the tensor %s",
           to_string(gradient.shape()).c_str(), to_string(root.shape()).c_str());
    }
    if (&gradient.device() != &root.device()) {
      fail(ErrorCode::kDevice, "backward: the gradient is on %s, the tensor on %s",
           gradient.device().name().c_str(), root.device().name().c_str());
    }
    return gradient.dtype() == root.dtype() ? gradient : ops::to_dtype(gradient, root.dtype());
  }
  if (root.numel() != 1) {
    fail(ErrorCode::kUsage,
         "backward: a tensor of shape %s needs a gradient argument; only one-element tensors start "
         "from 1",
         to_string(root.shape()).c_str());
  }
  return ops::full(root.shape(), 1, root.dtype(), root.device());
}

}  // namespace

void backward(std::span<const Tensor> roots, std::span<const Tensor> gradients,
              BackwardOptions options) {
  if (roots.empty()) fail(ErrorCode::kUsage, "backward: no tensor was given");
  NoGradGuard no_grad;
  std::vector<Tensor> starts;
  for (size_t i = 0; i < roots.size(); ++i) {
    if (!roots[i].requires_grad()) {
      fail(ErrorCode::kUsage,
           "backward: this tensor does not require gradients: nothing it was made from does, or it "
           "was made "
           "inside noGrad()");
    }
    starts.push_back(start_gradient(roots[i], i < gradients.size() ? gradients[i] : Tensor()));
  }
  GraphTask task;
  task.build(roots, starts);
  if (task.several_devices()) {
    run_on_devices(std::move(task), options);
    return;
  }
  run_on_this_thread(task, options);
}

}  // namespace weft
