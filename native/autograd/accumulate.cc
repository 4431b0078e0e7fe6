// See accumulate.h. Called by the engines on the thread that runs the node.
#include "autograd/accumulate.h"

#include "autograd/leaf.h"
#include "dispatch/op_rows.h"
#include "dispatch/operator_costs.h"
#include "dispatch/work_log.h"
#include "fabric/fabric.h"
#include "ops/ops.h"

namespace weft {
namespace {

bool sole_owner(const Tensor& t) {
  return t->use_count() == 1 && t->storage->use_count() == 1 && t.is_contiguous() &&
         t->storage->bytes() == static_cast<size_t>(t.numel()) * dtype_bytes(t.dtype());
}

Tensor fit(const Node& node, Tensor grad, const InputMeta& meta) {
  if (!(grad.shape() == meta.shape)) {
    fail(ErrorCode::kShape, "gradient of %s has shape %s, its input has %s", node.name,
         to_string(grad.shape()).c_str(), to_string(meta.shape).c_str());
  }
  if (grad.dtype() == meta.dtype) return grad;
  Tensor cast = ops::to_dtype(grad, meta.dtype);
  work_log::log(Work::kBackward, node.op, cast);
  return cast;
}

/// The formula of `node` was enqueued on its current stream.
void log_formula(const Node& node, std::span<const Tensor> grads, std::span<const Tensor> results) {
  uint64_t bytes = 0;
  for (const Tensor& t : results) {
    if (t) bytes += static_cast<uint64_t>(t.numel()) * dtype_bytes(t.dtype());
  }
  const uint64_t cost = work_log::costs() ? packed_cost(gradient_cost(node, grads, results)) : 0;
  work_log::log(Work::kBackward, node.op, current_stream(fabric::device_at(node.device)), bytes,
                cost);
}

}  // namespace

Tensor add_gradients(Tensor a, const Tensor& b) {
  if (sole_owner(a) && a.dtype() == b.dtype()) {
    ops::binary_(BinaryOp::kAdd, a, b, "add_gradients");
  } else {
    a = ops::add(a, b);
  }
  work_log::log(Work::kGradientSum, Op::add, a);
  return a;
}

void accumulate_into_leaf(TensorImpl* leaf, Tensor grad) {
  AutogradMeta& meta = *leaf->autograd;
  {
    std::lock_guard<std::mutex> guard(leaf_mutex(leaf));
    if (meta.grad_closed) fail(ErrorCode::kUsage, "%s", meta.grad_closed);
    if (!meta.grad) {
      if (sole_owner(grad)) {
        meta.grad = std::move(grad);
      } else {
        meta.grad = ops::clone(grad);
        work_log::log(Work::kGradientAccumulate, Op::clone, meta.grad);
      }
    } else {
      if (meta.grad_stale) {
        ops::copy_(meta.grad, grad);
        meta.grad_stale = false;
        work_log::log(Work::kArenaCopy, Op::copy_, meta.grad);
      } else {
        ops::binary_(BinaryOp::kAdd, meta.grad, grad, "accumulate");
        work_log::log(Work::kGradientAccumulate, Op::add_, meta.grad);
      }
      meta.grad->storage->bump_version(static_cast<uint16_t>(Op::add_));
    }
  }
  meta.leaf_hooks.run([](const LeafHook& hook) { hook(); });
}

GradList evaluate_node(Node& node, GradList grads) {
  node.hooks.run([&](const Node::SlotHook& entry) {
    Tensor& grad = grads[static_cast<size_t>(entry.slot)];
    if (!grad) return;
    Tensor replaced = entry.hook(grad);
    if (replaced) {
      grad = fit(node, std::move(replaced), node.output_metas[static_cast<size_t>(entry.slot)]);
    }
  });
  if (node.leaf) {
    if (grads[0])
      accumulate_into_leaf(node.leaf, fit(node, std::move(grads[0]), node.output_metas[0]));
    return {};
  }
  GradList results;
  results.resize(node.edges.size());
  const bool misses = node.op != Op::kCount && row_data(node.op).row.takes_missing;
  for (int slot = 0; slot < (misses ? 1 : node.outputs); ++slot) {
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
  if (node.op != Op::kCount && work_log::on()) [[unlikely]]  // a collective logs itself
    log_formula(node, in, out);
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
