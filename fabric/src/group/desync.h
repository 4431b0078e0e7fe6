// The words of collective failures: agreement check over ranks, timeouts, bad arguments. Pure
// functions; group.cc and group/slot.cc call them and throw or store what they return.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fabric/group.h"

namespace fabric {

/// Where a call stands: which group, which call of it. `ranks` is empty but for Group::pair(): what
/// the group that the pair is of calls its two ranks.
struct CallSite {
  uint32_t group = 0;
  uint64_t sequence = 0;
  std::span<const int> ranks{};
  int part = 0, parts = 0;  ///< of a coalesced call: which one this is, from 1
  int name_of(int rank) const { return ranks.empty() ? rank : ranks[static_cast<size_t>(rank)]; }
};

struct Disagreement {
  int rank = 0;  ///< the rank that differs from most
  Error error;
};

/// " as coalesced call 2 of 3"; empty for a call of its own.
std::string part_text(CallSite site);

/// Compares kind, count, dtype, op and root over all ranks. The odd rank out is the one named.
std::optional<Disagreement> find_disagreement(std::span<const CollectiveArgs> args, CallSite site);

/// An argument that is wrong at a rank although all agree: root out of range, missing buffer.
std::optional<Error> find_bad_argument(std::span<const CollectiveArgs> args, CallSite site);

/// CollectiveTimeoutError naming the missing ranks, with the last events of the log attached. `more`
/// ends the sentence (group/waiting_text.h).
Error timeout_error(CollectiveKind kind, CallSite site, const std::vector<int>& missing,
                    const std::vector<int>& arrived, int64_t waited_ms, const std::string& more);

/// Where a launched call stands still.
enum class Stall : uint8_t {
  kProducer,  ///< the work before the call, on the rank's own stream
  kBefore,    ///< the communication stream has not come to the call
  kWithin,    ///< the call's own copies and sums
};
/// CollectiveTimeoutError of a launched call, naming the ranks that are stalled, events attached.
Error stall_error(CollectiveKind kind, CallSite site, Stall where, const std::vector<int>& ranks,
                  const std::vector<Device*>& devices, int64_t waited_ms, const std::string& since);

const char* reduce_op_name(ReduceOp op);
bool has_root(CollectiveKind kind);
/// "<count> x <dtype>"
std::string shape_of(const CollectiveArgs& args);

}  // namespace fabric
