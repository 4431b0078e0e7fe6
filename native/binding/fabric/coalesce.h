// The coalesce() block that is open on a thread, one an environment: group.cc adds its calls to it
// instead of making them, coalesce.cc makes them as one when it ends.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "binding/entry.h"
#include "fabric/group.h"

namespace weft::binding {

struct CoalesceBlock {
  static constexpr int kAllRanks = -1;
  std::shared_ptr<fabric::Group> group;
  int rank = kAllRanks;
  uint32_t work = 0;                                       ///< what all its calls become
  int64_t timeout_ms, result_ms;                           ///< the shortest of its calls
  uint64_t vote = 0;                                       ///< or of its calls
  std::vector<std::vector<fabric::CollectiveArgs>> calls;  ///< by rank; one list of a rank's block
};

/// The open block that a call of `group` for `rank` belongs to; nullptr when there is none. Throws
/// UsageError where the block is for all ranks and the call for one, or the other way round.
CoalesceBlock* block_for(Frame& f, const fabric::Group& group, int rank);
/// Throws UsageError inside a block of `group`, whose calls cannot be `what`.
void refuse_in_block(Frame& f, const fabric::Group& group, const char* what);

}  // namespace weft::binding
