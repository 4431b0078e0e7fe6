// One call of a group: where all ranks meet. group.cc creates slots and launches full ones, work.cc
// waits on them, runtime/watchdog.cc ends those that nobody waits on.
//
// Design. States: gathering -> launching -> launched, or gathering/launching -> failed. One mutex a
// slot guards the state and the parts; lock order is group mutex, then slot mutex, and no callback,
// destructor of a user's object or driver call runs under either.
//  - arrive() is the only way from gathering to launching; it happens in the last rank's thread,
//    which then owns `args` alone until it publishes. So `args` needs no lock while launching.
//  - Who signals: publish_launched() and fail() set the state and wake all waiters once. A waiter's
//    own deadline, the watchdog and abort() all end in fail(); the first one wins, later ones do
//    nothing.
//  - Order: publish_launched() follows the record of every done event and every on_launched
//    callback; its release store is what a waiter's acquire load pairs with.
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
#include "group/desync.h"

namespace fabric {

/// What slots need of their group and may outlive it with.
struct GroupState {
  std::vector<Device*> devices;
  uint32_t id = 0;
  std::string name;
  std::atomic<uint64_t> calls{0}, bytes{0}, desyncs{0}, timeouts{0};
};

class Slot {
 public:
  using Clock = std::chrono::steady_clock;
  using Callback = std::function<void(const Error*)>;
  static constexpr std::chrono::seconds kLaunchGrace{30};

  Slot(std::shared_ptr<GroupState> group, uint64_t sequence);

  /// True when this was the last rank: the caller then launches and publishes. A failed slot takes
  /// the rank's arrival without effect.
  bool arrive(int rank, CollectiveArgs&& args, Event&& producer, Clock::time_point deadline);
  bool gathering() const { return state() == State::kGathering; }
  /// Launched inside a capture: its done events belong to the graph and are never asked.
  bool captured() const { return captured_.load(std::memory_order_relaxed); }
  void set_captured() { captured_.store(true, std::memory_order_relaxed); }
  bool launched() const { return state() == State::kLaunched; }
  Clock::time_point deadline() const;

  // For the launcher, between arrive() == true and publishing.
  std::vector<CollectiveArgs>& args() { return args_; }
  const Event& producer(int rank) const { return parts_[rank].producer; }
  Event& done_event(int rank) { return parts_[rank].done; }
  uint64_t first_arrival_ns() const { return first_arrival_ns_; }
  void publish_launched();

  /// Fails the call for all ranks unless it is settled; only the launcher may fail a launching
  /// slot. False when it was settled already.
  bool fail(const Error& error, bool launcher = false);
  /// Fails a gathering slot with CollectiveTimeoutError when `now` is past its deadline.
  void expire(Clock::time_point now);

  // For Work.
  enum class Wait { kLaunched, kFailed, kTimedOut };
  /// Waits until settled, at most until `limit` (the slot's own deadline always ends it too).
  Wait wait(std::optional<Clock::time_point> limit);
  [[noreturn]] void rethrow() const { throw *error_; }
  const Error* error() const { return state() == State::kFailed ? error_.get() : nullptr; }
  void on_done(int rank, Callback callback);
  uint64_t votes() const { return votes_; }
  uint64_t sequence() const { return sequence_; }
  GroupState& group() const { return *group_; }
  CallSite site() const { return {group_->id, sequence_}; }

 private:
  enum class State : uint8_t { kGathering, kLaunching, kLaunched, kFailed };
  struct Part {
    bool arrived = false;
    Event producer;  ///< recorded on the rank's producer stream when it arrived
    Event done;      ///< recorded on the rank's comm stream by the launcher
    std::vector<Callback> callbacks;
  };

  State state() const { return state_.load(std::memory_order_acquire); }
  void notify_done(int rank, Callback callback);
  struct Overdue {
    int rank;  ///< the first missing one
    Error error;
  };
  std::optional<Overdue> overdue(Clock::time_point now);

  const std::shared_ptr<GroupState> group_;
  const uint64_t sequence_;
  mutable std::mutex mutex_;
  std::condition_variable settled_;
  std::atomic<State> state_{State::kGathering};
  std::vector<CollectiveArgs> args_;
  std::vector<Part> parts_;
  int arrived_ = 0;
  int waiters_ = 0;
  uint64_t votes_ = 0;
  uint64_t first_arrival_ns_ = 0;
  Clock::time_point first_arrival_{};
  Clock::time_point deadline_ = Clock::time_point::max();
  std::atomic<bool> captured_{false};
  std::unique_ptr<const Error> error_;  // written once, before the state says failed
};

/// The Work handle of one rank of `slot`.
std::shared_ptr<Work> make_work(std::shared_ptr<Slot> slot, int rank);

}  // namespace fabric
