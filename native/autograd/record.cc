// See record.h.
#include "autograd/record.h"

#include "autograd/checkpoint.h"
#include "ops/ops.h"

namespace weft {
namespace {

std::atomic<uint64_t> g_sequence{1};

const char* last_writer(const Tensor& t) {
  return op_name(static_cast<Op>(t->storage->last_writer()));
}

}  // namespace

uint64_t next_sequence() { return g_sequence.fetch_add(1, std::memory_order_relaxed); }

void check_history(const char* name, const Tensor& t) {
  if (!t->is_view) return;
  if (t->autograd && t->autograd->grad_fn) {
    if (t->history_version == t->storage->version()) return;
    fail(ErrorCode::kUsage,
         "%s: the memory of this view was changed in place (by %s) after the view was made, so its "
         "gradient history no longer holds; make the view again",
         name, last_writer(t));
  }
  if (t->history_version >= t->storage->recorded_write()) return;
  fail(ErrorCode::kUsage,
       "%s: this view was made before an operator with gradients (%s, or one before it) wrote its "
       "memory in place, so it lacks that history; make the view again, or detach() it",
       name, last_writer(t));
}

InputMeta meta_of(const Tensor& t) {
  if (!t) return {};
  return {t.shape(), t.dtype(), t.device().index(), true};
}

void set_history(const Tensor& out, const Ref<Node>& node, int index) {
  AutogradMeta& meta = autograd_meta(out);
  meta.grad_fn = node;
  meta.output_index = index;
  out->history_version = out->storage->version();
  out->requires_grad.store(true, std::memory_order_release);
}

namespace {

void check_inplace(const OpCall& call, bool record) {
  const Tensor& a = call.tensors[0];
  if (a.requires_grad() && is_leaf(a)) {
    fail(ErrorCode::kUsage,
         "%s: a leaf that requires gradients cannot be changed in place while gradients are "
         "recorded; do it inside noGrad()",
         op_name(call.op));
  }
  if (record && a->is_view) {
    fail(ErrorCode::kUsage,
         "%s: a view cannot be changed in place while gradients are recorded; use the operator "
         "that returns a new tensor",
         op_name(call.op));
  }
}

SavedTensor saved(const Tensor& t) { return {detach(t), t->storage->version()}; }

/// An input as the formula will see it: `written` shares its memory with what is about to change.
SavedTensor saved_input(const Tensor& t, bool written) {
  return written ? SavedTensor{ops::clone(t), 0} : saved(t);
}

/// `saved` as the node keeps it: inside a checkpoint perhaps not at all.
SavedTensor as_kept(Node& node, SavedTensor saved) {
  Checkpoint* checkpoint = checkpoints::open();
  return checkpoint == nullptr ? saved : checkpoint->take(node, std::move(saved));
}

bool kept(uint32_t mask, size_t i) { return mask == kKeepAll || (i < 32 && (mask >> i & 1) != 0); }

}  // namespace

void Recording::begin(const OpCall& call, const RowData& row) {
  bool record = false;
  if (row.row.gradient != nullptr) {
    for (const Tensor& t : call.tensors) {
      if (!t) continue;
      record = record || t.requires_grad();
      check_history(op_name(call.op), t);
    }
  }
  if (row.writes_first) check_inplace(call, record);
  if (!record) return;

  auto node = make_ref<Node>();
  node->op = call.op;
  node->formula = row.row.gradient;
  if (row.hold != nullptr) [[unlikely]]
    node->held = row.hold(call.op);
  node->name = op_name(call.op);
  node->sequence = next_sequence();
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const Tensor& t = call.tensors[i];
    node->inputs.push_back(meta_of(t));
    node->edges.push_back(t && t.requires_grad() ? gradient_edge(t) : Edge{});
    const bool keep = t && kept(row.row.keep_inputs, i);
    const bool written = keep && row.writes_first && t->storage == call.tensors[0]->storage;
    node->saved_inputs.push_back(keep ? as_kept(*node, saved_input(t, written)) : SavedTensor{});
  }
  for (double w : call.words) node->words.push_back(w);
  for (int i = 0; i < kMaxArgs; ++i) {
    node->at[i] = call.at[i];
    node->length[i] = call.length[i];
  }
  node_ = std::move(node);
}

void Recording::end(OpCall& call, const RowData& row) {
  Node& node = *node_;
  const int visible = row.writes_first                     ? 1
                      : row.visible_outputs == kAnyOutputs ? static_cast<int>(call.outputs.size())
                                                           : row.visible_outputs;
  node.outputs = visible;
  node.device = call.outputs[0].device().index();
  node.stream = &current_stream(call.outputs[0].device());
  if (row.writes_first) call.outputs[0]->storage->note_recorded_write();
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    Tensor& out = call.outputs[i];
    const bool keep = out && kept(row.row.keep_outputs, i);
    node.saved_outputs.push_back(keep ? as_kept(node, saved(out)) : SavedTensor{});
    if (static_cast<int>(i) >= visible) continue;
    node.output_metas.push_back(meta_of(out));
    if (!is_floating(out.dtype())) continue;
    set_history(out, node_, static_cast<int>(i));
  }
}

}  // namespace weft
