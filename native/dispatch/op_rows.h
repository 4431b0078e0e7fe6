// A row of the operator table as dispatch() reads it. Internal to native/dispatch.
#pragma once

#include <atomic>

#include "dispatch/op_table.h"

namespace weft {

struct RowData {
  OpRow row;
  std::atomic<ForwardFn> override_forward{nullptr};
  ArgKind kinds[kMaxArgs] = {};
  int arguments = 0;
  int visible_outputs = 1;
  bool writes_first = false;
};

RowData& row_data(Op op);

}  // namespace weft
