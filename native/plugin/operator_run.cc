// A call of a plugin's operator, and of its gradient: what dispatch() and the backward engine have, as the
// structs of the C interface, and back. The rows that registrar.cc makes name the two functions. Nothing
// here allocates but results, while a call has few tensors.
#include "autograd/node.h"
#include "fabric/plugin.h"
#include "ops/gradient.h"
#include "plugin/operator_call.h"
#include "plugin/operator_entry.h"
#if defined(WEFT_HAVE_CUDA)
#include "cuda/current_device.h"
#endif

namespace weft::plugin {
namespace {

void run(Entry& entry, CallView& view, const char* what,
         WeftStatus (*function)(void*, const WeftOperatorCall*)) {
  if (function == nullptr) {
    fail(ErrorCode::kPlugin, "%s has no kernel for %s", entry.who.c_str(),
         view.device.driver().name());
  }
#if defined(WEFT_HAVE_CUDA)
  if (view.driver == WEFT_DRIVER_CUDA) {
    std::call_once(entry.pinned, [&] { new std::shared_ptr<void>(view.library); });
    cuda::set_current_device(view.ordinal);
  }
#endif
  try {
    fabric::ask_plugin(entry.who, what, [&] { return function(entry.op.ctx, &view); });
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kOutOfMemory) throw;
    fail(ErrorCode::kPlugin, "%s", error.message().c_str());
  }
}

void finish(CallView& view, const RowData& row, const uint16_t* at, const uint16_t* length,
            const double* numbers, size_t count) {
  for (int i = 0; i < row.arguments; ++i) view.arguments_[i] = {at[i], length[i]};
  view.arguments = static_cast<uint32_t>(row.arguments);
  view.argument = view.arguments_;
  view.numbers = static_cast<uint32_t>(count);
  view.number = numbers;
  view.inputs = static_cast<uint32_t>(view.inputs_.size());
  view.input = view.inputs_.data();
}

bool kept(uint32_t mask, size_t i) {
  return mask == WEFT_KEEP_ALL || (i < 32 && (mask >> i & 1) != 0);
}

}  // namespace

void run_forward(OpCall& call) {
  Entry& entry = entry_of(call.op);
  const RowData& row = entry.row;
  const Visit visit(entry);
  const Tensor* first = nullptr;
  for (const Tensor& t : call.tensors) {
    if (!first && t) first = &t;
    if (row.writes_first && row.row.gradient == nullptr && t && t.requires_grad() &&
        grad_enabled()) {
      fail(ErrorCode::kPlugin, "%s writes in place and has no gradient: call it inside noGrad()",
           entry.who.c_str());
    }
  }
  if (first == nullptr) {
    fail(ErrorCode::kUsage, "%s needs at least one tensor: that tells the device", row.schema);
  }
  CallView view(row.name, first->device(), visit.library());
  for (const Tensor& t : call.tensors) view.inputs_.push_back(view.add(t));
  view.made.resize(static_cast<size_t>(row.visible_outputs));
  view.outputs = static_cast<uint32_t>(row.visible_outputs);
  finish(view, row, call.at, call.length, call.words.data(), call.words.size());
  run(entry, view, "run", view.driver == WEFT_DRIVER_CUDA ? entry.op.cuda : entry.op.host);
  for (size_t i = 0; i < view.made.size(); ++i) {
    if (!view.made[i]) {
      fail(ErrorCode::kPlugin, "%s did not make result %zu", entry.who.c_str(), i);
    }
    call.result(std::move(view.made[i]));
  }
}

void run_gradient(GradCall& call) {
  const Node& node = call.node();
  Entry& entry = entry_of(node.op);
  CallView view(entry.row.name, call.grad().device(), node.held);
  const auto inputs = static_cast<size_t>(call.inputs());
  for (size_t i = 0; i < inputs; ++i) {
    const int at = static_cast<int>(i);
    view.needed_.push_back(call.needs(at));
    if (!call.has_input(at)) {
      view.inputs_.push_back(nullptr);
    } else if (kept(entry.op.keep_inputs, i)) {
      view.inputs_.push_back(view.add(call.input(at)));
    } else {
      view.inputs_.push_back(view.add_shape(call.input_shape(at), call.input_dtype(at)));
    }
  }
  for (int i = 0; i < node.outputs; ++i) {
    const bool keep = kept(entry.op.keep_outputs, static_cast<size_t>(i));
    view.kept_.push_back(keep ? view.add(call.output(i)) : nullptr);
    view.arrived_.push_back(view.add(call.grad(i)));
  }
  view.made.resize(inputs);
  view.outputs = static_cast<uint32_t>(node.outputs);
  view.output = view.kept_.data();
  view.arrived = view.arrived_.data();
  view.needed = view.needed_.data();
  finish(view, entry.row, node.at, node.length, node.words.data(), node.words.size());
  run(entry, view, "run its gradient", entry.op.gradient);
  for (size_t i = 0; i < inputs; ++i) {
    const int at = static_cast<int>(i);
    if (!view.made[i] || !call.needs(at)) continue;
    if (!broadcastable_to(call.input_shape(at), view.made[i].shape()) ||
        !is_floating(view.made[i].dtype())) {
      fail(ErrorCode::kPlugin, "%s: the gradient of input %zu is %s %s, the input is %s",
           entry.who.c_str(), i, dtype_name(view.made[i].dtype()),
           to_string(view.made[i].shape()).c_str(), to_string(call.input_shape(at)).c_str());
    }
    ops::give(call, at, view.made[i]);
  }
}

}  // namespace weft::plugin
