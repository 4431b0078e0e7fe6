// A thread's ring of log records: one thread writes it, anybody reads it. log/event_log.cc appends
// through own_ring(), log/record_order.cc reads every ring. The design: fabric/event_log.h.
//
// A slot is one cache line: the marker and seven words. The words are stored with release and
// loaded with acquire (plain moves on x86): a reader that sees a word of a newer record also sees
// the newer marker, so no fence is needed.
#pragma once

#include <atomic>
#include <cstdint>

#include "fabric/event_log.h"

namespace fabric::event_log {

class EventClock;

inline constexpr uint64_t kRingRecords = 65536;

/// As it lies in pages that begin as zeros; each word is reached as an atomic.
struct alignas(64) Slot {
  uint64_t marker;  // 2 * ticket + 1 while written, 2 * ticket + 2 when complete
  uint64_t words[7];
};
static_assert(sizeof(Slot) == 64);

inline std::atomic_ref<uint64_t> shared(uint64_t& word) { return std::atomic_ref<uint64_t>(word); }

/// What a handle is made of: `ring << 48 | ticket`.
inline constexpr int kTicketBits = 48;
constexpr RecordHandle make_handle(uint64_t ring, uint64_t ticket) {
  return ring << kTicketBits | ticket;
}
constexpr uint64_t ring_of(RecordHandle handle) { return handle >> kTicketBits; }
constexpr uint64_t ticket_of(RecordHandle handle) {
  return handle & ((uint64_t{1} << kTicketBits) - 1);
}

// The device time's word: see event_log.h.
inline constexpr int kDeltaBits = 44;
inline constexpr uint64_t kDeltaMask = (uint64_t{1} << kDeltaBits) - 1;
constexpr uint64_t lap_tag(uint64_t ticket) { return (ticket / kRingRecords) << kDeltaBits; }

/// Two lines, which lie apart: the writer's and the readers'.
struct alignas(128) Ring {
  // Written by the owner alone.
  std::atomic<uint64_t> head{0};  ///< tickets below it are complete, or overwritten
  uint64_t last_ns = 0;           ///< the newest record's host time
  Slot* slots = nullptr;
  EventClock* clock = nullptr;
  uint64_t index = 0;
  // Under the readers' mutex (log/record_order.h).
  alignas(128) uint64_t collected = 0;  ///< tickets below it have their sequence

  Slot& slot(uint64_t ticket) const { return slots[ticket % kRingRecords]; }
  /// The record `ticket`, which is below `head`; false: it was overwritten. Leaves `sequence`.
  bool load(uint64_t ticket, EventRecord& into) const;
  /// Its host time alone.
  bool load_time(uint64_t ticket, uint64_t& host_ns) const;
};

/// How many rings there are; they never go.
uint64_t ring_count();
/// Ring `index` < ring_count().
Ring& ring_at(uint64_t index);

namespace detail {
extern constinit thread_local Ring* t_ring;
}

/// The calling thread's ring, or nullptr: take_ring() gives one.
inline Ring* own_ring() { return detail::t_ring; }
/// Gives the calling thread a ring, for as long as it lives: one that an ended thread left, else a new one.
/// nullptr: there is no memory, or kMostRings threads log.
Ring* take_ring();
/// After a record of a thread that is at its end, whose ring nobody would give back later.
void release_ring_of_ending_thread();

/// A record is lost for want of a ring: it takes a sequence and counts as dropped.
void count_unkept();
/// How many were since the last call.
uint64_t take_unkept();

}  // namespace fabric::event_log
