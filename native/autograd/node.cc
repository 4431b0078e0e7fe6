// Nodes, leaves and the recording switch. See node.h.
#include "autograd/node.h"

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
  // Saved tensors may own the last reference to further nodes through their own history.
  for (SavedTensor& saved : saved_inputs) {
    if (saved.tensor && saved.tensor->autograd && saved.tensor->autograd->grad_fn) {
      t_dying->push_back(saved.tensor->autograd->grad_fn);
    }
    saved.tensor = Tensor();
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
  for (SavedTensor& saved : saved_inputs) saved.tensor = Tensor();
  for (SavedTensor& saved : saved_outputs) saved.tensor = Tensor();
  released = true;
}

AutogradMeta& autograd_meta(const Tensor& t) {
  if (!t->autograd) t->autograd = std::make_unique<AutogradMeta>();
  return *t->autograd;
}

bool is_leaf(const Tensor& t) { return !t->autograd || !t->autograd->grad_fn; }

Edge gradient_edge(const Tensor& t) {
  AutogradMeta& meta = autograd_meta(t);
  if (meta.grad_fn) return {meta.grad_fn, meta.output_index, Tensor()};
  if (!meta.accumulator) {
    auto node = make_ref<Node>();
    node->name = "accumulate";
    node->sequence = ~uint64_t{0};  // as soon as it is ready: buckets reduce while backward goes on
    node->device = t.device().index();
    node->leaf = t.impl();
    node->output_metas.push_back({t.shape(), t.dtype(), t.device().index(), true});
    meta.accumulator = node;
  }
  return {meta.accumulator, 0, t};
}

void set_requires_grad(const Tensor& leaf, bool requires_grad) {
  if (!is_leaf(leaf)) {
    fail(ErrorCode::kUsage,
         "requiresGrad can be set on leaves only; detach() this result of %s first",
         leaf->autograd->grad_fn->name);
  }
  if (requires_grad && !is_floating(leaf.dtype())) {
    fail(ErrorCode::kDtype, "only floating tensors have gradients, this one is %s",
         dtype_name(leaf.dtype()));
  }
  leaf->requires_grad = requires_grad;
  if (requires_grad) gradient_edge(leaf);
}

void add_tensor_hook(const Tensor& t, TensorHook hook) {
  if (!t.requires_grad()) {
    fail(ErrorCode::kUsage, "registerHook: this tensor does not require gradients");
  }
  Edge edge = gradient_edge(t);
  edge.node->hooks.emplace_back(edge.slot, std::move(hook));
}

void add_leaf_hook(const Tensor& leaf, LeafHook hook) {
  if (!leaf.requires_grad() || !is_leaf(leaf)) {
    fail(ErrorCode::kUsage, "a leaf hook needs a leaf that requires gradients");
  }
  autograd_meta(leaf).leaf_hooks.push_back(std::move(hook));
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

const Tensor& unpack(const Node& node, const SavedTensor& saved, const char* role, int i) {
  if (node.released) {
    fail(ErrorCode::kUsage,
         "backward: the tensors kept for %s were freed by an earlier backward pass; pass { "
         "retainGraph: true } "
         "to that one",
         node.name);
  }
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
