// Recording one operator call into the graph. dispatch() asks for it around the operator's forward
// while gradients are on.
//
// Design. begin() runs before the forward and takes everything that the forward may change: the
// edges of the inputs, the versions of their memory, and what the formula needs kept. An operand of
// an in-place operator that shares memory with the written tensor is kept as a copy, so that the
// formula sees the value from before. end() runs after it and gives the results their history.
//  - What cannot be recorded is a UsageError before anything ran: a leaf or a view written in place,
//    a view whose history does not hold any more, or which was made before its base had one.
//  - Saved tensors are aliases without history: a node keeps other nodes alive by its edges only.
#pragma once

#include "autograd/node.h"
#include "dispatch/op_rows.h"

namespace weft {

/// The number of a new node: grows with each.
uint64_t next_sequence();
/// A view's history must still be that of its memory; throws UsageError naming the call `name`.
void check_history(const char* name, const Tensor& t);
InputMeta meta_of(const Tensor& t);
/// Makes `node` the history of `out`, its slot `index`.
void set_history(const Tensor& out, const Ref<Node>& node, int index);

class Recording {
 public:
  /// Checks the call; when one of its inputs asks for gradients, begins the node.
  void begin(const OpCall& call, const RowData& row);
  /// True when end() is due.
  explicit operator bool() const { return static_cast<bool>(node_); }
  void end(OpCall& call, const RowData& row);

 private:
  Ref<Node> node_;
};

}  // namespace weft
