// What the fabric's tests share: devices nobody else in the program uses, and a gate that holds a
// stream until the test opens it (a latch, so that tests need no sleeps).
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "fabric/fabric.h"
#include "fabric/host_queue.h"

namespace fabric::test {

/// A host device that no other test has used, so that its statistics start at zero.
inline Device& fresh_device() {
  static std::atomic<int> next{1000};
  const int n = next.fetch_add(1);
  // Virtual indices keep the count of fresh devices apart from the 64 ordinals.
  return open_device("host:" + std::to_string(n % 8) + "/" + std::to_string(n), n + 1);
}

/// Holds the streams it was put on until open(), for at most 30 s.
class Gate {
 public:
  void hold(Stream& stream) {
    host::enqueue(stream.handle(), [state = state_] {
      std::unique_lock lock(state->mutex);
      state->reached = true;
      state->changed.notify_all();
      state->changed.wait_for(lock, std::chrono::seconds(30), [&] { return state->open; });
    });
  }
  void wait_reached() {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait_for(lock, std::chrono::seconds(30), [&] { return state_->reached; });
  }
  void open() {
    std::lock_guard lock(state_->mutex);
    state_->open = true;
    state_->changed.notify_all();
  }
  ~Gate() { open(); }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
    bool reached = false;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace fabric::test
