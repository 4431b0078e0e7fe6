// The rings of all threads, and who owns which: see log/record_ring.h.
#include "log/record_ring.h"

#include <sys/mman.h>

#include <array>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "log/event_clock.h"

namespace fabric::event_log {
namespace detail {
constinit thread_local Ring* t_ring = nullptr;
}

namespace {

/// Threads that log at one time, at most. A ring's pages are taken as they are written.
constexpr uint64_t kMostRings = 4096;

struct Rings {
  std::array<std::atomic<Ring*>, kMostRings> all{};
  std::atomic<uint64_t> count{0};  // released after the pointer
  std::atomic<uint64_t> unkept{0};
  std::mutex mutex;  // guards what follows, and who adds a ring
  std::vector<Ring*> idle;
};

Rings& rings() {
  static auto* instance = new Rings;  // worker threads log until the process ends
  return *instance;
}

Ring* make_ring(uint64_t index) {
  void* pages = mmap(nullptr, kRingRecords * sizeof(Slot), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  auto* ring = new (std::nothrow) Ring;
  if (ring == nullptr) {
    munmap(pages, kRingRecords * sizeof(Slot));
    return nullptr;
  }
  ring->slots = static_cast<Slot*>(pages);
  ring->clock = &event_clock();
  ring->index = index;
  return ring;
}

void give_back() {
  Ring* ring = std::exchange(detail::t_ring, nullptr);
  if (ring == nullptr) return;
  Rings& owners = rings();
  std::lock_guard lock(owners.mutex);
  owners.idle.push_back(ring);  // has room: see take_ring()
}

constinit thread_local bool t_ending = false;

struct ThreadEnd {
  ~ThreadEnd() {
    t_ending = true;
    give_back();
  }
};

}  // namespace

Ring* take_ring() {
  if (!t_ending) {
    static thread_local ThreadEnd end;  // its destructor gives the ring back
    static_cast<void>(end);
  }
  Rings& owners = rings();
  std::lock_guard lock(owners.mutex);
  if (!owners.idle.empty()) {
    detail::t_ring = owners.idle.back();
    owners.idle.pop_back();
    return detail::t_ring;
  }
  const uint64_t index = owners.count.load(std::memory_order_relaxed);
  if (index == kMostRings) return nullptr;
  try {
    owners.idle.reserve(index + 1);  // so that giving back needs no memory
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  Ring* ring = make_ring(index);
  if (ring == nullptr) return nullptr;
  owners.all[index].store(ring, std::memory_order_relaxed);
  owners.count.store(index + 1, std::memory_order_release);
  return detail::t_ring = ring;
}

void release_ring_of_ending_thread() {
  if (t_ending) give_back();
}

uint64_t ring_count() { return rings().count.load(std::memory_order_acquire); }

Ring& ring_at(uint64_t index) { return *rings().all[index].load(std::memory_order_relaxed); }

void count_unkept() { rings().unkept.fetch_add(1, std::memory_order_relaxed); }

uint64_t take_unkept() {
  std::atomic<uint64_t>& unkept = rings().unkept;
  if (unkept.load(std::memory_order_relaxed) == 0) return 0;
  return unkept.exchange(0, std::memory_order_relaxed);
}

bool Ring::load(uint64_t ticket, EventRecord& into) const {
  Slot& from = slot(ticket);
  const uint64_t complete = 2 * ticket + 2;
  if (shared(from.marker).load(std::memory_order_acquire) != complete) return false;
  uint64_t words[7];
  for (int i = 0; i < 7; ++i) words[i] = shared(from.words[i]).load(std::memory_order_acquire);
  if (shared(from.marker).load(std::memory_order_relaxed) != complete) return false;
  into.host_ns = words[0];
  const uint64_t delta = words[1] & kDeltaMask;
  const bool known = delta != 0 && words[1] - delta == lap_tag(ticket);
  into.device_ns = known ? words[0] + delta : 0;
  into.bytes = words[2];
  into.id = words[3];
  into.kind = static_cast<uint16_t>(words[4]);
  into.device = static_cast<uint16_t>(words[4] >> 16);
  into.stream = static_cast<uint16_t>(words[4] >> 32);
  into.peer = static_cast<uint16_t>(words[4] >> 48);
  into.detail = static_cast<uint32_t>(words[5]);
  into.tag = static_cast<uint32_t>(words[5] >> 32);
  into.extra = words[6];
  return true;
}

bool Ring::load_time(uint64_t ticket, uint64_t& host_ns) const {
  Slot& from = slot(ticket);
  const uint64_t complete = 2 * ticket + 2;
  if (shared(from.marker).load(std::memory_order_acquire) != complete) return false;
  host_ns = shared(from.words[0]).load(std::memory_order_acquire);
  return shared(from.marker).load(std::memory_order_relaxed) == complete;
}

}  // namespace fabric::event_log
