// See leaf.h.
#include "autograd/leaf.h"

#include <array>

namespace weft {

std::mutex& leaf_mutex(const TensorImpl* leaf) {
  static auto* stripes = new std::array<std::mutex, 64>();
  return (*stripes)[(reinterpret_cast<uintptr_t>(leaf) >> 6) % 64];
}

namespace {

/// The accumulator of a leaf; made here, once.
Ref<Node> accumulator_of(const Tensor& leaf) {
  AutogradMeta& meta = autograd_meta(leaf);
  std::lock_guard<std::mutex> guard(leaf_mutex(leaf.impl()));
  if (!meta.accumulator) {
    auto node = make_ref<Node>();
    node->name = "accumulate";
    node->sequence = ~uint64_t{0};  // as soon as it is ready: buckets reduce while backward goes on
    node->device = leaf.device().index();
    node->leaf = leaf.impl();
    node->output_metas.push_back({leaf.shape(), leaf.dtype(), leaf.device().index(), true});
    meta.accumulator = node;
  }
  return meta.accumulator;
}

}  // namespace

Edge gradient_edge(const Tensor& t) {
  AutogradMeta& meta = autograd_meta(t);
  if (meta.grad_fn) return {meta.grad_fn, meta.output_index, Tensor()};
  // Who sees the flag finds the accumulator.
  if (t.requires_grad()) return {meta.accumulator, 0, t};
  return {accumulator_of(t), 0, t};
}

void set_requires_grad(const Tensor& leaf, bool requires_grad) {
  if (!is_leaf(leaf)) {
    fail(ErrorCode::kUsage,
         "requiresGrad_: only a leaf can be changed; this tensor was made by %s: detach() it first",
         leaf->autograd->grad_fn->name);
  }
  if (requires_grad && !is_floating(leaf.dtype())) {
    fail(ErrorCode::kDtype, "requiresGrad_: only floating tensors have gradients, this one is %s",
         dtype_name(leaf.dtype()));
  }
  if (requires_grad) accumulator_of(leaf);
  leaf->requires_grad.store(requires_grad, std::memory_order_release);
}

Tensor leaf_grad(const Tensor& leaf) {
  if (!leaf->autograd) return Tensor();
  AutogradMeta& meta = *leaf->autograd;
  std::lock_guard<std::mutex> guard(leaf_mutex(leaf.impl()));
  return meta.grad_stale ? Tensor() : meta.grad;
}

void replace_grad(const Tensor& leaf, Tensor grad) {
  if (!grad && !leaf->autograd) return;
  AutogradMeta& meta = autograd_meta(leaf);
  std::lock_guard<std::mutex> guard(leaf_mutex(leaf.impl()));
  std::swap(meta.grad, grad);  // the old one ends after the lock
  meta.grad_stale = false;
}

void zero_grad(const Tensor& leaf) {
  if (!leaf->autograd) return;
  AutogradMeta& meta = *leaf->autograd;
  std::lock_guard<std::mutex> guard(leaf_mutex(leaf.impl()));
  if (!meta.grad) return;
  NoGradGuard no_grad;
  call(Op::zero_, {meta.grad});
  meta.grad_stale = false;
}

void lend_grad(const Tensor& leaf, const Tensor& memory, bool stale) {
  AutogradMeta& meta = autograd_meta(leaf);
  std::lock_guard<std::mutex> guard(leaf_mutex(leaf.impl()));
  meta.grad = memory;
  meta.grad_stale = stale;
}

void close_grad(const Tensor& leaf, const char* why) {
  AutogradMeta& meta = autograd_meta(leaf);
  std::lock_guard<std::mutex> guard(leaf_mutex(leaf.impl()));
  meta.grad_closed = why;
}

void open_grad(const Tensor& leaf) { close_grad(leaf, nullptr); }

HookHandle add_leaf_hook(const Tensor& leaf, LeafHook hook) {
  if (!leaf.requires_grad() || !is_leaf(leaf)) {
    fail(ErrorCode::kUsage, "a leaf hook needs a leaf that requires gradients");
  }
  return autograd_meta(leaf).leaf_hooks.add(std::move(hook));
}

bool has_leaf_hooks(const Tensor& leaf) {
  return leaf->autograd && !leaf->autograd->leaf_hooks.empty();
}

}  // namespace weft
