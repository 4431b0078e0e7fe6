// The event log's calls: append() writes the calling thread's ring (log/record_ring.h), read() and
// follow() number what has come and copy it out (log/record_order.h). The design: fabric/event_log.h.
#include "fabric/event_log.h"

#include <algorithm>
#include <ctime>
#include <mutex>

#include "fabric/event_tags.h"
#include "log/device_time.h"
#include "log/event_clock.h"
#include "log/record_order.h"
#include "log/record_ring.h"

namespace fabric::event_log {

std::atomic<int> g_mode{0};

namespace {

constexpr bool runs_on_a_stream(EventKind kind) {
  return kind == EventKind::kOperator || kind == EventKind::kCopy ||
         kind == EventKind::kEventRecord || kind == EventKind::kEventWait ||
         kind == EventKind::kCollectiveLaunch || kind == EventKind::kCollectiveCombine ||
         kind == EventKind::kGraph || kind == EventKind::kStep;
}

RecordOrder& order() {
  static auto* instance = new RecordOrder;  // worker threads log until the process ends
  return *instance;
}

/// What every kind has in a record, as its words.
struct Words {
  uint64_t bytes, id, place, extra;
  uint32_t detail;
};

struct Written {
  RecordHandle handle;
  uint64_t host_ns;
};

// The owner alone writes a ring: no claim, and no line that another writer touches.
inline Written write(Ring& ring, const Words& record) {
  const uint64_t ns = std::max(ring.clock->now(), ring.last_ns);
  ring.last_ns = ns;
  const uint64_t ticket = ring.head.load(std::memory_order_relaxed);
  Slot& slot = ring.slot(ticket);
  shared(slot.marker).store(2 * ticket + 1, std::memory_order_relaxed);
  auto put = [&slot](int i, uint64_t word) {
    shared(slot.words[i]).store(word, std::memory_order_release);
  };
  put(0, ns);
  put(1, lap_tag(ticket));
  put(2, record.bytes);
  put(3, record.id);
  put(4, record.place);
  put(5, record.detail | static_cast<uint64_t>(current_tag()) << 32);
  put(6, record.extra);
  shared(slot.marker).store(2 * ticket + 2, std::memory_order_release);
  ring.head.store(ticket + 1, std::memory_order_release);
  return {make_handle(ring.index, ticket), ns};
}

}  // namespace

void set_mode(LogMode mode) {
  if (mode == LogMode::kTiming) start_clocks();
  g_mode.store(static_cast<int>(mode), std::memory_order_relaxed);
}

LogMode mode() { return static_cast<LogMode>(g_mode.load(std::memory_order_relaxed)); }

uint64_t capacity() { return kRingRecords; }

uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

RecordHandle append(EventKind kind, uint16_t device, uint16_t stream, uint16_t peer, uint64_t bytes,
                    uint64_t id, uint32_t detail, uint64_t extra) {
  const uint64_t place = static_cast<uint64_t>(kind) | static_cast<uint64_t>(device) << 16 |
                         static_cast<uint64_t>(stream) << 32 | static_cast<uint64_t>(peer) << 48;
  const Words record{bytes, id, place, extra, detail};
  Written written;
  if (Ring* ring = own_ring(); ring != nullptr) [[likely]] {
    written = write(*ring, record);
  } else if (ring = take_ring(); ring != nullptr) {
    written = write(*ring, record);
    release_ring_of_ending_thread();
  } else {
    count_unkept();
    return kNoRecord;
  }
  if (g_mode.load(std::memory_order_relaxed) == static_cast<int>(LogMode::kTiming) &&
      runs_on_a_stream(kind)) {
    stamp_record(device, stream, written.handle, written.host_ns);
  }
  return written.handle;
}

void set_device_time(RecordHandle record, uint64_t host_ns, uint64_t device_ns) {
  if (record == kNoRecord) return;
  const uint64_t ticket = ticket_of(record);
  std::atomic_ref word = shared(ring_at(ring_of(record)).slot(ticket).words[1]);
  uint64_t before = word.load(std::memory_order_relaxed);
  if (before != lap_tag(ticket)) return;  // overwritten since, or known already
  // It was enqueued after its host time, so a clock that says less is a little off.
  const uint64_t delta = device_ns > host_ns ? device_ns - host_ns : 1;
  word.compare_exchange_strong(before, lap_tag(ticket) | std::min(delta, kDeltaMask),
                               std::memory_order_release, std::memory_order_relaxed);
}

void collect_device_times() { collect_stamps(); }

EventSlice follow(uint64_t since, size_t limit, EventRecord* into, size_t* count) {
  RecordOrder& log = order();
  std::lock_guard lock(log.mutex);
  const uint64_t next = log.collect();
  EventSlice slice;
  *count = 0;
  slice.next_sequence = next;
  if (since == 0) return slice;
  uint64_t sequence = since;
  if (sequence < log.oldest()) {
    slice.dropped = log.oldest() - sequence;
    sequence = log.oldest();
  }
  if (sequence < next) log.settle(sequence);
  for (; sequence < next && *count < limit; ++sequence) {
    if (log.load(sequence, into[*count])) {
      ++*count;
    } else {
      ++slice.dropped;
    }
  }
  slice.next_sequence = sequence;
  return slice;
}

EventSlice read(uint64_t since, size_t limit, EventRecord* into, size_t* count) {
  RecordOrder& log = order();
  std::lock_guard lock(log.mutex);
  const uint64_t next = log.collect();
  EventSlice slice;
  const uint64_t asked = std::max<uint64_t>(since, 1);
  uint64_t begin = asked;
  if (begin < log.oldest()) {
    slice.dropped = log.oldest() - begin;
    begin = log.oldest();
  }
  if (next > begin && next - begin > limit) {
    slice.skipped = next - limit - begin;
    begin = next - limit;
  }
  size_t found = 0;
  if (begin < next) {
    log.settle(begin);
    if (into == nullptr) slice.events.reserve(static_cast<size_t>(next - begin));
  }
  for (uint64_t sequence = begin; sequence < next; ++sequence) {
    EventRecord record;
    if (!log.load(sequence, record)) {
      ++slice.dropped;
      continue;
    }
    if (into != nullptr) {
      into[found] = record;
    } else {
      slice.events.push_back(record);
    }
    ++found;
  }
  slice.next_sequence = std::max(next, asked);
  if (count != nullptr) *count = found;
  return slice;
}

}  // namespace fabric::event_log
