// Host staging memory, cached for each driver. Called by transfers and by tensors' reads and
// writes.
//
// Design. One cache a driver, under one mutex held for a few list operations; the driver, whose
// calls for pinned memory may wait for a device, is called outside it. A buffer that a stream still
// uses waits with an event; acquire() and release() look at the oldest events first and stop at one
// that has not passed. The cache is bounded: what is over kMaxCached goes back to the system.
//  - A buffer that a captured copy uses is used by every replay: the capture keeps it and the graph
//    releases it at its end (fabric/capture_state.h). No event of a capture is ever asked.
//  - When the system has no memory, what the cache holds is given back and the request tried again;
//    then it is an OutOfMemoryError.
//  - release() never throws, since destructors call it: a buffer whose device was lost is kept for
//    good.
#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "fabric/allocator.h"
#include "fabric/error.h"

namespace fabric {
namespace {

constexpr size_t kSmallest = 4096;
constexpr size_t kStep = size_t{1} << 20;
constexpr uint64_t kMaxCached = uint64_t{256} << 20;

struct Waiting {
  StagingBuffer buffer;
  Event event;
};

struct Cache {
  std::mutex mutex;
  std::multimap<size_t, void*> free;
  std::map<Stream*, std::deque<Waiting>> waiting;  // FIFO: a stream's events pass in order
  uint64_t free_bytes = 0;
};

std::atomic<uint64_t> g_bytes{0};

Cache& cache_of(const Driver& driver) {
  static auto* caches = new std::array<Cache, 2>;
  return (*caches)[static_cast<size_t>(driver.kind())];
}

// Powers of two up to 1 MiB, then whole MiB: few sizes, so buffers are used again.
size_t round_up(size_t bytes) {
  if (bytes > kStep) return (bytes + kStep - 1) / kStep * kStep;
  size_t size = kSmallest;
  while (size < bytes) size *= 2;
  return size;
}

using Buffers = std::vector<StagingBuffer>;

// Under the mutex: into the cache, or to `surplus` when it is full.
void give(Cache& cache, StagingBuffer buffer, Buffers& surplus) {
  if (cache.free_bytes + buffer.bytes > kMaxCached) {
    surplus.push_back(buffer);
    return;
  }
  cache.free.emplace(buffer.bytes, buffer.ptr);
  cache.free_bytes += buffer.bytes;
}

// Under the mutex: takes back what its stream has passed.
void collect(Cache& cache, Buffers& surplus) {
  for (auto& [stream, queue] : cache.waiting) {
    try {
      while (!queue.empty() && queue.front().event.query()) {
        give(cache, queue.front().buffer, surplus);
        queue.pop_front();
      }
    } catch (const Error&) {  // a lost device: its buffers stay where they are
    }
  }
}

// Outside the mutex.
void give_back(const Buffers& buffers) {
  for (const StagingBuffer& buffer : buffers) {
    buffer.driver->free_staging(buffer.ptr, buffer.bytes);
    g_bytes.fetch_sub(buffer.bytes, std::memory_order_relaxed);
  }
}

// Under the mutex: the whole cache.
Buffers take_free(Cache& cache, Driver& driver) {
  Buffers buffers;
  for (auto& [bytes, ptr] : cache.free) buffers.push_back({ptr, bytes, &driver});
  cache.free.clear();
  cache.free_bytes = 0;
  return buffers;
}

}  // namespace

StagingBuffer acquire_staging(Driver& driver, size_t bytes) {
  if (bytes == 0) return {nullptr, 0, &driver};
  const size_t size = bytes < (size_t{1} << 62) ? round_up(bytes) : bytes;
  Cache& cache = cache_of(driver);
  Buffers surplus;
  StagingBuffer found;
  {
    std::lock_guard lock(cache.mutex);
    collect(cache, surplus);
    auto it = cache.free.lower_bound(size);
    if (it != cache.free.end() && it->first <= 2 * size) {
      found = {it->second, it->first, &driver};
      cache.free_bytes -= it->first;
      cache.free.erase(it);
    }
  }
  give_back(surplus);
  if (found.ptr != nullptr) return found;
  void* ptr = driver.alloc_staging(size);
  if (ptr == nullptr) {
    Buffers cached;
    {
      std::lock_guard lock(cache.mutex);
      cached = take_free(cache, driver);
    }
    give_back(cached);
    ptr = driver.alloc_staging(size);
  }
  if (ptr == nullptr) {
    fail(ErrorCode::kOutOfMemory, "no host memory for %zu bytes of staging (%llu are in use)", size,
         static_cast<unsigned long long>(g_bytes.load()));
  }
  g_bytes.fetch_add(size, std::memory_order_relaxed);
  return {ptr, size, &driver};
}

void release_staging(StagingBuffer buffer, Stream* stream) {
  if (buffer.ptr == nullptr) return;
  Cache& cache = cache_of(*buffer.driver);
  try {
    Event event;
    while (stream != nullptr) {
      event = Event(stream->device());
      if (event.record_eager(*stream)) break;
      if (stream->device().captures().keep(buffer, *stream)) return;
      // The capture has ended meanwhile: its buffers are not this one.
    }
    Buffers surplus;
    {
      std::lock_guard lock(cache.mutex);
      if (stream != nullptr) {
        cache.waiting[stream].push_back({buffer, std::move(event)});
      } else {
        give(cache, buffer, surplus);
      }
      collect(cache, surplus);
    }
    give_back(surplus);
  } catch (const Error&) {  // a lost device: never handed out again
  }
}

uint64_t staging_bytes() { return g_bytes.load(std::memory_order_relaxed); }

}  // namespace fabric
