// The host driver's devices, memory, streams and work: see host/host_driver.h. Events and graphs
// are in host_driver_events.cc.
#include "host/host_driver.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "fabric/error.h"
#include "fabric/fabric.h"
#include "fabric/host_queue.h"
#include "host/fault_state.h"
#include "host/wait_clock.h"
#include "runtime/gate_watch.h"

namespace fabric::host {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr int64_t kCopyGrain = int64_t{4} << 20;

uint64_t physical_bytes() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
}

std::string processor_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const auto colon = line.find(':');
    if (colon != std::string::npos && colon + 2 < line.size()) return line.substr(colon + 2);
  }
  return "processor";
}

void check_ordinal(int ordinal) {
  if (ordinal < 0 || ordinal >= kMaxHostDevices) {
    fail(ErrorCode::kDevice, "there is no host device %d; there are host:0 to host:%d", ordinal,
         kMaxHostDevices - 1);
  }
}

}  // namespace

HostDriver::HostDriver() : total_bytes_(physical_bytes()) {}

int HostDriver::device_count() const { return kMaxHostDevices; }

DeviceProperties HostDriver::properties(int ordinal) const {
  check_ordinal(ordinal);
  static const auto* model = new std::string(processor_model());
  DeviceProperties properties;
  properties.model = *model;
  properties.total_bytes = total_bytes_;
  properties.multiprocessors = compute_threads();
  properties.uuid = "host-" + std::to_string(ordinal);
  return properties;
}

// Counted, so that running out is an answer by value here and not the end of the process.
void* HostDriver::take_memory(size_t bytes, size_t alignment) {
  const uint64_t before = used_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  void* ptr = nullptr;
  if (bytes > total_bytes_ || before > total_bytes_ - bytes ||
      posix_memalign(&ptr, alignment, bytes) != 0) {
    used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return nullptr;
  }
  if (alignment >= kHugePage) madvise(ptr, bytes, MADV_HUGEPAGE);
  return ptr;
}

void HostDriver::give_memory(void* ptr, size_t bytes) {
  if (ptr == nullptr) return;
  std::free(ptr);
  used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

void* HostDriver::alloc(int ordinal, size_t bytes) {
  check_ordinal(ordinal);
  if (take_allocation_fault(ordinal)) return nullptr;
  return take_memory(bytes, bytes >= kHugePage ? kHugePage : 512);
}

void HostDriver::free(int ordinal, void* ptr, size_t bytes) {
  check_ordinal(ordinal);
  give_memory(ptr, bytes);
}

void* HostDriver::alloc_staging(size_t bytes) {
  return take_staging_fault() ? nullptr : take_memory(bytes, 4096);
}
void HostDriver::free_staging(void* ptr, size_t bytes) { give_memory(ptr, bytes); }

StreamHandle HostDriver::create_stream(int ordinal, StreamPurpose purpose, int priority) {
  check_ordinal(ordinal);
  auto queue = std::make_shared<Queue>(ordinal);
  Queue* handle = queue.get();
  std::lock_guard lock(mutex_);
  queues_.emplace(handle, std::move(queue));
  return handle;
}

void HostDriver::destroy_stream(StreamHandle stream) {
  std::shared_ptr<Queue> queue;
  {
    std::lock_guard lock(mutex_);
    auto it = queues_.find(static_cast<Queue*>(stream));
    if (it == queues_.end()) return;
    queue = std::move(it->second);
    queues_.erase(it);
  }
  queue->close();  // the worker holds its own reference and leaves once the queue is empty
}

bool HostDriver::query_stream(StreamHandle stream) {
  check_poison();  // a lost CUDA context answers no query either
  return static_cast<Queue*>(stream)->idle();
}

bool HostDriver::synchronize_stream(StreamHandle stream, int64_t timeout_ms) {
  auto* queue = static_cast<Queue*>(stream);
  if (queue->capturing()) {
    fail(ErrorCode::kUsage, "host:%d: a stream cannot be synchronised while it is being captured",
         queue->ordinal());
  }
  return queue->wait_until(queue->published(), deadline_in_ms(timeout_ms));
}

void HostDriver::copy(void* dst, int dst_ordinal, const void* src, int src_ordinal, size_t bytes,
                      StreamHandle stream) {
  if (dst_ordinal != kHostMemory) check_ordinal(dst_ordinal);
  if (src_ordinal != kHostMemory) check_ordinal(src_ordinal);
  if (dst_ordinal != kHostMemory && src_ordinal != kHostMemory && dst_ordinal != src_ordinal &&
      !peer_allowed(src_ordinal, dst_ordinal)) {
    fail(ErrorCode::kPeerAccess,
         "host:%d and host:%d cannot reach each other's memory; copy through staging memory",
         src_ordinal, dst_ordinal);
  }
  if (bytes == 0 || dst == src) return;
  const int owner = static_cast<Queue*>(stream)->ordinal();
  if (take_copy_fault(owner)) {
    fail(ErrorCode::kPeerAccess, "host:%d: this copy fails by an injected fault", owner);
  }
  const int other = dst_ordinal == owner ? src_ordinal : dst_ordinal;
  enqueue(stream, [dst, src, bytes, owner, other] {
    parallel_for(static_cast<int64_t>(bytes), kCopyGrain, [&](int64_t begin, int64_t end) {
      std::memcpy(static_cast<char*>(dst) + begin, static_cast<const char*>(src) + begin,
                  static_cast<size_t>(end - begin));
    });
    cross_pair(owner, other, dst, bytes);
  });
}

void HostDriver::fill(void* dst, int ordinal, int byte, size_t bytes, StreamHandle stream) {
  check_ordinal(ordinal);
  if (bytes == 0) return;
  enqueue(stream, [dst, byte, bytes] {
    parallel_for(static_cast<int64_t>(bytes), kCopyGrain, [&](int64_t begin, int64_t end) {
      std::memset(static_cast<char*>(dst) + begin, byte, static_cast<size_t>(end - begin));
    });
  });
}

void HostDriver::combine(void* dst, const void* a, const void* b, size_t count, DType dtype,
                         ReduceOp op, double scale, int ordinal, StreamHandle stream) {
  check_ordinal(ordinal);
  if (count == 0) return;
  enqueue(stream, [=] { combine_now(dst, a, b, count, dtype, op, scale); });
}

void HostDriver::notify(StreamHandle stream, std::function<void()> fn) {
  auto* queue = static_cast<Queue*>(stream);
  if (queue->capturing()) {
    fail(ErrorCode::kUsage, "host:%d: a captured stream cannot notify the host", queue->ordinal());
  }
  queue->push(std::move(fn));  // past a capture that begins now: not once a replay
}

void HostDriver::hold(StreamHandle stream, std::shared_ptr<Gate> gate) {
  enqueue(stream, [gate] {
    // Its owner opens it within kGateLimit (runtime/gate_watch.h); this bound is for a gate of somebody
    // else.
    if (!gate->wait(2 * kGateLimit)) poison("a host stream waited 20 minutes at a gate");
  });
}

bool HostDriver::can_access_peer(int from, int to) {
  check_ordinal(from);
  check_ordinal(to);
  return from == to || peer_allowed(from, to);
}

void HostDriver::enable_peer(int from, int to) {
  if (!can_access_peer(from, to)) {
    fail(ErrorCode::kPeerAccess, "host:%d cannot reach the memory of host:%d", from, to);
  }
}

double HostDriver::measured_gbps(int from, int to) { return 0; }

bool HostDriver::stop(int64_t timeout_ms) {
  std::vector<std::shared_ptr<Queue>> queues;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [handle, queue] : queues_) queues.push_back(queue);
  }
  const int64_t deadline = deadline_in_ms(timeout_ms);
  bool all = true;
  for (const auto& queue : queues) all = queue->stop(deadline) && all;
  return all;
}

}  // namespace fabric::host
