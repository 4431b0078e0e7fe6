// What is open in the fabric right now: groups with the calls that are not done, graphs, why the
// fabric is poisoned. Snapshots and the flight recorder ask; nothing here waits for a device.
//
// A report is copied out under the short locks that its owners take anyway (group, then slot), one
// owner after the other: two rows may stand a moment apart. Objects that end meanwhile are left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fabric/group.h"

namespace fabric {

enum class CallState : uint8_t { kGathering = 0, kLaunching = 1, kLaunched = 2 };

/// What one rank brought to an open call. Times are of the steady clock, as in EventRecord.
struct CallRank {
  uint64_t arrived_ns = 0;  ///< 0: it has not come; what follows is empty then
  uint64_t count = 0;
  CollectiveKind kind = CollectiveKind::kBarrier;
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kF32;
  int root = 0;
  bool done = false;  ///< its result is there
};

struct OpenCall {
  uint64_t sequence = 0;
  CallState state = CallState::kGathering;
  uint64_t since_ns = 0;     ///< when the first rank came, 0: none has
  uint64_t launched_ns = 0;  ///< 0: not launched
  uint64_t deadline_ns = 0;  ///< of the state it is in
  std::vector<CallRank> ranks;
};

/// Where a rank stands in its group.
struct RankSeat {
  uint16_t device = 0;
  uint64_t calls = 0;    ///< calls that it made, failed ones too
  uint64_t last_ns = 0;  ///< when it made the last one, 0: none
  CollectiveKind last = CollectiveKind::kBarrier;
};

struct GroupReport {
  uint32_t id = 0;
  std::string name;
  std::string aborted;  ///< what abort() was given, "" when not aborted
  GroupStats stats;
  std::vector<RankSeat> ranks;
  std::vector<OpenCall> calls;  ///< oldest first
};

struct GraphReport {
  uint32_t id = 0;
  uint64_t launches = 0;
  std::vector<uint16_t> devices;
};

std::vector<GroupReport> report_groups();
std::vector<GraphReport> report_graphs();
/// Why the fabric is poisoned; "" when it is not.
std::string poison_reason();

}  // namespace fabric
