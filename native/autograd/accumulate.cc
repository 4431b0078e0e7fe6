// See accumulate.h. Called by the engines on the thread that runs the node.
#include "autograd/accumulate.h"

#include <array>
#include <mutex>

#include "fabric/fabric.h"
#include "ops/ops.h"

namespace weft {
namespace {

// Two backward passes may reach one leaf at once; a stripe of mutexes by address orders them.
std::mutex& leaf_mutex(const TensorImpl* leaf) {
  static auto* stripes = new std::array<std::mutex, 64>();
  return (*stripes)[(reinterpret_cast<uintptr_t>(leaf) >> 6) % 64];
}

bool sole_owner(const Tensor& t) {
  return t->use_count() == 1 && t->storage->use_count() == 1 && t.is_contiguous() &&
         t->storage->bytes() == static_cast<size_t>(t.numel()) * dtype_bytes(t.dtype());
}

Tensor fit(const Node& node, Tensor grad, const InputMeta& meta) {
  if (!(grad.shape() == meta.shape)) {
    fail(ErrorCode::kShape, "gradient of %s has shape %s, its input has %s", node.name,
         to_string(grad.shape()).c_str(), to_string(meta.shape).c_str());
  }
  return grad.dtype() == meta.dtype ? grad : ops::to_dtype(grad, meta.dtype);
}

}  // namespace

Tensor add_gradients(Tensor a, const Tensor& b) {
  if (sole_owner(a) && a.dtype() == b.dtype()) {
    ops::binary_(BinaryOp::kAdd, a, b, "add_gradients");
    return a;
  }
  return ops::add(a, b);
}

void accumulate_into_leaf(TensorImpl* leaf, Tensor grad) {
  AutogradMeta& meta = *leaf->autograd;
  {
    std::lock_guard<std::mutex> guard(leaf_mutex(leaf));
    if (!meta.grad) {
      meta.grad = sole_owner(grad) ? std::move(grad) : ops::clone(grad);
    } else {
      if (meta.grad_stale) {
        ops::copy_(meta.grad, grad);
        meta.grad_stale = false;
      } else {
        ops::binary_(BinaryOp::kAdd, meta.grad, grad, "accumulate");
      }
      meta.grad->storage->bump_version(static_cast<uint16_t>(Op::add_));
    }
  }
  for (const LeafHook& hook : meta.leaf_hooks) hook();
}

GradList evaluate_node(Node& node, GradList grads) {
  for (auto& [slot, hook] : node.hooks) {
    if (!grads[slot]) continue;
    Tensor replaced = hook(grads[slot]);
    if (replaced) grads[slot] = fit(node, std::move(replaced), node.output_metas[slot]);
  }
  if (node.leaf) {
    if (grads[0])
      accumulate_into_leaf(node.leaf, fit(node, std::move(grads[0]), node.output_metas[0]));
    return {};
  }
  GradList results;
  results.resize(node.edges.size());
  for (int slot = 0; slot < node.outputs; ++slot) {
    if (!grads[slot]) {
      const InputMeta& meta = node.output_metas[slot];
      grads[slot] = ops::full(meta.shape, 0, meta.dtype, fabric::device_at(meta.device));
    }
  }
  std::span<Tensor> in{grads.data(), grads.size()}, out{results.data(), results.size()};
  if (node.custom) {
    node.custom(in, out);
  } else {
    GradCall call(node, in, out);
    node.formula(call);
  }
  for (size_t i = 0; i < results.size(); ++i) {
    if (!node.edges[i].node) {
      results[i] = Tensor();
    } else if (results[i]) {
      results[i] = fit(node, std::move(results[i]), node.inputs[i]);
    }
  }
  return results;
}

}  // namespace weft
