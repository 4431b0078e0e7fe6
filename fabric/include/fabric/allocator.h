// The stream-ordered caching allocator of one device, the same over every driver.
//
// Contract. A block belongs to the stream it was allocated on. free() makes it reusable at once for
// that stream, whose FIFO order protects it; a block used on other streams (record_use) is held
// back until events recorded on those streams at free() have passed. allocate() takes only this
// device's mutex. On failure the ladder runs: drain passed events -> release cached segments ->
// wait for pending frees (bounded) -> Error(kOutOfMemory) that tells requested, free, cached and
// the largest holders, and leaves every live block as it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fabric/device.h"

namespace fabric {

/// A live allocation. Fields are read-only outside the allocator.
struct Block {
  void* ptr = nullptr;
  size_t bytes = 0;  ///< usable size, >= requested
  size_t requested = 0;
  Device* device = nullptr;
  Stream* stream = nullptr;  ///< the stream that owns it
};

struct AllocatorStats {
  uint64_t allocated_bytes = 0;  ///< in live blocks
  uint64_t requested_bytes = 0;  ///< what callers asked for in live blocks
  uint64_t reserved_bytes = 0;   ///< in segments taken from the driver
  uint64_t peak_allocated_bytes = 0;
  uint64_t peak_reserved_bytes = 0;
  uint64_t pending_bytes = 0;  ///< freed, held back by events of other streams
  uint64_t live_blocks = 0;
  uint64_t allocations = 0;  ///< since start
  uint64_t cache_hits = 0;
  uint64_t segments = 0;
  uint64_t segment_allocations = 0;
  uint64_t splits = 0;
  uint64_t merges = 0;
  uint64_t retries = 0;        ///< times the reclaim ladder ran
  uint64_t out_of_memory = 0;  ///< times it failed
};

/// The segments of one pool, the small or the large ones.
struct PoolInfo {
  uint32_t id = 0;  ///< 0 shared; others belong to graphs
  bool small = false;
  uint64_t segments = 0;
  uint64_t reserved_bytes = 0;
  uint64_t free_bytes = 0;  ///< neither live nor waiting for other streams
};

struct BlockInfo {
  uint64_t address = 0;
  uint64_t bytes = 0;
  uint64_t requested = 0;
  uint16_t stream = 0;
  uint8_t state = 0;  ///< 0 free, 1 live, 2 pending
  uint32_t tag = 0;   ///< operator id that allocated it, 0 when none
  uint64_t age_ns = 0;
};
struct SegmentInfo {
  uint64_t address = 0;
  uint64_t bytes = 0;
  uint32_t pool = 0;  ///< 0 shared; others belong to graphs
  std::vector<BlockInfo> blocks;
};

class Allocator {
 public:
  explicit Allocator(Device& device);
  ~Allocator();

  /// Returns at once; the memory may be used by work on `stream` enqueued after this call.
  /// 512-byte aligned. bytes 0 gives a block with ptr nullptr. Throws Error(kOutOfMemory).
  Block* allocate(size_t bytes, Stream& stream);
  /// Stream-ordered: work already enqueued may still use the memory. Never fails.
  void free(Block* block) noexcept;
  /// Tells that work on `stream` uses `block` too; free() then waits for that work by an event.
  void record_use(Block* block, Stream& stream);

  AllocatorStats stats() const;
  /// By pool, those without segments left out. Looks at segments alone, not at blocks.
  std::vector<PoolInfo> pools() const;
  std::vector<SegmentInfo> snapshot() const;
  /// Gives every fully free segment back to the driver; returns bytes released.
  uint64_t release_cached();
  /// Upper bound on reserved bytes (0 lifts it).
  void set_limit(uint64_t bytes);
  /// Runs frees whose events have passed. Called on each allocate() too.
  void process_events();

  /// Private pools: allocations of this thread's captures on `stream` come from `pool` until
  /// end_pool. Freed blocks stay in their pool; release_pool gives the segments back when all are
  /// free.
  uint32_t create_pool();
  void begin_pool(uint32_t pool, Stream& stream);
  void end_pool(Stream& stream);
  void release_pool(uint32_t pool);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Tag put on the blocks this thread allocates from now on (an operator id; 0 none).
void set_allocation_tag(uint32_t tag);
uint32_t allocation_tag();

/// Host staging memory, cached per driver. acquire() may block only in the system allocator.
/// release() hands the buffer back once `stream`'s work so far is done (nullptr: at once).
struct StagingBuffer {
  void* ptr = nullptr;
  size_t bytes = 0;
  Driver* driver = nullptr;
};
StagingBuffer acquire_staging(Driver& driver, size_t bytes);
void release_staging(StagingBuffer buffer, Stream* stream);
uint64_t staging_bytes();  ///< held by the cache and by callers

}  // namespace fabric
