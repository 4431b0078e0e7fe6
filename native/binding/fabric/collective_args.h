// From tensors to one rank's part of a collective call, with the checks that need no other rank:
// which tensors the rank must give, their device, layout, dtype and sizes. group.cc (calls of a
// group) and pair.cc (send and receive) use it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "binding/entry.h"
#include "fabric/group.h"

namespace weft::binding {

/// One rank's part. `out` undefined: in place; of gather and scatter only the root has both.
fabric::CollectiveArgs make_args(fabric::CollectiveKind kind, fabric::ReduceOp op, int root,
                                 int ranks, int rank, Device& device, Tensor in, Tensor out,
                                 int64_t result_ms);

/// One end of a send-receive; errors call the rank `shown`.
fabric::CollectiveArgs make_end(bool sends, int shown, Device& device, Tensor tensor,
                                int64_t result_ms);

/// One rank's part of an uneven all-to-all; `counts` has how much it sends each rank, then how much it
/// receives from each.
fabric::CollectiveArgs make_uneven(int ranks, int rank, Device& device, Tensor in, Tensor out,
                                   const std::vector<uint64_t>& counts, int64_t result_ms);

/// A collective is a write: gradient formulas that kept the tensor must notice. `held` is
/// CollectiveArgs::keep_alive.
void note_write(const std::shared_ptr<void>& held);

Tensor tensor_or_none(double handle);

}  // namespace weft::binding
