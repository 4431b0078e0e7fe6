// The host driver's stream: see host/queue.h for the design.
#include "fabric/host_queue.h"

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>
#include <thread>

#include "fabric/error.h"
#include "fabric/fabric.h"
#include "host/fault_state.h"
#include "host/graph.h"
#include "host/queue.h"
#include "host/wait_clock.h"

namespace fabric::host {
namespace {

constexpr size_t kChunkBytes = 64 * 1024;
constexpr size_t kAlign = 16;

constexpr size_t align_up(size_t n) { return (n + kAlign - 1) & ~(kAlign - 1); }

}  // namespace

// Head of one task in a chunk; `run` is nullptr where the rest of the chunk is unused.
struct alignas(kAlign) Queue::Entry {
  void (*run)(void*);
  size_t bytes;  // this head included
};

struct Queue::Chunk {
  Chunk* next = nullptr;
  alignas(64) std::byte data[kChunkBytes];
};

Queue::Queue(int ordinal) : ordinal_(ordinal) {}

Queue::~Queue() {
  Chunk* chunk = read_chunk_;
  while (chunk != nullptr) {
    Chunk* next = chunk->next;
    delete chunk;
    chunk = next;
  }
  for (auto& slot : spare_) delete slot.load(std::memory_order_acquire);
}

Queue::Chunk* Queue::take_chunk() {
  for (auto& slot : spare_) {
    if (slot.load(std::memory_order_relaxed) == nullptr) continue;
    if (Chunk* chunk = slot.exchange(nullptr, std::memory_order_acquire)) {
      chunk->next = nullptr;
      return chunk;
    }
  }
  return new Chunk;
}

void Queue::recycle(Chunk* chunk) {
  for (auto& slot : spare_) {
    Chunk* empty = nullptr;
    if (slot.compare_exchange_strong(empty, chunk, std::memory_order_release,
                                     std::memory_order_relaxed)) {
      return;
    }
  }
  delete chunk;
}

void Queue::start_worker() {
  write_chunk_ = read_chunk_ = take_chunk();
  // Signals belong to the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread([self = shared_from_this()] { self->work(); }).detach();
    started_ = true;
  } catch (const std::system_error&) {
    recycle(write_chunk_);
    write_chunk_ = read_chunk_ = nullptr;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void* Queue::reserve(size_t bytes, void (*run)(void*)) {
  const size_t need = sizeof(Entry) + align_up(bytes);
  producer_.lock();
  if (closed_) [[unlikely]] {
    producer_.unlock();
    fail(ErrorCode::kUsage, "host:%d: the stream is closed; nothing can be enqueued on it any more",
         ordinal_);
  }
  if (!started_) [[unlikely]] {
    start_worker();
    if (!started_) {
      producer_.unlock();
      fail(ErrorCode::kDevice, "host:%d: cannot start the stream's thread (thread limit reached?)",
           ordinal_);
    }
  }
  // One head always stays free for the mark that sends the worker to the next chunk.
  if (write_offset_ + need + sizeof(Entry) > kChunkBytes) {
    Chunk* next = take_chunk();
    new (write_chunk_->data + write_offset_) Entry{nullptr, 0};
    write_chunk_->next = next;
    write_chunk_ = next;
    write_offset_ = 0;
  }
  auto* entry = new (write_chunk_->data + write_offset_) Entry{run, need};
  write_offset_ += need;
  return entry + 1;
}

void Queue::commit() {
  published_.store(published_.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);
  producer_.unlock();
  if (sleeping_.load(std::memory_order_seq_cst)) wake_worker();
}

void Queue::wake_worker() {
  if (!sleeping_.exchange(false)) return;  // one producer is enough
  std::lock_guard lock(sleep_);
  work_.notify_one();
}

bool Queue::wait_for_work(uint64_t done) {
  auto ready = [&] { return published_.load(std::memory_order_acquire) != done; };
  if (spin_.spin(ready)) return true;
  std::unique_lock lock(sleep_);
  for (;;) {
    sleeping_.store(true, std::memory_order_seq_cst);
    if (published_.load(std::memory_order_seq_cst) != done) break;
    if (closing_.load(std::memory_order_seq_cst)) {
      sleeping_.store(false, std::memory_order_relaxed);
      return false;
    }
    work_.wait(lock);  // an idle stream; commit() and close() wake it
  }
  sleeping_.store(false, std::memory_order_relaxed);
  return true;
}

void Queue::run_entry(Entry* entry) {
  if (const int64_t delay = device_delay_us(ordinal_); delay > 0) [[unlikely]] {
    std::this_thread::sleep_for(std::chrono::microseconds(delay));
  }
  try {
    entry->run(entry + 1);
  } catch (const std::exception& error) {
    poison("a kernel on host:" + std::to_string(ordinal_) + " threw: " + error.what());
  } catch (...) {
    poison("a kernel on host:" + std::to_string(ordinal_) + " threw");
  }
}

void Queue::work() {
  char name[16];
  std::snprintf(name, sizeof name, "weft-host-%d", ordinal_);
  pthread_setname_np(pthread_self(), name);
  uint64_t done = 0;
  while (wait_for_work(done)) {
    const uint64_t ready = published_.load(std::memory_order_acquire);
    while (done < ready) {
      auto* entry = reinterpret_cast<Entry*>(read_chunk_->data + read_offset_);
      if (entry->run == nullptr) {
        Chunk* finished = read_chunk_;
        read_chunk_ = finished->next;
        read_offset_ = 0;
        recycle(finished);
        continue;
      }
      const size_t bytes = entry->bytes;
      run_entry(entry);
      read_offset_ += bytes;
      completed_.store(++done, std::memory_order_seq_cst);
      if (done >= awaited_.load(std::memory_order_seq_cst)) {
        std::lock_guard lock(done_mutex_);
        awaited_.store(kNobody, std::memory_order_relaxed);
        done_.notify_all();
      }
    }
  }
  std::lock_guard lock(done_mutex_);
  exited_ = true;
  done_.notify_all();
}

bool Queue::wait_until(uint64_t target, int64_t deadline_ns) {
  auto ready = [&] { return completed_.load(std::memory_order_acquire) >= target; };
  SpinBudget budget;
  if (budget.spin(ready)) return true;
  std::unique_lock lock(done_mutex_);
  for (;;) {
    // Whoever was woken for another's target asks again: a wake-up forgets all of them.
    if (target < awaited_.load(std::memory_order_relaxed))
      awaited_.store(target, std::memory_order_seq_cst);
    if (completed_.load(std::memory_order_seq_cst) >= target) return true;
    if (clock_ns() >= deadline_ns) return false;
    done_.wait_until(lock, at_ns(deadline_ns));
  }
}

void Queue::close() {
  std::lock_guard lock(producer_);
  closed_ = true;
  std::lock_guard sleep(sleep_);
  closing_.store(true, std::memory_order_seq_cst);
  work_.notify_one();
}

bool Queue::stop(int64_t deadline_ns) {
  stopping_.store(true, std::memory_order_relaxed);
  close();
  {
    std::lock_guard lock(producer_);
    if (!started_) return true;
  }
  std::unique_lock lock(done_mutex_);
  while (!exited_) {
    if (clock_ns() >= deadline_ns) return false;
    done_.wait_until(lock, at_ns(deadline_ns));
  }
  return true;
}

std::shared_ptr<HostCapture> Queue::capture() {
  std::lock_guard lock(producer_);
  return capture_;
}

void Queue::set_capture(std::shared_ptr<HostCapture> capture) {
  std::lock_guard lock(producer_);
  capture_ = std::move(capture);
  capturing_.store(capture_ != nullptr, std::memory_order_relaxed);
}

void* reserve_task(Queue* queue, size_t bytes, void (*run)(void*)) {
  return queue->reserve(bytes, run);
}
void commit_task(Queue* queue) { queue->commit(); }
bool is_capturing(Queue* queue) { return queue->capturing(); }
void capture_task(Queue* queue, std::function<void()> fn) {
  auto capture = queue->capture();
  if (capture != nullptr) {
    capture->add_task(*queue, std::move(fn));
  } else {  // the capture ended since the caller looked
    enqueue(static_cast<StreamHandle>(queue), std::move(fn));
  }
}

}  // namespace fabric::host
