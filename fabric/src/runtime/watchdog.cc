// The deadline thread; the design is in runtime/watchdog.h.
#include "runtime/watchdog.h"

#include <algorithm>
#include <thread>

namespace fabric {

Watchdog& Watchdog::instance() {
  static auto* watchdog = new Watchdog;
  return *watchdog;
}

void Watchdog::watch(std::weak_ptr<Watched> watched) {
  std::lock_guard lock(mutex_);
  std::erase_if(watched_, [](const auto& entry) { return entry.expired(); });
  watched_.push_back(std::move(watched));
}

void Watchdog::wake_at(TimePoint deadline) {
  std::lock_guard lock(mutex_);
  if (!started_) {
    started_ = true;
    std::thread([this] { run(); }).detach();
  }
  if (deadline >= wanted_) return;
  wanted_ = deadline;
  changed_.notify_one();
}

Watchdog::TimePoint Watchdog::look(TimePoint now) {
  std::vector<std::weak_ptr<Watched>> watched;
  {
    std::lock_guard lock(mutex_);
    watched = watched_;
  }
  TimePoint earliest = TimePoint::max();
  for (auto& entry : watched) {
    if (auto group = entry.lock()) earliest = std::min(earliest, group->expire(now));
  }
  return earliest;
}

void Watchdog::run() {
  // The wait is bounded although arm() always wakes it: a day without calls costs one look.
  constexpr auto kLongest = std::chrono::hours(24);
  TimePoint next = TimePoint::max();
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      for (;;) {
        next = std::min(next, wanted_);
        wanted_ = TimePoint::max();
        next_wake_.store(next.time_since_epoch().count());
        const TimePoint now = std::chrono::steady_clock::now();
        if (now >= next) break;
        if (next - now > kLongest) {
          changed_.wait_for(lock, kLongest);
        } else {
          changed_.wait_until(lock, next);
        }
      }
      next_wake_.store(TimePoint::max().time_since_epoch().count());
    }
    next = look(std::chrono::steady_clock::now());
  }
}

}  // namespace fabric
