// A call once it was launched: who hears that it is done, and what ends it when it is not. The
// design is in group/slot.h.
#include <algorithm>

#include "group/slot.h"
#include "group/waiting_text.h"

namespace fabric {

Error poison_error() {
  try {
    check_poison();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::kPoisoned, "the process must restart: a device failed");
}

void Slot::publish_launched() {
  std::vector<int> asked;
  std::vector<Callback> refused;
  bool wake;
  {
    std::lock_guard lock(mutex_);
    for (size_t r = 0; r < parts_.size(); ++r) {
      Part& part = parts_[r];
      if (part.callbacks.empty()) continue;
      if (captured()) {
        for (Callback& callback : part.callbacks) refused.push_back(std::move(callback));
        part.callbacks.clear();
      } else {
        part.asked = true;
        asked.push_back(static_cast<int>(r));
      }
    }
    launched_at_ = Clock::now();
    if (!captured()) flight_deadline_ = launched_at_ + std::chrono::milliseconds(result_ms_);
    state_.store(State::kLaunched, std::memory_order_release);
    wake = waiters_ > 0;
  }
  if (wake) settled_.notify_all();
  for (int rank : asked) ask(rank);
  if (refused.empty()) return;
  const Error error(ErrorCode::kUsage,
                    "the call became part of a captured step and is done at each replay: wait for "
                    "the replay");
  for (Callback& callback : refused) callback(&error);
}

void Slot::on_done(int rank, Callback callback) {
  bool first = false;
  bool over = false;
  {
    std::lock_guard lock(mutex_);
    Part& part = parts_[rank];
    over = part.completed.load(std::memory_order_relaxed) ||
           state_.load(std::memory_order_relaxed) == State::kFailed;
    if (!over) {
      part.callbacks.push_back(std::move(callback));
      first = state_.load(std::memory_order_relaxed) == State::kLaunched && !part.asked;
      part.asked = part.asked || first;
    }
  }
  if (over) {
    callback(parts_[rank].completed.load() ? nullptr : error_.get());
  } else if (first) {
    ask(rank);
  }
}

// Once a rank, under no lock.
void Slot::ask(int rank) {
  try {
    const Part& part = parts_[rank];
    if (part.done->query()) return complete(rank);
    Stream& comm = group_->comm(static_cast<size_t>(rank));
    // What the caller enqueued behind a call that joined its stream does not delay the notice.
    if (part.stream != &comm) part.done->wait(comm);
    comm.device().driver().notify(comm.handle(),
                                  [self = shared_from_this(), rank] { self->complete(rank); });
  } catch (const Error& error) {  // a lost device answers nothing
    end_flight(poisoned() ? poison_error() : error);
  }
}

void Slot::complete(int rank) {
  // After a sticky error drivers call back all the same, so that nobody waits for ever.
  if (poisoned()) {
    fail_from(false, true, poison_error());
    return;
  }
  if (auto fault = group_->sessions.fault()) {  // its work left early: the result is none
    fail_from(false, true, *fault);
    return;
  }
  std::vector<Callback> callbacks;
  {
    std::lock_guard lock(mutex_);
    parts_[rank].completed.store(true, std::memory_order_release);
    callbacks.swap(parts_[rank].callbacks);
  }
  for (Callback& callback : callbacks) callback(nullptr);
}

bool Slot::done(int rank) const {
  const Part& part = parts_[rank];
  if (part.completed.load(std::memory_order_acquire)) return true;
  return launched() && (captured() || part.is_done());
}

bool Slot::landed() {
  if (!launched()) return failed();
  try {
    return std::all_of(parts_.begin(), parts_.end(),
                       [](const Part& part) { return part.is_done(); });
  } catch (const Error& error) {
    end_flight(poisoned() ? poison_error() : error);
    return true;
  }
}

void Slot::end_flight(const Error& error) {
  bool all = true;
  for (size_t r = 0; r < parts_.size(); ++r) {
    bool there = false;
    try {
      there = parts_[r].completed || (!poisoned() && parts_[r].is_done());
    } catch (const Error&) {  // it fails with `error` below
    }
    if (there) complete(static_cast<int>(r));
    all = all && there;
  }
  if (!all) fail_from(false, true, error);
}

void Slot::expire_flight(Clock::time_point now) {
  if (now < flight_deadline_ || landed()) return;
  try {
    const Overdue late = stalled(now);
    fail_from(false, true, late.error, late.rank);
  } catch (const Error& error) {  // a device was lost while it was asked
    end_flight(poisoned() ? poison_error() : error);
  }
}

// Which ranks hold the others up: those whose producer has not come to the call, else those whose
// comm stream has not, else those that are not done.
Slot::Overdue Slot::stalled(Clock::time_point now) const {
  using Check = bool (*)(const Part&);
  constexpr std::pair<Stall, Check> kChecks[] = {
      {Stall::kProducer, [](const Part& part) { return part.producer.query(); }},
      {Stall::kBefore, [](const Part& part) { return part.started.query(); }},
      {Stall::kWithin, [](const Part& part) { return part.is_done(); }},
  };
  std::vector<int> ranks;
  Stall where = Stall::kWithin;
  for (const auto& [stall, passed] : kChecks) {
    for (size_t r = 0; r < parts_.size(); ++r) {
      if (!passed(parts_[r])) ranks.push_back(static_cast<int>(r));
    }
    where = stall;
    if (!ranks.empty()) break;
  }
  if (ranks.empty()) ranks.push_back(0);  // it came through just now; the deadline has passed
  const int64_t waited_ms =
      std::chrono::ceil<std::chrono::milliseconds>(now - launched_at_).count();
  const std::string since =
      since_text(static_cast<uint64_t>(launched_at_.time_since_epoch().count()));
  return {ranks.front(),
          stall_error(kind_, site(), where, ranks, group_->devices, waited_ms, since)};
}

}  // namespace fabric
