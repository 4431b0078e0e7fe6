// A gate between drivers: one side opens it, the other side's stream or thread waits for that. What
// events are within one driver, a gate is between two. Used by order_after() and Driver::hold().
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

namespace fabric {

class Gate {
 public:
  /// Lets everybody through, now and later. Idempotent.
  void open() {
    std::vector<std::function<void()>> then;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      open_ = true;
      then.swap(then_);
    }
    opened_.notify_all();
    for (auto& fn : then) fn();
  }
  /// Blocks the caller until the gate is open; false when the limit passed.
  bool wait(std::chrono::milliseconds limit) {
    std::unique_lock<std::mutex> lock(mutex_);
    return opened_.wait_for(lock, limit, [&] { return open_; });
  }
  /// Calls `fn` when the gate opens; at once when it is open.
  void then(std::function<void()> fn) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!open_) {
        then_.push_back(std::move(fn));
        return;
      }
    }
    fn();
  }

 private:
  std::mutex mutex_;                // guards open_ and then_
  std::condition_variable opened_;  // signalled by open()
  bool open_ = false;
  std::vector<std::function<void()>> then_;
};

}  // namespace fabric
