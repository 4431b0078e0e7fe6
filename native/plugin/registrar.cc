// See registrar.h. Entries and who keeps the library: operator_entry.h.
#include "plugin/registrar.h"

#include <algorithm>
#include <mutex>

#include "fabric/plugin.h"
#include "plugin/operator_call.h"
#include "plugin/operator_entry.h"
#include "plugin/schema.h"

namespace weft::plugin {
namespace {

std::mutex g_mutex;  // guards g_live
std::vector<Entry*>& live() {
  static auto* list = new std::vector<Entry*>;
  return *list;
}

std::shared_ptr<void> hold(Op op) { return Visit(entry_of(op)).library(); }

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
  row.row = {&run_forward, op.gradient == nullptr ? nullptr : &run_gradient, op.keep_inputs,
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
      withdraw(*each);
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
    const size_t at = name.find("::");
    name.erase(at, 1)[at] = '.';
    names.push_back({id, std::move(name)});
  }
  return names;
}

}  // namespace weft::plugin
