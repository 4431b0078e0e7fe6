// State machine of one collective call up to its launch; the design is in group/slot.h, the time
// after the launch is group/slot_flight.cc.
#include "group/slot.h"

#include <algorithm>

#include "group/waiting_text.h"

namespace fabric {

Slot::Slot(std::shared_ptr<GroupState> group, uint64_t sequence)
    : group_(std::move(group)),
      sequence_(sequence),
      aborts_before_(group_->aborts.load()),
      args_(group_->devices.size()),
      parts_(group_->devices.size()) {}

bool Slot::arrive(int rank, CollectiveArgs&& args, Event&& producer, Clock::time_point deadline) {
  std::lock_guard lock(mutex_);
  if (state_.load(std::memory_order_relaxed) != State::kGathering) return false;
  Part& part = parts_[rank];
  part.arrived = true;
  part.producer = std::move(producer);
  part.brought = {event_log::now_ns(), args.count, args.kind, args.op,
                  args.dtype,          args.root,  false};
  votes_ |= args.vote;
  const int64_t result_ms = std::clamp<int64_t>(args.result_ms, 0, kLongestMs);
  deadline_ = std::min(deadline_, deadline);
  if (arrived_++ == 0) {
    first_arrival_ = Clock::now();
    first_arrival_ns_ = part.brought.arrived_ns;
    kind_ = args.kind;
    result_ms_ = result_ms;
  }
  result_ms_ = std::min(result_ms_, result_ms);
  args_[rank] = std::move(args);
  if (arrived_ < static_cast<int>(parts_.size())) return false;
  state_.store(State::kLaunching, std::memory_order_release);
  return true;
}

Slot::Clock::time_point Slot::deadline() const {
  std::lock_guard lock(mutex_);
  return deadline_;
}

bool Slot::fail(const Error& error, bool launcher) { return fail_from(launcher, false, error); }

bool Slot::may_fail(State state, bool launcher, bool flight) const {
  return (state == State::kGathering && !flight) || (state == State::kLaunching && launcher) ||
         (state == State::kLaunched && flight);
}

bool Slot::fail_from(bool launcher, bool flight, const Error& error, std::optional<int> late) {
  std::vector<Callback> callbacks;
  std::vector<CollectiveArgs> dropped;  // user objects die after the lock is gone
  std::vector<std::vector<CollectiveArgs>> dropped_calls;
  {
    std::lock_guard lock(mutex_);
    if (!may_fail(state_.load(std::memory_order_relaxed), launcher, flight)) return false;
    error_ = std::make_unique<const Error>(error);
    for (Part& part : parts_) {
      for (Callback& callback : part.callbacks) callbacks.push_back(std::move(callback));
      part.callbacks.clear();
    }
    dropped.swap(args_);
    dropped_calls.swap(calls_);
    if (late) count_timeout(*late);
    state_.store(State::kFailed, std::memory_order_release);
  }
  settled_.notify_all();
  if (flight) group_->sessions.abort();  // kernels that wait for what will not come leave
  for (Callback& callback : callbacks) callback(error_.get());
  return true;
}

std::optional<Slot::Overdue> Slot::overdue(Clock::time_point now) {
  std::vector<int> missing, arrived;
  std::vector<CallRank> brought;
  int64_t waited_ms;
  {
    std::lock_guard lock(mutex_);
    if (state_.load(std::memory_order_relaxed) != State::kGathering || now < deadline_ ||
        arrived_ == 0) {
      return std::nullopt;
    }
    for (size_t r = 0; r < parts_.size(); ++r) {
      (parts_[r].arrived ? arrived : missing).push_back(static_cast<int>(r));
      brought.push_back(parts_[r].brought);
    }
    waited_ms = std::chrono::ceil<std::chrono::milliseconds>(now - first_arrival_).count();
  }
  const std::string since = " " + since_text(first_arrival_ns_);
  return Overdue{missing.front(),
                 timeout_error(kind_, site(), missing, arrived, waited_ms,
                               since + standing_text(*group_, site(), missing, brought))};
}

void Slot::expire(Clock::time_point now) {
  const std::optional<Overdue> late = overdue(now);
  if (late) fail_from(false, false, late->error, late->rank);
}

void Slot::count_timeout(int rank) {
  group_->timeouts.fetch_add(1, std::memory_order_relaxed);
  event_log::log(EventKind::kError, group_->devices[rank]->index(), 0, kNoDevice, 0, sequence_,
                 static_cast<uint32_t>(ErrorCode::kCollectiveTimeout), group_->id);
}

std::optional<OpenCall> Slot::report() const {
  const auto ns = [](Clock::time_point at) {
    return at == Clock::time_point::max() ? 0
                                          : static_cast<uint64_t>(at.time_since_epoch().count());
  };
  OpenCall call;
  {
    std::lock_guard lock(mutex_);
    const State now = state_.load(std::memory_order_relaxed);
    if (now == State::kFailed || arrived_ == 0) return std::nullopt;
    call.sequence = sequence_;
    call.state = static_cast<CallState>(now);
    call.since_ns = first_arrival_ns_;
    call.launched_ns = now == State::kLaunched ? ns(launched_at_) : 0;
    call.deadline_ns = ns(now == State::kLaunched ? flight_deadline_ : deadline_);
    for (const Part& part : parts_) call.ranks.push_back(part.brought);
  }
  if (call.state != CallState::kLaunched) return call;
  if (captured()) return std::nullopt;
  bool all = true;
  for (size_t r = 0; r < parts_.size(); ++r) {
    try {
      call.ranks[r].done = done(static_cast<int>(r));
    } catch (const Error&) {  // a lost device answers nothing
    }
    all = all && call.ranks[r].done;
  }
  return all ? std::nullopt : std::optional(call);
}

Slot::Wait Slot::wait(std::optional<Clock::time_point> limit) {
  auto settled = [](State s) { return s == State::kLaunched || s == State::kFailed; };
  State now_state = state();
  if (!settled(now_state)) {
    std::unique_lock lock(mutex_);
    ++waiters_;
    std::optional<Clock::time_point> grace;
    while (!settled(now_state = state_.load(std::memory_order_relaxed))) {
      const bool launching = now_state == State::kLaunching;
      const Clock::time_point now = Clock::now();
      if (limit && now >= *limit) {
        --waiters_;
        return Wait::kTimedOut;
      }
      if (launching && !grace) grace = now + kLaunchGrace;
      if (launching && now >= *grace) {
        --waiters_;
        fabric::fail(ErrorCode::kCollectiveTimeout,
                     "call %llu of group %u: all ranks arrived, but its launch does not return",
                     static_cast<unsigned long long>(sequence_), group_->id);
      }
      if (!launching && now >= deadline_) {
        lock.unlock();
        expire(now);
        lock.lock();
        continue;
      }
      Clock::time_point until = launching ? *grace : deadline_;
      if (limit) until = std::min(until, *limit);
      settled_.wait_until(lock, until);
    }
    --waiters_;
  }
  return now_state == State::kLaunched ? Wait::kLaunched : Wait::kFailed;
}

}  // namespace fabric
