// Collective algorithms: what one brings, the table of all that are registered, and the choice among
// them. Built-in ones register at start, plugins through fabric/plugin_abi.h, tests directly;
// group/launch.cc chooses on every launch.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fabric/group.h"

namespace fabric {

/// A call as the choice sees it: no pointers, the same for all ranks.
struct CallShape {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kF32;
  int ranks = 1;
  uint64_t count = 0;        ///< elements, as CollectiveArgs::count
  uint64_t bytes = 0;        ///< count * element
  uint32_t alignment = 256;  ///< that all buffers have, in bytes: a power of two up to 256
  bool in_place = false;     ///< at one rank or more
  bool captured = false;     ///< becomes part of a graph
  DriverKind driver = DriverKind::kHost;
  bool peers = true;   ///< every device reaches the memory of every other
  uint32_t group = 0;  ///< its id; 0: any
};

/// One call as an algorithm sees it: args[r] and devices[r] in rank order. Good until the
/// PreparedCall is gone.
struct CollectiveCall {
  std::span<CollectiveArgs> args;
  std::span<Device* const> devices;
  std::span<const int> channels;  ///< Device::comm(channel), by rank
  uint64_t sequence = 0;  ///< EventRecord::id of what it logs: the call's number in its group
  uint32_t detail = 0;    ///< EventRecord::detail: the kind in the low 8 bits, the group's id above
  CallShape shape{};
  std::span<Stream* const>
      joined{};  ///< streams of the callers that it runs on, by rank; empty: comm

  Stream& comm(size_t rank) const {
    return joined.empty() ? devices[rank]->comm(channels[rank]) : *joined[rank];
  }
  Stream& push(size_t rank) const { return devices[rank]->push(channels[rank]); }
};

/// A call that has all it needs: scratch, staging memory, events. Destroyed once enqueued; what it
/// holds is then free in the order of the comm streams.
class PreparedCall {
 public:
  virtual ~PreparedCall() = default;
  /// Enqueues on the ranks' comm and push streams; at its end each comm stream has waited for all that touches its rank's memory. If it throws, the caller closes what
  /// was enqueued: every comm stream waits for all of these streams.
  virtual void enqueue() = 0;
};

/// The devices of a group, in rank order.
struct GroupMembers {
  uint32_t id = 0;
  std::vector<Device*> devices;
  std::vector<int> channels;
  int multiprocessors = 0;  ///< that its kernels may fill on each device; 0: as many as there are

  Stream& comm(size_t rank) const { return devices[rank]->comm(channels[rank]); }
};

/// An algorithm that was opened for a group and keeps state for it. Calls of one group come one
/// after the other; abort() and fault() come from any thread. Destroying it closes it: work that
/// uses its memory may still run then.
class AlgorithmSession {
 public:
  virtual ~AlgorithmSession() = default;
  /// As Algorithm::prepare.
  virtual std::unique_ptr<PreparedCall> prepare(const CollectiveCall& call) = 0;
  /// Tells what runs to leave. Enqueued calls end early, with results that nobody may use, until
  /// recover().
  virtual void abort() {}
  /// A call was enqueued on the callers' streams; its events by rank. Its work counts as running until
  /// they have passed.
  virtual void joined(std::vector<std::shared_ptr<Event>> done) {}
  /// What work that left early has reported since the last recover().
  virtual std::optional<Error> fault() { return std::nullopt; }
  /// After abort() or a fault: waits, at most `timeout_ms`, until nothing of it runs, and makes it
  /// usable again. Throws CollectiveTimeoutError when work does not end.
  virtual void recover(int64_t timeout_ms) {}
};

/// A collective algorithm. Give `prepare`, or `open` when it keeps state for a group.
struct Algorithm {
  std::string name;         ///< "copy-ring", "copy-oneshot", "oneshot"
  bool rank_order = false;  ///< same bits for every size, chunking and placement
  std::function<bool(const CallShape&)> supports{};
  /// Does all that may fail and enqueues nothing; scratch comes from each device's allocator. May
  /// wait for memory.
  std::function<std::unique_ptr<PreparedCall>(const CollectiveCall&)> prepare{};
  /// On the first call of a group that chooses it. May wait for memory.
  std::function<std::unique_ptr<AlgorithmSession>(const GroupMembers&)> open{};
  bool joins =
      false;  ///< has `open`, and runs on CollectiveCall::joined too: CollectiveArgs::joins
};
using AlgorithmPtr = std::shared_ptr<const Algorithm>;

/// Adds `algorithm`. Throws UsageError when the name is taken or a part is missing.
void register_algorithm(const Algorithm& algorithm);
/// Takes it away: groups stop to choose it, calls under way end with it. Its place stays, without
/// its parts. False when no such algorithm is registered.
bool unregister_algorithm(const std::string& name);
/// By place. Those that were unregistered have no `supports`.
std::vector<AlgorithmPtr> algorithms();
/// Forces one algorithm by name for the calls it supports ("" gives the choice back to the table);
/// of one group when `group` is its id.
void force_algorithm(const std::string& name, uint32_t group = 0);

/// A line of the table: calls like this go to `name`, when it is registered and supports them. The
/// first line that fits decides.
struct Choice {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  std::string name;
  uint64_t max_bytes = ~uint64_t{0};
  int min_ranks = 1;
  int max_ranks = 1 << 16;
  std::optional<DType> dtype{};        ///< any
  std::optional<DriverKind> driver{};  ///< any
  uint32_t group = 0;                  ///< any
  std::optional<bool> in_place{};      ///< any
  bool all_blocks = false;             ///< max_bytes is of all ranks' blocks, not of one
};
/// Name of the algorithm that a call of this shape would get now. Throws UsageError when none can.
std::string chosen_algorithm(const CallShape& shape);
/// Measured lines, looked at before all others; replaces those of the last call.
void set_choices(std::vector<Choice> measured);
/// Lines of an algorithm, looked at after measured ones and before built-in ones, the latest first;
/// they go when the algorithm that they name is unregistered.
void add_choices(std::vector<Choice> lines);

}  // namespace fabric
