// The process-wide event log: a ring of 64-byte records that every layer writes and snapshots read.
//
// Design. Producers take a ticket by one relaxed fetch_add on the head and own slot ticket %
// capacity. A slot is a seqlock: the producer claims it by a compare-and-swap of the marker to an
// odd value, stores the words, then the even marker (2 * ticket + 2) with release; a reader accepts
// a slot only when the marker it reads before and after the words is the one of the ticket it
// wants. So producers never block and never lock, a slot overwritten meanwhile is skipped and
// counted as dropped, and a reader never sees a torn record.
//  - What breaks it: a producer stalled for a whole lap of the ring between its two marker stores.
//    The producer a lap later finds the odd marker and gives its own record up, which readers count
//    as dropped; nobody writes a slot together with another.
//  - A record whose ticket is taken but which is not complete yet ends a reader's window; it comes
//    with the next read.
//
// Device times (mode `timing`). A record tells when its stream had done what it names; that is
// known later. After append() wrote the record, it asks the device's driver for a stamp
// (src/log/device_time.h, Driver::stamp), and the driver calls set_device_time() with the sequence when
// the stream has got there: the host driver from the stream's own thread, the cuda driver from
// whoever collects finished stamps (a later stamp, or a snapshot by collect_device_times()). The
// time lies in one word of the slot, as 20 bits of the ticket's lap around the ring and 44 bits of
// nanoseconds since the record's host time (0: not known; at most 4.8 hours).
//  - Who writes the word: the slot's producer, with the lap and 0, while it holds the odd marker;
//    afterwards set_device_time(), by compare-and-swap from a word of the same lap. So a late stamp
//    never lands in a newer record: the newer lap is in the word already, or replaces it.
//  - Readers take the word whatever the marker did meanwhile and ignore a lap that is not theirs.
//  - What breaks it: a stamp that comes 2^20 laps (7e10 records) late.
//  - Which kinds: operator, copy, event_record, event_wait, collective_launch, collective_combine,
//    graph, step. Others name nothing that runs on a stream. Work that is captured into a graph gets none:
//    it has not run.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace fabric {

enum class EventKind : uint16_t {
#define WEFT_EVENT(enumerator, name) enumerator,
#include "fabric/event_kinds.def"
#undef WEFT_EVENT
};

enum class LogMode : int { kOff = 0, kBasic = 1, kTiming = 2 };

inline constexpr uint16_t kNoDevice = 0xffff;

/// One record as it lies in the ring and in a snapshot. Little endian, 64 bytes.
struct EventRecord {
  uint64_t sequence;   ///< dense, from 1
  uint64_t host_ns;    ///< steady clock, host, when it was enqueued
  uint64_t device_ns;  ///< steady clock, when its stream had done it; 0: not (yet) known
  uint64_t bytes;
  uint64_t id;  ///< tensor handle, collective sequence, or operator id by kind
  uint16_t kind;
  uint16_t device;  ///< fabric device index or kNoDevice
  uint16_t stream;  ///< stream id within the device
  uint16_t peer;    ///< other device index or kNoDevice
  uint32_t detail;  ///< kind specific: operator id, error code, collective kind
  uint32_t tag;     ///< of the thread that logged it: fabric/event_tags.h; 0: none
  uint64_t extra;   ///< kind specific: duration in ns where known; of an operator its cost
                    ///< (native/dispatch/operator_costs.h)
};
static_assert(sizeof(EventRecord) == 64);

struct EventSlice {
  std::vector<EventRecord> events;  ///< ascending sequence
  uint64_t dropped = 0;             ///< records in the asked range that were overwritten
  uint64_t skipped = 0;        ///< records in the asked range that `limit` left out; still there
  uint64_t next_sequence = 1;  ///< ask for this `since` next time
};

namespace event_log {

extern std::atomic<int> g_mode;  // read by log(); one predictable branch when off

/// kTiming also sets the clocks of the open devices, some ms on a GPU.
void set_mode(LogMode mode);
LogMode mode();
/// Records `since` <= sequence, at most `limit`: the newest ones when more are there, and `skipped`
/// counts the others (a larger limit gives them as long as they are not overwritten). `into` may be
/// nullptr (then events go to the returned vector) or room for `limit` records (then they go there
/// and `events` stays empty, `*count` tells how many).
EventSlice read(uint64_t since, size_t limit, EventRecord* into = nullptr, size_t* count = nullptr);
/// As read(), but the oldest `limit` records: for a reader that comes back for the rest. `skipped`
/// is 0; `since` 0 gives none and tells the next sequence.
EventSlice follow(uint64_t since, size_t limit, EventRecord* into, size_t* count);
uint64_t capacity();
/// Nanoseconds of the steady clock, as in EventRecord::host_ns.
uint64_t now_ns();

/// The record `sequence`, whose host time is `host_ns`, was done at `device_ns`; no effect when it
/// was overwritten. Drivers call it from any thread, once a record.
void set_device_time(uint64_t sequence, uint64_t host_ns, uint64_t device_ns);
/// Lets the drivers write the device times that are known by now. Waits for nothing.
void collect_device_times();

void append(EventKind kind, uint16_t device, uint16_t stream, uint16_t peer, uint64_t bytes,
            uint64_t id, uint32_t detail, uint64_t extra);

/// Logs one event: off, one branch; basic, under 50 ns. In mode timing a record of work is logged
/// right after the work was enqueued on `stream`, and not while a lock of the driver is held.
inline void log(EventKind kind, uint16_t device, uint16_t stream, uint16_t peer, uint64_t bytes,
                uint64_t id, uint32_t detail = 0, uint64_t extra = 0) {
  if (g_mode.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    append(kind, device, stream, peer, bytes, id, detail, extra);
  }
}

}  // namespace event_log
}  // namespace fabric
