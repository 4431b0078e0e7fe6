// The dispatcher: one operator call from checked arguments to recorded results. The hot path of the
// whole system; see op_table.h for the order and what it may not do.
#include "autograd/node.h"
#include "dispatch/op_rows.h"
#include "fabric/allocator.h"
#include "fabric/event_log.h"
#include "fabric/fabric.h"

namespace weft {
namespace {

std::atomic<uint64_t> g_sequence{1};

void check_same_device(const OpCall& call) {
  const Tensor* first = nullptr;
  for (const Tensor& t : call.tensors) {
    if (!t) continue;
    if (!first) {
      first = &t;
    } else if (&t.device() != &first->device()) {
      fail(ErrorCode::kDevice, "%s: tensors are on %s and %s; move one with .to(device)",
           op_name(call.op), first->device().name().c_str(), t.device().name().c_str());
    }
  }
}

void check_inplace(const OpCall& call, bool record) {
  const Tensor& a = call.tensors[0];
  if (a.requires_grad() && is_leaf(a)) {
    fail(ErrorCode::kUsage,
         "%s: a leaf that requires gradients cannot be changed in place while gradients are "
         "recorded; do it "
         "inside noGrad()",
         op_name(call.op));
  }
  if (record && a->is_view) {
    fail(ErrorCode::kUsage,
         "%s: a view cannot be changed in place while gradients are recorded; use the operator "
         "that returns "
         "a new tensor",
         op_name(call.op));
  }
}

void check_view_history(const OpCall& call, const Tensor& t) {
  if (t->is_view && t->autograd && t->autograd->grad_fn &&
      t->history_version != t->storage->version()) {
    fail(ErrorCode::kUsage,
         "%s: the memory of this view was changed in place (by %s) after the view was made, so its "
         "gradient "
         "history no longer holds",
         op_name(call.op), op_name(static_cast<Op>(t->storage->last_writer())));
  }
}

InputMeta meta_of(const Tensor& t) {
  if (!t) return {};
  return {t.shape(), t.dtype(), t.device().index(), true};
}

void save(SmallVector<SavedTensor, 3>& list, const Tensor& t, bool keep, bool alias) {
  if (!keep || !t) {
    list.push_back({});
  } else {
    list.push_back({alias ? detach(t) : t, t->storage->version(), alias});
  }
}

void record_node(OpCall& call, const RowData& row) {
  auto node = make_ref<Node>();
  node->op = call.op;
  node->formula = row.row.gradient;
  node->name = op_name(call.op);
  node->sequence = g_sequence.fetch_add(1, std::memory_order_relaxed);
  const int visible = row.writes_first                     ? 1
                      : row.visible_outputs == kAnyOutputs ? static_cast<int>(call.outputs.size())
                                                           : row.visible_outputs;
  node->outputs = visible;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const Tensor& t = call.tensors[i];
    bool keep = row.row.keep_inputs == kKeepAll || (i < 32 && (row.row.keep_inputs >> i & 1));
    node->inputs.push_back(meta_of(t));
    node->edges.push_back(t && t.requires_grad() ? gradient_edge(t) : Edge{});
    // The tensor written in place will point at this node: keep an alias, or the two would keep
    // each other.
    save(node->saved_inputs, t, keep, row.writes_first && i == 0);
  }
  node->words = SmallVector<double, 8>();
  for (double w : call.words) node->words.push_back(w);
  for (int i = 0; i < kMaxArgs; ++i) {
    node->at[i] = call.at[i];
    node->length[i] = call.length[i];
  }
  node->device = call.outputs[0].device().index();
  node->stream = &current_stream(call.outputs[0].device());
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    Tensor& out = call.outputs[i];
    bool keep = i < 32 && (row.row.keep_outputs >> i & 1);
    if (keep && out) {
      node->saved_outputs.push_back({detach(out), out->storage->version(), true});
    } else {
      node->saved_outputs.push_back({});
    }
    if (static_cast<int>(i) >= visible) continue;
    node->output_metas.push_back(meta_of(out));
    if (!is_floating(out.dtype())) continue;
    AutogradMeta& meta = autograd_meta(out);
    meta.grad_fn = node;
    meta.output_index = static_cast<int>(i);
    out->requires_grad = true;
    out->history_version = out->storage->version();
  }
}

}  // namespace

void dispatch(OpCall& call) {
  RowData& row = row_data(call.op);
  ForwardFn forward = row.override_forward.load(std::memory_order_acquire);
  if (!forward) forward = row.row.forward;
  if (!forward) [[unlikely]] {
    fail(ErrorCode::kUsage, "operator %s has no implementation in this build", op_name(call.op));
  }
  if (fabric::poisoned()) [[unlikely]]
    fabric::check_poison();
  if (row.row.policy == DevicePolicy::kSame) check_same_device(call);

  bool record = false;
  if (grad_enabled()) {
    if (row.row.gradient) {
      for (const Tensor& t : call.tensors) {
        if (t && t.requires_grad()) {
          record = true;
          check_view_history(call, t);
        }
      }
    }
    if (row.writes_first) check_inplace(call, record);
  }

  if (row.writes_first) call.outputs.push_back(call.tensors[0]);
  fabric::set_allocation_tag(static_cast<uint32_t>(call.op) + 1);
  forward(call);
  fabric::set_allocation_tag(0);

  if (row.writes_first) {
    call.tensors[0]->storage->bump_version(static_cast<uint16_t>(call.op));
  } else {
    // An operator with nothing to do returns its argument: give the result an identity of its own.
    for (Tensor& out : call.outputs) {
      for (const Tensor& in : call.tensors) {
        if (in && out.same(in)) {
          out = detach(out);
          break;
        }
      }
    }
  }
  if (record) record_node(call, row);
  if (fabric::event_log::g_mode.load(std::memory_order_relaxed) != 0 && !call.outputs.empty()) {
    const Tensor& out = call.outputs[0];
    Device& device = out.device();
    fabric::event_log::log(fabric::EventKind::kOperator, device.index(),
                           current_stream(device).id(), fabric::kNoDevice,
                           static_cast<uint64_t>(out.numel()) * dtype_bytes(out.dtype()),
                           static_cast<uint64_t>(call.op), static_cast<uint32_t>(call.op));
  }
}

}  // namespace weft
