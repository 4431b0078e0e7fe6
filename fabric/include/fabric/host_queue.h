// How CPU kernels reach a stream of the host driver: enqueue a closure, it runs on the stream's
// worker thread in FIFO order. The only part of the host driver that layers above may use.
//
// The closure is copied into the queue (no heap allocation up to kInlineTaskBytes) and must own
// everything it needs by value; tensors' memory is kept by the stream-ordered allocator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <type_traits>
#include <utility>

#include "fabric/driver.h"

namespace fabric::host {

class Queue;

inline constexpr size_t kInlineTaskBytes = 2048;

/// Reserves room for a task of `bytes` at the queue's tail and leaves the queue locked; the caller
/// constructs the closure there and calls commit(). `run` executes and destroys the closure.
void* reserve_task(Queue* queue, size_t bytes, void (*run)(void*));
void commit_task(Queue* queue);
/// While the queue is being captured, tasks are also kept as copyable functions for replay.
bool is_capturing(Queue* queue);
void capture_task(Queue* queue, std::function<void()> fn);

/// Enqueues `fn` on `stream`. Returns at once. A kernel must not throw: bad input is found before.
template <typename F>
void enqueue(StreamHandle stream, F&& fn) {
  using Fn = std::decay_t<F>;
  static_assert(sizeof(Fn) <= kInlineTaskBytes, "kernel closure too large for the queue");
  static_assert(alignof(Fn) <= 16, "tasks lie at 16-byte borders");
  auto* queue = static_cast<Queue*>(stream);
  if (is_capturing(queue)) [[unlikely]] {
    capture_task(queue, std::function<void()>(std::forward<F>(fn)));
    return;
  }
  void* place = reserve_task(queue, sizeof(Fn), [](void* p) {
    auto* f = static_cast<Fn*>(p);
    (*f)();
    f->~Fn();
  });
  new (place) Fn(std::forward<F>(fn));
  commit_task(queue);
}

/// Splits [0, n) in chunks of `grain` and runs body(begin, end) over them on the process-wide
/// compute pool and the calling thread; returns when all are done. Chunk borders depend on n and
/// grain only, never on the number of threads, so results do not either. Runs inline when n <=
/// grain.
void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body);
/// Threads of the compute pool, the caller included (WEFT_NUM_THREADS, else the machine's cores).
int compute_threads();

}  // namespace fabric::host
