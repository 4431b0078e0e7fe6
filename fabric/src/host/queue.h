// Queue: one stream of the host driver. A FIFO of closures and the worker thread that runs them.
// Used by the driver (records, waits, copies) and, through fabric/host_queue.h, by CPU kernels.
//
// Design. Closures lie inline in chunks of 64 KiB that form a list. Producers hold `producer_` from
// reserve() to commit(); commit() publishes by storing the new count in `published_`. The worker
// runs entries until its own count `completed_` has caught up.
//  - Who signals: commit() wakes the worker, and only when `sleeping_` says that it sleeps. The
//    worker wakes those in wait_until(), and only when it has done `awaited_`, the least target of
//    those who wait: a wake-up costs the stream up to some 20 us, so none is given before. Each
//    pair is a store followed by a load on both sides, all sequentially consistent, so one of the
//    two sees the other and no wake-up is lost.
//  - Ordered by what: an entry's bytes and the chunk list are ordered by `published_`; the effects
//    of a task are ordered before whoever saw its number in `completed_`.
//  - Finished chunks go to `spare_`, from which producers take them: a steady flow allocates
//    nothing.
//  - What breaks it: a constructor that throws between reserve() and commit() leaves the queue
//    locked. A task that throws poisons the fabric, as a faulting kernel does on a GPU.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "fabric/driver.h"
#include "host/spin.h"

namespace fabric::host {

class HostCapture;

class Queue : public std::enable_shared_from_this<Queue> {
 public:
  explicit Queue(int ordinal);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  int ordinal() const { return ordinal_; }

  void* reserve(size_t bytes, void (*run)(void*));
  void commit();
  /// Enqueues `fn` past any capture.
  template <typename F>
  void push(F fn) {
    void* place = reserve(sizeof(F), [](void* p) {
      auto* self = static_cast<F*>(p);
      (*self)();
      self->~F();
    });
    new (place) F(std::move(fn));
    commit();
  }

  uint64_t published() const { return published_.load(std::memory_order_acquire); }
  bool idle() const {
    const uint64_t target = published();
    return completed_.load(std::memory_order_acquire) >= target;
  }
  /// Blocks until `target` tasks are done; false when `deadline_ns` (steady clock) passed.
  bool wait_until(uint64_t target, int64_t deadline_ns);

  /// The worker leaves once the queue is empty. Later reserve() calls throw.
  void close();
  /// Makes the worker leave its event waits too and waits for it, bounded; false: still busy.
  bool stop(int64_t deadline_ns);
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

  bool capturing() const { return capturing_.load(std::memory_order_relaxed); }
  std::shared_ptr<HostCapture> capture();
  void set_capture(std::shared_ptr<HostCapture> capture);  ///< nullptr ends it

 private:
  struct Chunk;
  struct Entry;

  void start_worker();  // under producer_
  void work();
  bool wait_for_work(uint64_t done);
  void wake_worker();
  void run_entry(Entry* entry);
  Chunk* take_chunk();
  void recycle(Chunk* chunk);

  const int ordinal_;

  // Producers.
  std::mutex producer_;
  Chunk* write_chunk_ = nullptr;
  size_t write_offset_ = 0;
  bool started_ = false;
  bool closed_ = false;
  std::shared_ptr<HostCapture> capture_;
  std::atomic<bool> capturing_{false};
  std::atomic<uint64_t> published_{0};

  // Worker.
  alignas(64) std::atomic<uint64_t> completed_{0};
  Chunk* read_chunk_ = nullptr;
  size_t read_offset_ = 0;
  SpinBudget spin_;
  std::array<std::atomic<Chunk*>, 8> spare_{};

  // Sleep and wake.
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> closing_{false};
  std::atomic<bool> stopping_{false};
  std::mutex sleep_;
  std::condition_variable work_;
  static constexpr uint64_t kNobody = UINT64_MAX;
  std::atomic<uint64_t> awaited_{kNobody};  // written under done_mutex_
  std::mutex done_mutex_;
  std::condition_variable done_;
  bool exited_ = false;  // under done_mutex_
};

}  // namespace fabric::host
