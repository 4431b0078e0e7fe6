// See registrar.h.
//
// Design. An Entry is a row of the operator table with the plugin's functions; it stays for ever (see
// op_rows.h), its hold on the library does not. `users` counts the table itself and each call that is
// inside; hold() takes a share of the library from a count above zero. withdraw() gives the table's
// count back; whoever brings it to zero lets the library go. Gradient nodes and functions on host
// streams hold shares of their own. Kernels on a GPU cannot tell when they end: the first call there
// keeps the library for the life of the process.
#include "plugin/registrar.h"

#include <algorithm>
#include <mutex>

#include "autograd/node.h"
#include "dispatch/op_rows.h"
#include "fabric/plugin.h"
#include "ops/gradient.h"
#include "plugin/operator_call.h"
#include "plugin/schema.h"
#if defined(WEFT_HAVE_CUDA)
#include "cuda/current_device.h"
#endif

namespace weft::plugin {
namespace {

struct Entry {
  RowData row;
  int id = -1;
  std::string name, schema, who;
  WeftOperator op = {};
  std::shared_ptr<void> library;
  std::atomic<uint32_t> users{1};
  std::once_flag pinned;
};

std::mutex g_mutex;  // guards g_live
std::vector<Entry*>& live() {
  static auto* list = new std::vector<Entry*>;
  return *list;
}

Entry& entry_of(Op op) { return *reinterpret_cast<Entry*>(&row_data(op)); }
static_assert(offsetof(Entry, row) == 0);

void leave(Entry& entry) {
  if (entry.users.fetch_sub(1, std::memory_order_acq_rel) == 1) entry.library.reset();
}

std::shared_ptr<void> hold(Op op) {
  Entry& entry = entry_of(op);
  uint32_t users = entry.users.load(std::memory_order_relaxed);
  do {
    if (users == 0) fail(ErrorCode::kPlugin, "%s was unloaded", entry.who.c_str());
  } while (!entry.users.compare_exchange_weak(users, users + 1, std::memory_order_acquire));
  std::shared_ptr<void> library = entry.library;
  leave(entry);
  return library;
}

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

void finish(CallView& view) {
  view.inputs = static_cast<uint32_t>(view.inputs_.size());
  view.input = view.inputs_.data();
  view.numbers = static_cast<uint32_t>(view.numbers_.size());
  view.number = view.numbers_.data();
  view.arguments = static_cast<uint32_t>(view.arguments_.size());
  view.argument = view.arguments_.data();
}

void add_arguments(CallView& view, const RowData& row, const uint16_t* at, const uint16_t* length) {
  for (int i = 0; i < row.arguments; ++i) view.arguments_.push_back({at[i], length[i]});
}

void forward(OpCall& call) {
  Entry& entry = entry_of(call.op);
  const RowData& row = entry.row;
  auto library = hold(call.op);
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
  CallView view(row.name, first->device(), std::move(library));
  for (const Tensor& t : call.tensors) view.inputs_.push_back(view.add(t));
  for (double word : call.words) view.numbers_.push_back(word);
  add_arguments(view, row, call.at, call.length);
  view.made.resize(static_cast<size_t>(row.visible_outputs));
  view.outputs = static_cast<uint32_t>(row.visible_outputs);
  finish(view);
  run(entry, view, "run", view.driver == WEFT_DRIVER_CUDA ? entry.op.cuda : entry.op.host);
  for (size_t i = 0; i < view.made.size(); ++i) {
    if (!view.made[i]) {
      fail(ErrorCode::kPlugin, "%s did not make result %zu", entry.who.c_str(), i);
    }
    call.result(view.made[i]);
  }
}

void gradient(GradCall& call) {
  const Node& node = call.node();
  Entry& entry = entry_of(node.op);
  CallView view(entry.row.name, call.grad().device(), node.held);
  const auto inputs = static_cast<size_t>(call.inputs());
  auto kept = [](uint32_t mask, size_t i) {
    return mask == WEFT_KEEP_ALL || (i < 32 && (mask >> i & 1) != 0);
  };
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
  for (double word : node.words) view.numbers_.push_back(word);
  add_arguments(view, entry.row, node.at, node.length);
  view.made.resize(inputs);
  view.outputs = static_cast<uint32_t>(node.outputs);
  view.output = view.kept_.data();
  view.arrived = view.arrived_.data();
  view.needed = view.needed_.data();
  finish(view);
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

std::unique_ptr<Entry> make(const std::string& plugin, const WeftOperator& op,
                            const std::shared_ptr<void>& library) {
  auto entry = std::make_unique<Entry>();
  entry->schema = op.schema;
  entry->name = check_schema(entry->schema);
  entry->who = "plugin " + plugin + ": operator " + entry->name;
  if (op.host == nullptr && op.cuda == nullptr) {
    fail(ErrorCode::kPlugin, "operator %s has no kernel for any driver", entry->name.c_str());
  }
  RowData& row = entry->row;
  row.name = entry->name.c_str();
  row.schema = entry->schema.c_str();
  parse_schema(row.schema, row);
  const bool list =
      std::ranges::any_of(row.kinds, [](ArgKind kind) { return kind == ArgKind::kTensorList; });
  if (list && op.keep_inputs != 0 && op.keep_inputs != WEFT_KEEP_ALL) {
    fail(ErrorCode::kPlugin,
         "operator %s has a Tensor[], so its inputs have no fixed places: keep_inputs is "
         "WEFT_KEEP_ALL or 0",
         entry->name.c_str());
  }
  row.row = {&forward, op.gradient == nullptr ? nullptr : &gradient, op.keep_inputs,
             op.keep_outputs, DevicePolicy::kSame};
  row.hold = &hold;
  entry->op = op;
  entry->library = library;
  return entry;
}

std::vector<std::string> publish(const std::string& plugin, std::span<const WeftOperator> operators,
                                 const std::shared_ptr<void>& library) {
  std::lock_guard lock(g_mutex);
  std::vector<std::unique_ptr<Entry>> made;
  std::vector<std::string> names;
  auto taken = [&](const std::string& name) {
    for (const Entry* each : live()) {
      if (each->name == name) return true;
    }
    for (const std::string& each : names) {
      if (each == name) return true;
    }
    return false;
  };
  for (const WeftOperator& op : operators) {
    made.push_back(make(plugin, op, library));
    if (taken(made.back()->name)) {
      fail(ErrorCode::kPlugin, "an operator called %s exists already", made.back()->name.c_str());
    }
    names.push_back(made.back()->name);
  }
  if (op_count() + static_cast<int>(made.size()) > kFirstAddedOp + kMaxAddedOps) {
    fail(ErrorCode::kPlugin,
         "a process takes %d operators of plugins, those of unloaded ones included", kMaxAddedOps);
  }
  for (auto& each : made) {
    each->id = static_cast<int>(add_row(each->row));
    live().push_back(each.release());
  }
  return names;
}

void withdraw(std::span<const std::string> names) {
  std::lock_guard lock(g_mutex);
  for (const std::string& name : names) {
    std::erase_if(live(), [&](Entry* each) {
      if (each->name != name) return false;
      leave(*each);
      return true;
    });
  }
}

}  // namespace

void install() {
  static const fabric::OperatorRegistrar registrar{&operator_host(), &publish, &withdraw};
  fabric::install_operators(registrar);
}

std::vector<LiveOperator> live_operators() {
  std::lock_guard lock(g_mutex);
  std::vector<LiveOperator> list;
  for (const Entry* each : live()) list.push_back({each->id, each->name, each->schema});
  return list;
}

std::vector<LoggedName> logged_names() {
  std::vector<LoggedName> names;
  for (int id = kFirstAddedOp, end = op_count(); id < end; ++id) {
    std::string name = op_name(static_cast<Op>(id));
    names.push_back({id, name.replace(name.find("::"), 2, ".")});
  }
  return names;
}

}  // namespace weft::plugin
