// The event log's ring: see fabric/event_log.h for the design. Every layer writes it, snapshots
// read it.
//
// A slot is one cache line: the marker and seven words; a record's sequence follows from the
// marker. The words are stored with release and loaded with acquire (plain moves on x86): a reader
// that sees a word of a newer record also sees the newer marker, so no fence is needed.
#include "fabric/event_log.h"

#include <algorithm>
#include <ctime>
#include <memory>

#include "fabric/event_tags.h"
#include "log/device_time.h"
#include "log/event_clock.h"

namespace fabric::event_log {

std::atomic<int> g_mode{0};

namespace {

constexpr uint64_t kCapacity = 65536;
// A record younger than this that is not there yet is still being written: the reader stops before
// it.
constexpr uint64_t kInFlight = 1024;

// The device time's word: see event_log.h.
constexpr int kDeltaBits = 44;
constexpr uint64_t kDeltaMask = (uint64_t{1} << kDeltaBits) - 1;

uint64_t lap_tag(uint64_t ticket) { return (ticket / kCapacity) << kDeltaBits; }

constexpr bool runs_on_a_stream(EventKind kind) {
  return kind == EventKind::kOperator || kind == EventKind::kCopy ||
         kind == EventKind::kEventRecord || kind == EventKind::kEventWait ||
         kind == EventKind::kCollectiveLaunch || kind == EventKind::kCollectiveCombine ||
         kind == EventKind::kGraph || kind == EventKind::kStep;
}

struct alignas(64) Slot {
  std::atomic<uint64_t> marker{0};  // 2 * ticket + 1 while written, 2 * ticket + 2 when complete
  std::atomic<uint64_t> words[7];
};
static_assert(sizeof(Slot) == 64);

struct RecordRing {
  alignas(64) std::atomic<uint64_t> head{0};
  alignas(64) const std::unique_ptr<Slot[]> slots{new Slot[kCapacity]};
  EventClock& clock = event_clock();
};

RecordRing& ring() {
  static auto* instance = new RecordRing;  // worker threads log until the process ends
  return *instance;
}

bool load(const Slot& slot, uint64_t ticket, EventRecord& into) {
  if (slot.marker.load(std::memory_order_acquire) != 2 * ticket + 2) return false;
  uint64_t words[7];
  for (int i = 0; i < 7; ++i) words[i] = slot.words[i].load(std::memory_order_acquire);
  if (slot.marker.load(std::memory_order_relaxed) != 2 * ticket + 2) return false;
  into.sequence = ticket + 1;
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

}  // namespace

void set_mode(LogMode mode) {
  ring();  // the ring's memory is taken before the first record, not by it
  if (mode == LogMode::kTiming) start_clocks();
  g_mode.store(static_cast<int>(mode), std::memory_order_relaxed);
}

LogMode mode() { return static_cast<LogMode>(g_mode.load(std::memory_order_relaxed)); }

uint64_t capacity() { return kCapacity; }

uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void append(EventKind kind, uint16_t device, uint16_t stream, uint16_t peer, uint64_t bytes,
            uint64_t id, uint32_t detail, uint64_t extra) {
  RecordRing& log = ring();
  const uint64_t ns = log.clock.now();
  const uint64_t ticket = log.head.fetch_add(1, std::memory_order_relaxed);
  Slot& slot = log.slots[ticket % kCapacity];
  // Claim the slot. One that is still being written by a producer a lap behind, or that a producer
  // a lap ahead has taken, is left alone: this record is lost and readers count it as dropped.
  uint64_t before = slot.marker.load(std::memory_order_relaxed);
  if ((before & 1) != 0 || before > 2 * ticket ||
      !slot.marker.compare_exchange_strong(before, 2 * ticket + 1, std::memory_order_acquire,
                                           std::memory_order_relaxed)) {
    return;
  }
  auto put = [&slot](int i, uint64_t word) {
    slot.words[i].store(word, std::memory_order_release);
  };
  put(0, ns);
  put(1, lap_tag(ticket));
  put(2, bytes);
  put(3, id);
  put(4, static_cast<uint64_t>(kind) | static_cast<uint64_t>(device) << 16 |
             static_cast<uint64_t>(stream) << 32 | static_cast<uint64_t>(peer) << 48);
  put(5, detail | static_cast<uint64_t>(current_tag()) << 32);
  put(6, extra);
  slot.marker.store(2 * ticket + 2, std::memory_order_release);
  if (g_mode.load(std::memory_order_relaxed) == static_cast<int>(LogMode::kTiming) &&
      runs_on_a_stream(kind)) {
    stamp_record(device, stream, ticket + 1, ns);
  }
}

void set_device_time(uint64_t sequence, uint64_t host_ns, uint64_t device_ns) {
  const uint64_t ticket = sequence - 1;
  std::atomic<uint64_t>& word = ring().slots[ticket % kCapacity].words[1];
  uint64_t before = word.load(std::memory_order_relaxed);
  if (before != lap_tag(ticket)) return;  // overwritten since, or known already
  // It was enqueued after its host time, so a clock that says less is a little off.
  const uint64_t delta = device_ns > host_ns ? device_ns - host_ns : 1;
  word.compare_exchange_strong(before, lap_tag(ticket) | std::min(delta, kDeltaMask),
                               std::memory_order_release, std::memory_order_relaxed);
}

void collect_device_times() { collect_stamps(); }

EventSlice follow(uint64_t since, size_t limit, EventRecord* into, size_t* count) {
  RecordRing& log = ring();
  const uint64_t head = log.head.load(std::memory_order_acquire);
  EventSlice slice;
  *count = 0;
  if (since == 0) {
    slice.next_sequence = head + 1;
    return slice;
  }
  uint64_t ticket = since - 1;
  const uint64_t oldest = head > kCapacity ? head - kCapacity : 0;
  if (ticket < oldest) {
    slice.dropped = oldest - ticket;
    ticket = oldest;
  }
  for (; ticket < head && *count < limit; ++ticket) {
    const Slot& slot = log.slots[ticket % kCapacity];
    if (load(slot, ticket, into[*count])) {
      ++*count;
      continue;
    }
    const bool newer = slot.marker.load(std::memory_order_relaxed) > 2 * ticket + 2;
    if (!newer && head - ticket <= kInFlight) break;
    ++slice.dropped;
  }
  slice.next_sequence = ticket + 1;
  return slice;
}

EventSlice read(uint64_t since, size_t limit, EventRecord* into, size_t* count) {
  RecordRing& log = ring();
  EventSlice slice;
  const uint64_t head = log.head.load(std::memory_order_acquire);
  const uint64_t asked = since == 0 ? 0 : since - 1;  // sequences start at 1, tickets at 0
  const uint64_t oldest = head > kCapacity ? head - kCapacity : 0;
  uint64_t begin = asked;
  if (begin < oldest) {
    slice.dropped += oldest - begin;
    begin = oldest;
  }
  if (head > begin && head - begin > limit) {
    slice.skipped = head - limit - begin;
    begin = head - limit;
  }
  size_t found = 0;
  if (into == nullptr && head > begin) slice.events.reserve(static_cast<size_t>(head - begin));
  uint64_t ticket = begin;
  for (; ticket < head; ++ticket) {
    EventRecord record;
    const Slot& slot = log.slots[ticket % kCapacity];
    if (!load(slot, ticket, record)) {
      const bool newer = slot.marker.load(std::memory_order_relaxed) > 2 * ticket + 2;
      if (!newer && head - ticket <= kInFlight) break;
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
  slice.next_sequence = std::max(ticket, asked) + 1;
  if (count != nullptr) *count = found;
  return slice;
}

}  // namespace fabric::event_log
