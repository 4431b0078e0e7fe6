// Ends calls that nobody waits on: one thread for the process that looks at the open calls of all
// groups when the earliest deadline passes. group.cc registers groups and arms deadlines.
//
// Design. next_wake_ is the time of the thread's next look. arm() compares against it with one
// atomic load and wakes the thread only for an earlier deadline, so with the usual equal timeouts a
// call costs no wake-up. Before each look the thread sets next_wake_ to infinity, then asks every
// group for its earliest open deadline (under that group's mutex): a call inserted before the look
// is seen by it, one inserted after it reads infinity (or later) and arms. All accesses to
// next_wake_ are sequentially consistent and the group mutex orders insertion against the look;
// that pair is the whole argument. Lock order: the watchdog's mutex is never held while a group's
// is taken. The object is leaked, so the thread may outlive static destruction.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

namespace fabric {

class Watched {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  virtual ~Watched() = default;
  /// Fails the calls whose deadline is past `now`; returns the earliest deadline left, or max().
  virtual TimePoint expire(TimePoint now) = 0;
};

class Watchdog {
 public:
  using TimePoint = Watched::TimePoint;
  static Watchdog& instance();

  void watch(std::weak_ptr<Watched> watched);
  void arm(TimePoint deadline) {
    if (deadline.time_since_epoch().count() < next_wake_.load()) wake_at(deadline);
  }

 private:
  Watchdog() = default;
  void wake_at(TimePoint deadline);
  [[noreturn]] void run();
  TimePoint look(TimePoint now);

  std::atomic<TimePoint::rep> next_wake_{TimePoint::max().time_since_epoch().count()};
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  TimePoint wanted_ = TimePoint::max();  // earliest deadline armed since the last look
  std::vector<std::weak_ptr<Watched>> watched_;
  bool started_ = false;
};

}  // namespace fabric
