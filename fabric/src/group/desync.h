// The words of collective failures: agreement check over ranks, timeouts, bad arguments. Pure
// functions; group.cc and group/slot.cc call them and throw or store what they return.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fabric/group.h"

namespace fabric {

/// Where a call stands: which group, which call of it.
struct CallSite {
  uint32_t group = 0;
  uint64_t sequence = 0;
};

struct Disagreement {
  int rank = 0;  ///< the rank that differs from most
  Error error;
};

/// Compares kind, count, dtype, op and root over all ranks. The odd rank out is the one named.
std::optional<Disagreement> find_disagreement(std::span<const CollectiveArgs> args, CallSite site);

/// An argument that is wrong at a rank although all agree: root out of range, missing buffer.
std::optional<Error> find_bad_argument(std::span<const CollectiveArgs> args);

/// CollectiveTimeoutError naming the missing ranks, with the last events of the log attached.
Error timeout_error(const CollectiveArgs& sample, CallSite site, const std::vector<int>& missing,
                    const std::vector<int>& arrived, int64_t waited_ms);

const char* reduce_op_name(ReduceOp op);

}  // namespace fabric
