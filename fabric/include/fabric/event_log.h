// The process-wide event log: every layer writes 64-byte records, snapshots read them.
//
// Design. Each thread that logs owns a ring of 65,536 records (src/log/record_ring.h), which it takes
// with its first record. A record costs its thread the clock and stores to its own lines: no lock, no
// read-modify-write, no line that another writer touches. The numbers that make one log of the rings
// are given by who reads (src/log/record_order.h).
//  - Who writes a slot: the owner of its ring, in the order of tickets 0, 1, 2 ...; ticket % 65,536
//    is the slot. A slot is a seqlock: the marker 2 * ticket + 1, the words, then the marker 2 *
//    ticket + 2 with release. Then the ring's head is stored with release: below it every record is
//    complete, or overwritten by a later one. A record not complete yet ends its ring's window; it
//    comes with the next read.
//  - Who reads a slot: anybody, and accepts it only when the marker before and after the words is
//    the one of the ticket it wants. So no reader sees a torn record, and none holds a writer up.
//  - Who owns a ring: one thread, by its thread-local pointer, until it ends; then the ring with its
//    records waits, under a mutex, for the next new thread, which goes on where it stood. Rings never
//    go: there are as many as threads that logged at one time, and their pages are taken as they are written.
//  - Who numbers: a reader, under the readers' mutex, which no writer takes. It takes what each ring
//    has since the last time, and these records get the next sequences in the order of their host
//    times. So sequences are dense from 1, ascend along a thread, and ascend in time within what one
//    reader numbered. What follows from a record on another thread is not numbered in an earlier
//    collection (record_order.h says how), and not before it as far as the clock tells (1 us between threads).
//  - What is kept: the newest 65,536 sequences, of each thread its newest 65,536 records. The others
//    have sequences too, also those that were overwritten before anybody numbered them (the lowest
//    of their collection), and count as dropped.
//  - What breaks it: more than 4,096 threads that log at one time, or no memory for a ring. Such
//    records are not kept; they take a sequence and count as dropped.
//
// Device times (mode `timing`). A record tells when its stream had done what it names; that is
// known later. After append() wrote the record, it asks the device's driver for a stamp
// (src/log/device_time.h, Driver::stamp), and the driver calls set_device_time() with the record's
// handle when the stream has got there: the host driver from the stream's own thread, the cuda driver
// from whoever collects finished stamps (a later stamp, or a snapshot by collect_device_times()). A
// handle names ring and ticket, so it needs no sequence, and the time is found whenever the record is
// read afterwards. It lies in one word of the slot, as 20 bits of the ticket's lap around the ring and
// 44 bits of nanoseconds since the record's host time (0: not known; at most 4.8 hours).
//  - Who writes the word: the ring's owner, with the lap and 0, while the marker is odd; afterwards
//    set_device_time(), by compare-and-swap from a word of the same lap. So a late stamp never lands
//    in a newer record: the newer lap is in the word already, or replaces it.
//  - Readers take the word whatever the marker did meanwhile and ignore a lap that is not theirs.
//  - What breaks it: a stamp that comes 2^20 laps (7e10 records of a thread) late.
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

/// A record's place. Those of a thread's records ascend by one.
using RecordHandle = uint64_t;
inline constexpr RecordHandle kNoRecord = ~RecordHandle{0};

/// One record as it is read and lies in a snapshot. Little endian, 64 bytes.
struct EventRecord {
  uint64_t sequence;   ///< dense, from 1
  uint64_t host_ns;    ///< steady clock, host, when it was enqueued; along a thread it ascends
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
/// Numbers what has come, and gives records `since` <= sequence, at most `limit`: the newest ones when more are there, and `skipped`
/// counts the others (a larger limit gives them as long as they are not overwritten). `into` may be
/// nullptr (then events go to the returned vector) or room for `limit` records (then they go there
/// and `events` stays empty, `*count` tells how many).
EventSlice read(uint64_t since, size_t limit, EventRecord* into = nullptr, size_t* count = nullptr);
/// As read(), but the oldest `limit` records: for a reader that comes back for the rest. `skipped`
/// is 0; `since` 0 gives none and tells the next sequence.
EventSlice follow(uint64_t since, size_t limit, EventRecord* into, size_t* count);
/// How many of the newest sequences are kept, and how many records of each thread.
uint64_t capacity();
/// Nanoseconds of the steady clock, as in EventRecord::host_ns.
uint64_t now_ns();

/// The record, whose host time is `host_ns`, was done at `device_ns`; no effect when it was
/// overwritten. Drivers call it from any thread, once a record.
void set_device_time(RecordHandle record, uint64_t host_ns, uint64_t device_ns);
/// Lets the drivers write the device times that are known by now. Waits for nothing.
void collect_device_times();

/// Returns the record's handle; kNoRecord where it could not be kept.
RecordHandle append(EventKind kind, uint16_t device, uint16_t stream, uint16_t peer, uint64_t bytes,
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
