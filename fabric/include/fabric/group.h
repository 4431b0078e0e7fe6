// Groups and collectives. A Group is an ordered set of devices; rank r is its r-th device. A call
// may come from one thread for all ranks (submit_all) or from each rank's own thread (submit).
//
// Design. Each rank numbers its calls; call k of every rank meets in slot k under the group's
// mutex. The last rank to arrive checks that kind, op, dtype, count and root agree over all ranks
// and then launches for all of them: on each device the comm stream waits for the event that the
// rank recorded on its producer stream at arrival, runs the algorithm, and records the done event
// of that rank. Because one thread enqueues for everybody, ranks cannot launch in different orders.
//  - Who signals: the last arriver (launched or mismatch), abort(), the deadline, a lost device.
//  - Device order: producer stream -> (event) -> comm stream -> (event) -> whoever calls
//    stream_wait.
//  - All or none: what may fail is prepared before anything is enqueued. If enqueuing breaks all the
//    same, what was enqueued is closed (every comm stream waits for it) and all ranks get the error.
//  - A mismatch is one DesyncError for every rank of the slot. A passed deadline fails the slot
//    with a CollectiveTimeoutError naming the missing ranks; a late rank finds the failed slot and
//    gets the same error, so afterwards all ranks are at the same call number and the group works
//    again. A call for all ranks passes by the failed calls that some of them missed.
//  - A launched call stays watched: its result has a deadline of its own (CollectiveTimeoutError
//    naming the stalled rank), and abort() and a lost device end it for whoever waits. What was
//    enqueued still runs, so its buffers stay protected.
//  - Several groups: each takes a channel of every device (Device::take_channel), so calls of up to
//    Device::kChannels groups over the same devices run beside each other; more groups share one and
//    take turns on it. Algorithms whose kernels wait for each other take turns all the same
//    (runtime/kernel_turns.h).
//  - What breaks it: a rank that skips a call and never comes again; each later call then times
//    out. abort() ends that: it fails every open slot and all calls until reset().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fabric/device.h"
#include "fabric/error.h"

namespace fabric {

class Graph;
struct GroupReport;

enum class CollectiveKind : uint8_t {
  kAllReduce = 0,
  kBroadcast = 1,
  kAllGather = 2,
  kReduceScatter = 3,
  kReduce = 4,
  kBarrier = 5,
  kReplay = 6,  ///< runs a graph over the group's devices
  kGather = 7,
  kScatter = 8,
  kAllToAll = 9,
  kSendReceive = 10,  ///< of two ranks: Group::pair()
  kAllToAllUneven = 11,
  kCoalesced = 12,  ///< several calls as one
};
inline constexpr int kCollectiveKinds = 13;

/// Has a call of this kind buffers?
inline bool carries_data(CollectiveKind kind) {
  return kind != CollectiveKind::kBarrier && kind != CollectiveKind::kReplay;
}
const char* collective_name(CollectiveKind kind);

/// One rank's part of a collective. `count` is in elements:
///  all-reduce, broadcast, reduce: `in` and `out` (count,), in place when equal
///  all-gather: `in` (count,) -> `out` (ranks * count,)    reduce-scatter: `in` (ranks * count,) ->
///  `out` (count,)
///  gather: `in` (count,) -> at the root `out` (ranks * count,); in place: the root's `in` is its
///  block of `out`
///  scatter: at the root `in` (ranks * count,) -> `out` (count,); in place: the root's `out` is its
///  block of `in`
///  all-to-all: `in` (ranks * count,) -> `out` (ranks * count,), block r of `out` is this rank's
///  block of rank r's `in`; in place when equal
///  uneven all-to-all: as all-to-all, but block q of this rank's `in` has send_counts[q] elements and
///  block q of its `out` receive_counts[q], as rank q sends; `count` is the sum of send_counts
///  send-receive: the root's `in` (count,) -> the other rank's `out` (count,); of two ranks
///  coalesced: `calls`, the same at every rank and in one order, with the stream, limits and vote of
///  the whole; no replay, send-receive or coalesced among them. submit() sets `count`: bytes of all
///  barrier: no buffers    replay: `graph`, the same at every rank
struct CollectiveArgs {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kF32;
  uint64_t count = 0;
  int root = 0;
  const void* in = nullptr;
  void* out = nullptr;
  Stream* stream = nullptr;  ///< producer of `in`; the collective starts after its work so far
  /// For submit_all(): `stream` waits for the result before it does anything else, so the call may run
  /// on it. Saves the edges to the comm stream and back where the algorithm can (Algorithm::joins).
  bool joins = false;
  std::shared_ptr<Graph> graph;                       ///< of a replay
  std::vector<uint64_t> send_counts, receive_counts;  ///< by rank, of an uneven all-to-all
  std::vector<CollectiveArgs> calls;                  ///< of a coalesced call
  uint64_t vote = 0;  ///< small word, combined by bitwise or over ranks and given to all
  /// Limit for the result, counted from the launch; the shortest of all ranks counts.
  int64_t result_ms = 600'000;
  std::shared_ptr<void> keep_alive;  ///< held until launched
  /// Called by the launching thread once work is on `comm` (also when the launch then broke), to
  /// record_use the buffers there. Must not call the group.
  std::function<void(Stream& comm)> on_launched;
};

/// What a submitted call becomes. Thread safe. Errors of the call are thrown by wait_launched().
class Work {
 public:
  virtual ~Work() = default;
  /// Blocks the caller until all ranks arrived and the work is enqueued, or the deadline passes.
  /// Throws DesyncError, CollectiveTimeoutError, FabricPoisonedError, or the error given to abort().
  virtual void wait_launched() = 0;
  virtual bool launched() const = 0;
  /// `stream` waits (on the device) for this rank's result. Needs launched().
  virtual void stream_wait(Stream& stream) = 0;
  virtual bool done() const = 0;  ///< result is in `out`
  /// Blocks until done; false: the limit passed. Throws what on_done() would tell.
  virtual bool synchronize(int64_t timeout_ms) = 0;
  virtual uint64_t votes() const = 0;  ///< or of all ranks' votes, once launched
  virtual uint64_t sequence() const = 0;
  /// Calls `fn(error or nullptr)` once, on any thread, when the result is there or the call failed.
  virtual void on_done(std::function<void(const Error*)> fn) = 0;
};

struct GroupStats {
  uint64_t calls = 0;
  uint64_t bytes = 0;
  uint64_t desyncs = 0;
  uint64_t timeouts = 0;
  uint64_t aborts = 0;  ///< calls of abort(), also those after the first
};

class Group {
 public:
  /// Devices must be distinct and of one driver (DeviceError). Enables peer access between them
  /// where possible. `multiprocessors`: algorithms that run in kernels fill at most so many on each
  /// device, and leave the others to what runs beside them; 0: as many as there are.
  static std::shared_ptr<Group> create(std::vector<Device*> devices, std::string name = "",
                                       int multiprocessors = 0);
  virtual ~Group() = default;

  virtual int size() const = 0;
  virtual Device& device(int rank) const = 0;
  virtual uint32_t id() const = 0;
  /// What create() was given.
  virtual int multiprocessors() const = 0;
  /// The comm stream on which the rank's calls run; send and receive of its pairs too.
  virtual Stream& stream(int rank) const = 0;
  /// Arrives for `rank`. Never blocks, but for the mutex. The last arriver launches for all.
  virtual std::shared_ptr<Work> submit(int rank, CollectiveArgs args,
                                       int64_t timeout_ms = 30'000) = 0;
  /// Arrives for all ranks at once; args[r] is rank r's part. Ranks that missed failed calls pass
  /// them by; a call that some ranks made and others did not, and that is still open, is a
  /// UsageError.
  virtual std::vector<std::shared_ptr<Work>> submit_all(std::span<CollectiveArgs> args,
                                                        int64_t timeout_ms = 30'000) = 0;
  /// Fails every open or launched call and all later ones with `error`, until reset(). Wakes every
  /// waiter.
  virtual void abort(const Error& error) = 0;
  /// What abort() was given, until reset().
  virtual std::optional<Error> aborted() const = 0;
  /// Forgets an abort and starts all ranks at the same call number. No rank may be inside a call.
  virtual void reset() = 0;
  virtual GroupStats stats() const = 0;
  /// Two of its ranks alone, for send-receive: rank `from` is the pair's rank 0 and `to` its rank 1.
  /// One a direction, made at the first call, with call numbers and an order of its own. Its errors
  /// name the ranks of this group, whose abort() and reset() reach it. `from` and `to` must differ
  /// (UsageError).
  virtual std::shared_ptr<Group> pair(int from, int to) = 0;
  /// Where its ranks stand and which calls are open (fabric/report.h).
  virtual GroupReport report() const = 0;
};

}  // namespace fabric
