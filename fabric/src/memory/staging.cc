// Host staging memory, cached for each driver. Called by transfers and by tensors' reads and
// writes.
//
// Design. One cache a driver, under one mutex held for a few list operations. A buffer that a
// stream still uses waits with an event; acquire() and release() look at the oldest events first
// and stop at one that has not passed. The cache is bounded: what is over kMaxCached goes back to
// the system. release() never throws, since destructors call it: a buffer whose device was lost is
// kept for good.
#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>

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

void give(Cache& cache, StagingBuffer buffer) {
  if (cache.free_bytes + buffer.bytes > kMaxCached) {
    buffer.driver->free_staging(buffer.ptr, buffer.bytes);
    g_bytes.fetch_sub(buffer.bytes, std::memory_order_relaxed);
    return;
  }
  cache.free.emplace(buffer.bytes, buffer.ptr);
  cache.free_bytes += buffer.bytes;
}

void collect(Cache& cache) {
  for (auto& [stream, queue] : cache.waiting) {
    while (!queue.empty() && queue.front().event.query()) {
      give(cache, queue.front().buffer);
      queue.pop_front();
    }
  }
}

void drop_free(Cache& cache, Driver& driver) {
  for (auto& [bytes, ptr] : cache.free) {
    driver.free_staging(ptr, bytes);
    g_bytes.fetch_sub(bytes, std::memory_order_relaxed);
  }
  cache.free.clear();
  cache.free_bytes = 0;
}

}  // namespace

StagingBuffer acquire_staging(Driver& driver, size_t bytes) {
  if (bytes == 0) return {nullptr, 0, &driver};
  const size_t size = bytes < (size_t{1} << 62) ? round_up(bytes) : bytes;
  Cache& cache = cache_of(driver);
  std::lock_guard lock(cache.mutex);
  collect(cache);
  auto it = cache.free.lower_bound(size);
  if (it != cache.free.end() && it->first <= 2 * size) {
    StagingBuffer buffer{it->second, it->first, &driver};
    cache.free_bytes -= it->first;
    cache.free.erase(it);
    return buffer;
  }
  void* ptr = driver.alloc_staging(size);
  if (ptr == nullptr) {
    drop_free(cache, driver);
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
    if (stream != nullptr) {
      event = Event(stream->device());
      event.record(*stream);
      event.query();  // throws where a capture recorded it: every replay uses the buffer
    }
    std::lock_guard lock(cache.mutex);
    if (stream != nullptr) {
      cache.waiting[stream].push_back({buffer, std::move(event)});
    } else {
      give(cache, buffer);
    }
    collect(cache);
  } catch (const Error&) {  // a capture or a lost device: never handed out again
  }
}

uint64_t staging_bytes() { return g_bytes.load(std::memory_order_relaxed); }

}  // namespace fabric
