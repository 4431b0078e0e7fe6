// The host driver's events: see host/signal.h for the design.
#include "host/queue.h"
#include "host/signal.h"
#include "host/wait_clock.h"

namespace fabric::host {
namespace {

// How long a blocked wait sleeps before it looks whether the fabric stops.
constexpr int64_t kSliceNs = 50'000'000;

}  // namespace

struct Signal::RecordLine {
  std::atomic<uint64_t> completed{0};
  uint64_t issued = 0;           // under the signal's mutex
  const Queue* owner = nullptr;  // under the signal's mutex
  std::unique_ptr<RecordLine> next;
};

Signal::Signal(bool timing) : timing_(timing) {}
Signal::~Signal() = default;

Signal::Point Signal::issue(const Queue* queue) {
  std::lock_guard lock(mutex_);
  RecordLine* found = nullptr;
  RecordLine* quiet = nullptr;
  for (RecordLine* lane = lanes_.get(); lane != nullptr; lane = lane->next.get()) {
    if (lane->owner == queue) {
      found = lane;
      break;
    }
    if (lane->completed.load(std::memory_order_acquire) == lane->issued) quiet = lane;
  }
  if (found == nullptr) found = quiet;
  if (found == nullptr) {
    auto lane = std::make_unique<RecordLine>();
    found = lane.get();
    lane->next = std::move(lanes_);
    lanes_ = std::move(lane);
  }
  found->owner = queue;
  latest_ = {found, ++found->issued};
  capture_.reset();
  return latest_;
}

Signal::Point Signal::latest() const {
  std::lock_guard lock(mutex_);
  return latest_;
}

bool Signal::passed(Point point) {
  return point.lane == nullptr ||
         point.lane->completed.load(std::memory_order_seq_cst) >= point.ticket;
}

void Signal::complete(Point point) {
  if (timing_) stamp_ns_.store(clock_ns(), std::memory_order_release);
  // Two threads that record on one queue may enqueue in the other order than they took tickets.
  uint64_t seen = point.lane->completed.load(std::memory_order_relaxed);
  if (seen < point.ticket) point.lane->completed.store(point.ticket, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) != 0) {
    std::lock_guard lock(mutex_);
    passed_.notify_all();
  }
}

bool Signal::wait_until(Point point, int64_t deadline_ns, const Queue* stop) {
  SpinBudget budget;
  if (budget.spin([&] { return passed(point); })) return true;
  std::unique_lock lock(mutex_);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  bool met = false;
  for (;;) {
    met = passed(point);
    const int64_t now = clock_ns();
    if (met || now >= deadline_ns || (stop != nullptr && stop->stopping())) break;
    passed_.wait_until(lock, at_ns(deadline_ns - now < kSliceNs ? deadline_ns : now + kSliceNs));
  }
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  return met;
}

void Signal::set_captured(std::shared_ptr<HostCapture> capture, int index) {
  std::lock_guard lock(mutex_);
  capture_ = std::move(capture);
  capture_index_ = index;
}

std::shared_ptr<HostCapture> Signal::captured(int* index) const {
  std::lock_guard lock(mutex_);
  *index = capture_index_;
  return capture_;
}

void enqueue_record(Queue& queue, Signal* signal) {
  const Signal::Point point = signal->issue(&queue);
  // An idle queue has nothing to record behind: the event passes at once and wakes no worker. Asked
  // after issue(), whose mutex makes visible what others enqueued before an earlier ticket.
  if (queue.idle()) {
    signal->complete(point);
    return;
  }
  queue.push([ref = SignalRef::share(signal), point] { ref.get()->complete(point); });
}

void enqueue_wait(Queue& queue, Signal* signal, Signal::Point point) {
  if (Signal::passed(point)) return;
  queue.push([ref = SignalRef::share(signal), point, self = &queue] {
    ref.get()->wait_until(point, INT64_MAX, self);
  });
}

}  // namespace fabric::host
