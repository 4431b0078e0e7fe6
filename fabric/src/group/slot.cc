// State machine of one collective call; the design is in group/slot.h.
#include "group/slot.h"

#include <algorithm>

namespace fabric {

Slot::Slot(std::shared_ptr<GroupState> group, uint64_t sequence)
    : group_(std::move(group)),
      sequence_(sequence),
      args_(group_->devices.size()),
      parts_(group_->devices.size()) {}

bool Slot::arrive(int rank, CollectiveArgs&& args, Event&& producer, Clock::time_point deadline) {
  std::lock_guard lock(mutex_);
  if (state_.load(std::memory_order_relaxed) != State::kGathering) return false;
  Part& part = parts_[rank];
  part.arrived = true;
  part.producer = std::move(producer);
  votes_ |= args.vote;
  args_[rank] = std::move(args);
  deadline_ = std::min(deadline_, deadline);
  if (arrived_++ == 0) {
    first_arrival_ = Clock::now();
    first_arrival_ns_ = event_log::now_ns();
  }
  if (arrived_ < static_cast<int>(parts_.size())) return false;
  state_.store(State::kLaunching, std::memory_order_release);
  return true;
}

Slot::Clock::time_point Slot::deadline() const {
  std::lock_guard lock(mutex_);
  return deadline_;
}

void Slot::publish_launched() {
  std::vector<std::pair<int, Callback>> callbacks;
  bool wake;
  {
    std::lock_guard lock(mutex_);
    for (size_t r = 0; r < parts_.size(); ++r) {
      for (Callback& callback : parts_[r].callbacks) {
        callbacks.emplace_back(static_cast<int>(r), std::move(callback));
      }
      parts_[r].callbacks.clear();
    }
    state_.store(State::kLaunched, std::memory_order_release);
    wake = waiters_ > 0;
  }
  if (wake) settled_.notify_all();
  for (auto& [rank, callback] : callbacks) notify_done(rank, std::move(callback));
}

bool Slot::fail(const Error& error, bool launcher) {
  std::vector<Callback> callbacks;
  std::vector<CollectiveArgs> dropped;  // user objects die after the lock is gone
  std::vector<Event> events;
  {
    std::lock_guard lock(mutex_);
    const State state = state_.load(std::memory_order_relaxed);
    if (state != State::kGathering && !(launcher && state == State::kLaunching)) return false;
    error_ = std::make_unique<const Error>(error);
    for (Part& part : parts_) {
      for (Callback& callback : part.callbacks) callbacks.push_back(std::move(callback));
      part.callbacks.clear();
      events.push_back(std::move(part.producer));
    }
    dropped.swap(args_);
    state_.store(State::kFailed, std::memory_order_release);
  }
  settled_.notify_all();
  for (Callback& callback : callbacks) callback(error_.get());
  return true;
}

std::optional<Slot::Overdue> Slot::overdue(Clock::time_point now) {
  std::vector<int> missing, arrived;
  CollectiveArgs sample;
  int64_t waited_ms;
  {
    std::lock_guard lock(mutex_);
    if (state_.load(std::memory_order_relaxed) != State::kGathering || now < deadline_ ||
        arrived_ == 0) {
      return std::nullopt;
    }
    for (size_t r = 0; r < parts_.size(); ++r) {
      (parts_[r].arrived ? arrived : missing).push_back(static_cast<int>(r));
    }
    sample.kind = args_[arrived.front()].kind;
    waited_ms = std::chrono::ceil<std::chrono::milliseconds>(now - first_arrival_).count();
  }
  return Overdue{missing.front(), timeout_error(sample, site(), missing, arrived, waited_ms)};
}

void Slot::expire(Clock::time_point now) {
  const std::optional<Overdue> late = overdue(now);
  if (!late || !fail(late->error)) return;
  group_->timeouts.fetch_add(1, std::memory_order_relaxed);
  event_log::log(EventKind::kError, group_->devices[late->rank]->index(), 0, kNoDevice, 0,
                 sequence_, static_cast<uint32_t>(ErrorCode::kCollectiveTimeout), group_->id);
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

void Slot::on_done(int rank, Callback callback) {
  {
    std::lock_guard lock(mutex_);
    const State state = state_.load(std::memory_order_relaxed);
    if (state == State::kGathering || state == State::kLaunching) {
      parts_[rank].callbacks.push_back(std::move(callback));
      return;
    }
  }
  if (const Error* failed = error()) {
    callback(failed);
  } else {
    notify_done(rank, std::move(callback));
  }
}

void Slot::notify_done(int rank, Callback callback) {
  if (parts_[rank].done.query()) {
    callback(nullptr);
    return;
  }
  Device& device = *group_->devices[rank];
  device.driver().notify(device.comm().handle(),
                         [callback = std::move(callback)] { callback(nullptr); });
}

}  // namespace fabric
