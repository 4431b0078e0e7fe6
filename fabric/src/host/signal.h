// Signal: an event of the host driver. Records give out tickets, waits hold on to one.
//
// Design. record() on queue Q takes the next ticket of Q's lane and enqueues a task on Q that
// completes it; wait() captures (lane, ticket) of the latest record at that moment and enqueues a
// task that blocks until the lane has completed the ticket. One queue completes its tickets in FIFO
// order, so a lane needs one counter. A record on another queue while this one is under way gets a
// lane of its own, so a wait never passes because of a later record elsewhere; a lane whose tickets
// are all complete changes owner.
//  - Who signals: the record's task, on the recording queue's worker. It wakes sleepers only when
//    `sleepers_` says so (store then load on both sides, sequentially consistent: no lost wake-up).
//  - Ordered by what: complete() stores with release, passed() loads with acquire: everything
//    before the record is visible after the wait.
//  - Lifetime: counted references. The driver's handle holds one, each task in flight holds one, so
//    an event may be destroyed while work still refers to it.
//  - What breaks it: a queue that never gets to its record holds its waiters until the fabric
//    stops; their wait is sliced so that stop() reaches them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace fabric::host {

class HostCapture;
class Queue;

class Signal {
 public:
  struct RecordLine;
  struct Point {
    RecordLine* lane = nullptr;  ///< nullptr: never recorded, holds nobody
    uint64_t ticket = 0;
  };

  explicit Signal(bool timing);
  ~Signal();
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  /// The ticket of a new record on `queue`; forgets an earlier capture.
  Point issue(const Queue* queue);
  Point latest() const;
  static bool passed(Point point);
  void complete(Point point);
  /// Blocks until `point` has passed; false at `deadline_ns` or when `stop` becomes true.
  bool wait_until(Point point, int64_t deadline_ns, const Queue* stop = nullptr);

  bool timing() const { return timing_; }
  int64_t stamp_ns() const { return stamp_ns_.load(std::memory_order_acquire); }

  /// The latest record was captured: record number `index` of `capture`.
  void set_captured(std::shared_ptr<HostCapture> capture, int index);
  std::shared_ptr<HostCapture> captured(int* index) const;

 private:
  std::atomic<int> references_{1};
  const bool timing_;
  std::atomic<int64_t> stamp_ns_{0};
  mutable std::mutex mutex_;
  std::condition_variable passed_;
  std::atomic<int> sleepers_{0};
  std::unique_ptr<RecordLine> lanes_;
  Point latest_;
  std::shared_ptr<HostCapture> capture_;
  int capture_index_ = 0;
};

/// A counted reference to a Signal.
class SignalRef {
 public:
  SignalRef() = default;
  static SignalRef make(bool timing) { return SignalRef(new Signal(timing)); }
  explicit SignalRef(Signal* adopt) : signal_(adopt) {}
  static SignalRef share(Signal* signal) {
    signal->retain();
    return SignalRef(signal);
  }
  SignalRef(const SignalRef& other) : signal_(other.signal_) {
    if (signal_ != nullptr) signal_->retain();
  }
  SignalRef(SignalRef&& other) noexcept : signal_(std::exchange(other.signal_, nullptr)) {}
  SignalRef& operator=(SignalRef other) noexcept {
    std::swap(signal_, other.signal_);
    return *this;
  }
  ~SignalRef() {
    if (signal_ != nullptr) signal_->release();
  }
  Signal* get() const { return signal_; }
  Signal* operator->() const { return signal_; }

 private:
  Signal* signal_ = nullptr;
};

/// Enqueues a record of `signal` on `queue`, and a wait of `queue` for `point`; no capture
/// involved.
void enqueue_record(Queue& queue, Signal* signal);
void enqueue_wait(Queue& queue, Signal* signal, Signal::Point point);

}  // namespace fabric::host
