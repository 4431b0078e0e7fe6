// One call of a group: where all ranks meet. group.cc creates slots, group/launch.cc launches full
// ones, work.cc waits on them, the watchdog ends those that nobody waits on.
//
// Design. States: gathering -> launching -> launched -> failed, or failed from any of them. One
// mutex a slot guards the state and the parts; lock order is group mutex, then slot mutex, and no
// callback, destructor of a user's object or driver call runs under either.
//  - arrive() is the only way from gathering to launching; it happens in the last rank's thread.
//    Whoever launches then owns `args` alone until it settles the slot, so `args` needs no lock.
//  - Who signals: publish_launched() and fail() set the state and wake all waiters. A waiter's own
//    deadline, the watchdog, abort() and a lost device all end in fail(); the first one wins, later
//    ones do nothing.
//  - Launched: each rank's done event is asked for by one notification of its driver, made when the
//    first callback is there. complete() takes the rank's callbacks and fail() takes all that are
//    left, both under the mutex, so each is called once. Until it is over the slot stays in
//    group/flight_watch.h, which calls end_flight() at the deadline, on abort and on poison.
//  - Order: publish_launched() follows the record of every done event and every on_launched
//    callback; its release store is what a waiter's acquire load pairs with. The events of `parts`
//    are not touched afterwards.
//  - The slot's deadline is the earliest of the ranks present. A rank that lowers it signals
//    nobody: its own wait or the watchdog acts at that time.
//  - What breaks it: a launcher that never returns. Waiters give it kLaunchGrace and then report
//    it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fabric/fabric.h"
#include "fabric/group.h"
#include "fabric/report.h"
#include "group/desync.h"
#include "group/sessions.h"

namespace fabric {

/// What slots need of their group and may outlive it with.
struct GroupState {
  std::vector<Device*> devices;
  std::vector<int> channels;  ///< of each device; those of the group, for its pairs
  uint32_t id = 0;
  int multiprocessors = 0;  ///< see Group::create
  std::string name;
  uint32_t pair_of = 0;         ///< of Group::pair(): the group it is of
  std::vector<int> pair_ranks;  ///< and its ranks there
  bool peers = true;            ///< at creation, every device reached every other
  std::atomic<uint64_t> calls{0}, bytes{0}, desyncs{0}, timeouts{0};

  GroupStats stats() const { return {calls, bytes, desyncs, timeouts, aborts}; }
  Stream& comm(size_t rank) const { return devices[rank]->comm(channels[rank]); }

  /// Where each rank stands, for those who tell about a call: written under the group's mutex.
  struct Seat {
    std::atomic<uint64_t> calls{0}, last_ns{0};
    std::atomic<CollectiveKind> last{CollectiveKind::kBarrier};
  };
  std::unique_ptr<Seat[]> seats;  // by rank
  Sessions sessions;              // algorithms that were opened for the group

  // Under launch_order(): the latest call outside captures. One on other streams waits for it.
  std::vector<std::shared_ptr<Event>> last_done;
  std::vector<Stream*> last_streams;

  /// Calls of abort() so far; a call that was made before the latest one is to fail with it.
  std::atomic<uint64_t> aborts{0};
  std::mutex mutex;              // guards what follows
  std::optional<Error> aborted;  // until reset()
  std::optional<Error> last_abort;
};

/// Adds the calls of a pair to those of its group.
inline void add_calls(GroupStats& all, const GroupStats& pair) {
  all.calls += pair.calls;
  all.bytes += pair.bytes;
  all.desyncs += pair.desyncs;
  all.timeouts += pair.timeouts;
}

/// The FabricPoisonedError that every call gets once a device was lost.
Error poison_error();

class Slot : public std::enable_shared_from_this<Slot> {
 public:
  using Clock = std::chrono::steady_clock;
  using Callback = std::function<void(const Error*)>;
  static constexpr std::chrono::seconds kLaunchGrace{30};
  static constexpr int64_t kLongestMs = int64_t{365} * 24 * 3600 * 1000;  ///< of any limit

  Slot(std::shared_ptr<GroupState> group, uint64_t sequence);

  /// True when this was the last rank: the call is then to be launched and settled. A failed slot
  /// takes the rank's arrival without effect.
  bool arrive(int rank, CollectiveArgs&& args, Event&& producer, Clock::time_point deadline);
  bool gathering() const { return state() == State::kGathering; }
  bool failed() const { return state() == State::kFailed; }
  /// Launched inside a capture: its done events belong to the graph and are never asked.
  bool captured() const { return captured_.load(std::memory_order_relaxed); }
  void set_captured() { captured_.store(true, std::memory_order_relaxed); }
  bool launched() const { return state() == State::kLaunched; }
  Clock::time_point deadline() const;

  // For the launcher, between arrive() == true and settling.
  std::vector<CollectiveArgs>& args() { return args_; }
  /// The calls of a coalesced one, [call][rank]; filled and emptied by the launcher.
  std::vector<std::vector<CollectiveArgs>>& calls() { return calls_; }
  Event& producer(int rank) { return parts_[rank].producer; }
  Event& started_event(int rank) { return parts_[rank].started; }
  std::shared_ptr<Event>& done_event(int rank) { return parts_[rank].done; }
  /// Where the rank's part of the call runs: its comm stream unless it joined the caller's.
  Stream*& stream(int rank) { return parts_[rank].stream; }
  uint64_t first_arrival_ns() const { return first_arrival_ns_; }
  uint64_t aborts_before() const { return aborts_before_; }
  void publish_launched();

  /// Fails the call for all ranks unless it is settled; only the launcher may fail a launching
  /// slot. False when it was settled already.
  bool fail(const Error& error, bool launcher = false);
  /// Fails a gathering slot with CollectiveTimeoutError when `now` is past its deadline.
  void expire(Clock::time_point now);

  // For FlightWatch, once launched.
  Clock::time_point flight_deadline() const { return flight_deadline_; }
  /// Nothing is left to watch: every rank is done, or the call failed.
  bool landed();
  /// Ranks that are done are done, the call fails with `error` for the others.
  void end_flight(const Error& error);
  /// end_flight() with CollectiveTimeoutError, naming the stalled ranks, when `now` is past the
  /// deadline.
  void expire_flight(Clock::time_point now);

  // For Work.
  enum class Wait { kLaunched, kFailed, kTimedOut };
  /// Waits until settled, at most until `limit` (the slot's own deadline always ends it too).
  Wait wait(std::optional<Clock::time_point> limit);
  [[noreturn]] void rethrow() const { throw *error_; }
  const Error* error() const { return failed() ? error_.get() : nullptr; }
  /// The rank's result is there.
  bool done(int rank) const;
  void on_done(int rank, Callback callback);
  uint64_t votes() const { return votes_; }
  uint64_t sequence() const { return sequence_; }
  GroupState& group() const { return *group_; }
  /// The call as it stands; nothing when it is over. Asks the driver what is done.
  std::optional<OpenCall> report() const;
  CallSite site() const {
    const GroupState& group = *group_;
    return {group.pair_ranks.empty() ? group.id : group.pair_of, sequence_, group.pair_ranks};
  }

 private:
  enum class State : uint8_t { kGathering, kLaunching, kLaunched, kFailed };  // as CallState
  struct Part {
    bool arrived = false;
    bool asked = false;  ///< the driver was asked to tell when it is done
    CallRank brought;    ///< what the rank came with; `args_` is the launcher's
    std::atomic<bool> completed{false};
    Event producer;  ///< recorded on the rank's producer stream when it arrived
    Event started;   ///< recorded before the call, when its stream had waited for the producer
    std::shared_ptr<Event> done;  ///< recorded behind the call by the launcher
    Stream* stream = nullptr;     ///< that the call runs on
    std::vector<Callback> callbacks;

    bool is_done() const { return completed || !done || done->query(); }
  };

  State state() const { return state_.load(std::memory_order_acquire); }
  void ask(int rank);
  void complete(int rank);
  bool may_fail(State state, bool launcher, bool flight) const;
  /// `late`: the rank that a timeout names; it is counted and logged before anybody hears of it.
  bool fail_from(bool launcher, bool flight, const Error& error, std::optional<int> late = {});
  struct Overdue {
    int rank;  ///< the first missing or stalled one
    Error error;
  };
  std::optional<Overdue> overdue(Clock::time_point now);
  Overdue stalled(Clock::time_point now) const;
  void count_timeout(int rank);

  const std::shared_ptr<GroupState> group_;
  const uint64_t sequence_;
  const uint64_t aborts_before_;
  mutable std::mutex mutex_;
  std::condition_variable settled_;
  std::atomic<State> state_{State::kGathering};
  std::vector<CollectiveArgs> args_;
  std::vector<std::vector<CollectiveArgs>> calls_;
  std::vector<Part> parts_;
  CollectiveKind kind_ = CollectiveKind::kBarrier;
  int arrived_ = 0;
  int waiters_ = 0;
  uint64_t votes_ = 0;
  int64_t result_ms_ = 0;
  uint64_t first_arrival_ns_ = 0;
  Clock::time_point first_arrival_{};
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point launched_at_{};
  Clock::time_point flight_deadline_ = Clock::time_point::max();
  std::atomic<bool> captured_{false};
  std::unique_ptr<const Error> error_;  // written once, before the state says failed
};

/// The Work handle of one rank of `slot`.
std::shared_ptr<Work> make_work(std::shared_ptr<Slot> slot, int rank);

}  // namespace fabric
