// The backward engine for one device: a ready queue on the calling thread. Hands graphs over
// several devices to device_engine.cc.
#include "autograd/engine.h"

#include <utility>

#include "autograd/device_engine.h"
#include "autograd/graph_task.h"

namespace weft {
namespace {

void run_on_this_thread(GraphTask& task, const BackwardOptions& options) {
  std::priority_queue<GraphTask::State*, std::vector<GraphTask::State*>, GraphTask::ByAge> queue;
  for (auto* state : task.initially_ready()) queue.push(state);
  std::vector<GraphTask::State*> ready;
  while (!queue.empty()) {
    GraphTask::State* state = queue.top();
    queue.pop();
    GradList grads = task.take_gradients(*state);
    GraphTask::Results results =
        GraphTask::evaluate(*state, std::move(grads), options.retain_graph);
    ready.clear();
    task.deliver(*state, std::move(results), ready);
    for (auto* next : ready) queue.push(next);
  }
}

void check_root(const Tensor& root, const Tensor& gradient) {
  if (!root.requires_grad()) {
    fail(ErrorCode::kUsage,
         "backward: this tensor does not require gradients: nothing it was made from does, or it "
         "was made inside noGrad()");
  }
  if (!gradient) {
    if (root.numel() == 1) return;
    fail(ErrorCode::kUsage,
         "backward: a tensor of shape %s needs a gradient argument; only one-element tensors start "
         "from 1",
         to_string(root.shape()).c_str());
  }
  if (!(gradient.shape() == root.shape())) {
    fail(ErrorCode::kShape, "backward: the gradient has shape %s, the tensor %s",
         to_string(gradient.shape()).c_str(), to_string(root.shape()).c_str());
  }
  if (&gradient.device() != &root.device()) {
    fail(ErrorCode::kDevice, "backward: the gradient is on %s, the tensor on %s",
         gradient.device().name().c_str(), root.device().name().c_str());
  }
}

}  // namespace

void backward(std::span<const Tensor> roots, std::span<const Tensor> gradients,
              BackwardOptions options) {
  if (roots.empty()) fail(ErrorCode::kUsage, "backward: no tensor was given");
  NoGradGuard no_grad;
  std::vector<Tensor> given(roots.size());
  for (size_t i = 0; i < roots.size(); ++i) {
    if (i < gradients.size()) given[i] = gradients[i];
    check_root(roots[i], given[i]);
  }
  GraphTask task;
  task.build(roots, given);
  if (task.several_devices()) {
    run_on_devices(std::move(task), options);
    return;
  }
  run_on_this_thread(task, options);
}

}  // namespace weft
