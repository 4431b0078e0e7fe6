// Memory of devices: counts, allocator statistics, the block snapshot, limits.
// src/fabric/memory.ts and memory-snapshot.ts call these.
#include <cstring>

#include "binding/completion.h"
#include "binding/entry.h"
#include "fabric/allocator.h"

namespace weft::binding {
namespace {

napi_value memory_stats(Frame& f) {
  Device& device = f.device(0);
  TensorCounts counts = tensor_counts(device);
  fabric::AllocatorStats s = device.allocator().stats();
  const uint64_t values[] = {
      static_cast<uint64_t>(counts.tensors),
      static_cast<uint64_t>(counts.bytes),
      s.allocated_bytes,
      s.requested_bytes,
      s.reserved_bytes,
      s.peak_allocated_bytes,
      s.peak_reserved_bytes,
      s.pending_bytes,
      s.live_blocks,
      s.allocations,
      s.cache_hits,
      s.segments,
      s.segment_allocations,
      s.splits,
      s.merges,
      s.retries,
      s.out_of_memory,
  };
  double* w = f.words();
  size_t n = 0;
  for (uint64_t v : values) w[n++] = static_cast<double>(v);
  return make_number(f.env, static_cast<double>(n));
}

napi_value live_handles(Frame& f) {
  return make_number(f.env, static_cast<double>(handles::live()));
}

// The packed block snapshot, little endian; src/fabric/memory-snapshot.ts decodes it.
constexpr uint32_t kMemoryMagic = 0x534d4657;  // "WFMS"
constexpr uint32_t kMemoryVersion = 1;
struct PackedHeader {
  uint32_t magic, version, segments, blocks;
};
struct PackedSegment {
  uint64_t address, bytes;
  uint32_t pool, first_block, block_count, reserved;
};
struct PackedBlock {
  uint64_t address, bytes, requested, age_ns;
  uint32_t tag;
  uint16_t stream;
  uint8_t state, reserved;
};
static_assert(sizeof(PackedSegment) == 32 && sizeof(PackedBlock) == 40);

napi_value memory_snapshot(Frame& f) {
  std::vector<fabric::SegmentInfo> segments = f.device(0).allocator().snapshot();
  size_t blocks = 0;
  for (const auto& segment : segments) blocks += segment.blocks.size();
  size_t bytes =
      sizeof(PackedHeader) + segments.size() * sizeof(PackedSegment) + blocks * sizeof(PackedBlock);
  void* data = nullptr;
  napi_value buffer = make_buffer(f.env, bytes, &data);
  auto* header = static_cast<PackedHeader*>(data);
  *header = {kMemoryMagic, kMemoryVersion, static_cast<uint32_t>(segments.size()),
             static_cast<uint32_t>(blocks)};
  auto* segment_out = reinterpret_cast<PackedSegment*>(header + 1);
  auto* block_out = reinterpret_cast<PackedBlock*>(segment_out + segments.size());
  uint32_t first = 0;
  for (const auto& s : segments) {
    auto count = static_cast<uint32_t>(s.blocks.size());
    *segment_out++ = {s.address, s.bytes, s.pool, first, count, 0};
    first += count;
    for (const auto& b : s.blocks) {
      *block_out++ = {b.address, b.bytes, b.requested, b.age_ns, b.tag, b.stream, b.state, 0};
    }
  }
  return buffer;
}

napi_value set_memory_limit(Frame& f) {
  f.device(0).allocator().set_limit(f.integer(1));
  return undefined(f.env);
}

napi_value release_cached(Frame& f) {
  return make_number(f.env, static_cast<double>(f.device(0).allocator().release_cached()));
}

constexpr Function kFunctions[] = {
    {"memoryStats", entry<memory_stats>},       {"liveHandles", entry<live_handles>},
    {"memorySnapshot", entry<memory_snapshot>}, {"setMemoryLimit", entry<set_memory_limit>},
    {"releaseCached", entry<release_cached>},
};

}  // namespace

FunctionList memory_functions() { return kFunctions; }

}  // namespace weft::binding
