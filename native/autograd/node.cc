// Nodes, what they saved, and the recording switch. See node.h; leaves are in leaf.cc.
#include "autograd/node.h"

#include "autograd/checkpoint.h"
#include "fabric/fabric.h"

namespace weft {
namespace {

thread_local bool t_grad_enabled = true;

// ~Node moves the nodes it refers to here; the outermost destructor empties it in a loop.
thread_local std::vector<Ref<Node>>* t_dying = nullptr;

}  // namespace

Node::Node() = default;

Node::~Node() {
  bool outermost = t_dying == nullptr;
  std::vector<Ref<Node>> dying;
  if (outermost) t_dying = &dying;
  for (Edge& edge : edges) {
    if (edge.node) t_dying->push_back(std::move(edge.node));
  }
  if (!outermost) return;
  while (!dying.empty()) {
    Ref<Node> next = std::move(dying.back());
    dying.pop_back();
    next = Ref<Node>();
  }
  t_dying = nullptr;
}

void Node::release_saved() {
  auto release = [this](SavedTensor& saved) {
    saved.tensor = Tensor();
    if (saved.place != 0) checkpoint->drop(saved.place);
  };
  for (SavedTensor& saved : saved_inputs) release(saved);
  for (SavedTensor& saved : saved_outputs) release(saved);
  released = true;
}

AutogradSlot::~AutogradSlot() { delete meta_.load(std::memory_order_acquire); }

AutogradMeta& AutogradSlot::make() {
  AutogradMeta* known = meta_.load(std::memory_order_acquire);
  if (known != nullptr) return *known;
  auto made = std::make_unique<AutogradMeta>();
  if (meta_.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) {
    return *made.release();
  }
  return *known;
}

bool is_leaf(const Tensor& t) { return !t->autograd || !t->autograd->grad_fn; }

HookHandle add_tensor_hook(const Tensor& t, TensorHook hook) {
  if (!t.requires_grad()) {
    fail(ErrorCode::kUsage, "registerHook: this tensor does not require gradients");
  }
  Edge edge = gradient_edge(t);
  return edge.node->hooks.add({edge.slot, std::move(hook)});
}

bool grad_enabled() { return t_grad_enabled; }
void set_grad_enabled(bool enabled) { t_grad_enabled = enabled; }
NoGradGuard::NoGradGuard(bool enabled) : previous_(t_grad_enabled) { t_grad_enabled = enabled; }
NoGradGuard::~NoGradGuard() { t_grad_enabled = previous_; }

// GradCall: a formula's view of its node.

bool GradCall::needs(int input) const { return static_cast<bool>(node_.edges[input].node); }
int GradCall::inputs() const { return static_cast<int>(node_.inputs.size()); }
bool GradCall::has_input(int i) const { return node_.inputs[i].present; }
const Dims& GradCall::input_shape(int i) const { return node_.inputs[i].shape; }
DType GradCall::input_dtype(int i) const { return node_.inputs[i].dtype; }
Device& GradCall::input_device(int i) const { return fabric::device_at(node_.inputs[i].device); }

namespace {

const Tensor& unpack(const Node& node, const SavedTensor& kept, const char* role, int i) {
  if (node.released) {
    fail(ErrorCode::kUsage,
         "backward: the tensors kept for %s were freed by an earlier backward pass; pass { "
         "retainGraph: true } "
         "to that one",
         node.name);
  }
  const SavedTensor& saved = kept.place == 0 ? kept : node.checkpoint->fetch(kept.place);
  if (!saved.tensor)
    fail(ErrorCode::kUsage, "%s did not keep %s %d for its gradient", node.name, role, i);
  uint32_t now = saved.tensor->storage->version();
  if (now != saved.version) {
    fail(ErrorCode::kUsage,
         "backward: %s %d of %s is needed for its gradient but was changed in place by %s (version "
         "%u, kept at "
         "%u); clone() it first",
         role, i, node.name, op_name(static_cast<Op>(saved.tensor->storage->last_writer())), now,
         saved.version);
  }
  return saved.tensor;
}

}  // namespace

Tensor GradCall::input(int i) const { return unpack(node_, node_.saved_inputs[i], "input", i); }
Tensor GradCall::output(int i) const { return unpack(node_, node_.saved_outputs[i], "result", i); }
double GradCall::number(int arg) const { return node_.words[node_.at[arg]]; }
int64_t GradCall::integer(int arg) const { return static_cast<int64_t>(number(arg)); }
bool GradCall::flag(int arg) const { return number(arg) != 0; }
Dims GradCall::dims(int arg) const {
  Dims d;
  for (int k = 0; k < node_.length[arg]; ++k)
    d.push(static_cast<int64_t>(node_.words[node_.at[arg] + k]));
  return d;
}

}  // namespace weft
