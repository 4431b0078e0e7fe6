// A row of the operator table as dispatch() reads it, and how rows are added while others call.
// Internal to native/dispatch and native/plugin.
//
// Design. Built-in rows are an array. Rows of plugins come behind them, in places of fixed number
// that are taken once in a process: add_row() fills a row, then stores its pointer (release), and
// row_data() loads it (acquire). A row is never changed nor freed, so names of operators that are
// gone stay readable; what ends is what its functions call, which native/plugin guards.
#pragma once

#include <atomic>
#include <memory>

#include "dispatch/op_table.h"

namespace weft {

struct RowData {
  OpRow row;
  std::atomic<ForwardFn> override_forward{nullptr};
  ArgKind kinds[kMaxArgs] = {};
  int arguments = 0;
  int visible_outputs = 1;
  bool writes_first = false;
  AutocastClass autocast = AutocastClass::keep;
  const char* name = "";
  const char* schema = "";
  /// Of a plugin's operator: what a node that calls its gradient later must hold.
  std::shared_ptr<void> (*hold)(Op op) = nullptr;
};

inline constexpr int kMaxAddedOps = 1024;
/// Op::kCount itself stands for work that no operator made, so it is no plugin's either.
inline constexpr int kFirstAddedOp = kOpCount + 1;

RowData& row_data(Op op);
/// Reads argument kinds and results of a well-formed schema into `row`.
void parse_schema(const char* schema, RowData& row);
/// Gives `row`, which stays for ever, the next id; PluginError when all places are taken.
Op add_row(RowData& row);

}  // namespace weft
