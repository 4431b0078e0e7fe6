// How a packed snapshot lies in memory and on disk: little endian, versioned, a header, section
// entries, then the sections. snapshot.cc fills it, src/fabric/snapshot.ts decodes it.
// Text is (offset, length) into the strings section. Append only: files stay readable.
#pragma once

#include <cstdint>

#include "fabric/allocator.h"

namespace weft::binding::snapshot_layout {

constexpr uint32_t kMagic = 0x50534657;  // "WFSP"
// 2: links tell lanes, nominal GB/s and what lies between. 3: groups with their open calls, graphs,
// algorithms, poison, counters of the paths taken. 4: tags by the number in records, less 1; memory
// by pool; tests of pairs.
constexpr uint32_t kVersion = 4;
enum SectionKind : uint32_t {
  kStrings = 1,
  kDevices,
  kLinks,
  kStreams,
  kMemory,
  kCounters,
  kEvents,
  // From version 3 on.
  kGroups,
  kSeats,
  kCalls,
  kArrivals,
  kGraphs,
  kAlgorithms,
  kPoison,
  // From version 4 on.
  kTags,
  kOperators,  // of plugins
  kPools,
  kProbes,
  kLastSection = kProbes
};
constexpr uint32_t kSections = kLastSection;

struct Header {
  uint32_t magic, version, bytes, sections;
  uint64_t taken_ns;  // steady clock, as in EventRecord::host_ns
  double taken_unix_ms;
  uint64_t next_sequence;
  uint64_t dropped;
  uint64_t capacity;
  uint32_t log_mode;
  uint32_t skipped;  // 0 in files of earlier versions of weft
};
struct Section {
  uint32_t kind, count, offset, bytes;
};
struct Text {
  uint32_t offset, length;
};
struct DeviceRow {
  uint16_t index, kind;
  int32_t ordinal, virtual_index, multiprocessors;
  uint64_t total_bytes;
  Text name, model, uuid, pci;
  uint16_t capability_major, capability_minor;
  uint32_t reserved;
};
struct LinkRow {
  uint16_t from, to;
  uint32_t peer_access;
  double gbps;
  Text kind;
  // From version 2 on.
  double nominal_gbps;
  Text through;
  uint32_t lanes, reserved;
};
struct StreamRow {
  uint16_t device, id;
  uint8_t purpose, idle;
  uint16_t reserved;
};
struct MemoryRow {
  uint64_t device, tensors, tensor_bytes;
  fabric::AllocatorStats stats;
};
struct CounterRow {
  Text name;
  double value;
};
/// `first_…` and `…s`: rows of the section named.
struct GroupRow {
  uint32_t id, ranks;
  Text name, aborted;
  uint64_t calls, bytes, desyncs, timeouts, aborts;
  uint32_t first_seat, reserved;
};
struct SeatRow {
  uint32_t device, last_kind;
  uint64_t calls, last_ns;
};
struct CallRow {
  uint32_t group, state;
  uint64_t sequence, since_ns, launched_ns, deadline_ns;
  uint32_t first_arrival, arrivals;  // one a rank
};
struct ArrivalRow {
  uint64_t arrived_ns;  // 0: it has not come
  uint64_t count;
  uint8_t kind, op, dtype, done;
  int32_t root;
};
struct GraphRow {
  uint32_t id, reserved;
  uint64_t launches;
  Text devices;  // indices, separated by spaces
};
struct AlgorithmRow {
  Text name;
  uint64_t calls, bytes;
};
struct OperatorRow {
  uint32_t id, reserved;
  Text name;
};
static_assert(sizeof(OperatorRow) == 16 && sizeof(Text) == 8);
struct PoolRow {
  uint16_t device;
  uint8_t small, reserved;
  uint32_t pool, segments, reserved_too;
  uint64_t reserved_bytes, free_bytes;
};
/// GB/s one way, GB/s both ways, microseconds of latency.
struct ProbeRow {
  uint16_t from, to;
  uint8_t copy_state, kernel_state;
  uint16_t reserved;
  Text reason;
  double copy[3], kernel[3];
};
static_assert(sizeof(PoolRow) == 32 && sizeof(ProbeRow) == 64);
static_assert(sizeof(GroupRow) == 72 && sizeof(SeatRow) == 24 && sizeof(CallRow) == 48);
static_assert(sizeof(ArrivalRow) == 24 && sizeof(GraphRow) == 24 && sizeof(AlgorithmRow) == 24);
static_assert(sizeof(Header) == 64 && sizeof(DeviceRow) == 64 && sizeof(LinkRow) == 48);
static_assert(sizeof(StreamRow) == 8 && sizeof(MemoryRow) == 144 && sizeof(CounterRow) == 16);

}  // namespace weft::binding::snapshot_layout
