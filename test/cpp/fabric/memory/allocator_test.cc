// The caching allocator: reuse, splitting and merging, cross-stream frees, private pools.
#include <gtest/gtest.h>

#include <cstring>

#include "test_device.h"

namespace fabric {
namespace {

using test::fresh_device;
using test::Gate;

constexpr size_t kMiB = size_t{1} << 20;

TEST(Allocator, GivesAlignedMemoryThatHoldsWhatWasAsked) {
  Device& device = fresh_device();
  for (size_t bytes : {size_t{1}, size_t{511}, size_t{513}, kMiB, 3 * kMiB, 21 * kMiB}) {
    Block* block = device.allocator().allocate(bytes, device.compute());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block->ptr) % 512, 0u);
    EXPECT_GE(block->bytes, bytes);
    EXPECT_EQ(block->requested, bytes);
    EXPECT_EQ(block->device, &device);
    EXPECT_EQ(block->stream, &device.compute());
    std::memset(block->ptr, 1, bytes);
    device.allocator().free(block);
  }
  EXPECT_EQ(device.allocator().stats().live_blocks, 0u);
}

TEST(Allocator, AnEmptyRequestIsABlockWithoutMemory) {
  Device& device = fresh_device();
  Block* block = device.allocator().allocate(0, device.compute());
  EXPECT_EQ(block->ptr, nullptr);
  EXPECT_EQ(block->bytes, 0u);
  EXPECT_EQ(device.allocator().stats().live_blocks, 1u);
  device.allocator().record_use(block, device.comm());
  device.allocator().free(block);
  EXPECT_EQ(device.allocator().stats().live_blocks, 0u);
  EXPECT_EQ(device.allocator().stats().segments, 0u);
}

TEST(Allocator, ReusesAFreedBlockOnItsStreamAtOnceAndNotOnAnother) {
  Device& device = fresh_device();
  Gate gate;
  gate.hold(device.compute());  // its work is not done, yet the same stream may reuse
  Block* first = device.allocator().allocate(4096, device.compute());
  void* address = first->ptr;
  device.allocator().free(first);
  Block* other = device.allocator().allocate(4096, device.comm());
  EXPECT_NE(other->ptr, address);
  Block* again = device.allocator().allocate(4096, device.compute());
  EXPECT_EQ(again->ptr, address);
  EXPECT_EQ(device.allocator().stats().cache_hits, 1u);
  device.allocator().free(other);
  device.allocator().free(again);
}

TEST(Allocator, AFreedBlockUsedElsewhereIsHeldBackUntilThatStreamPassed) {
  Device& device = fresh_device();
  Device& peer = fresh_device();
  auto& allocator = device.allocator();
  Gate gate;
  Block* block = allocator.allocate(3 * kMiB, device.compute());
  void* address = block->ptr;
  gate.hold(peer.comm());
  allocator.record_use(block, peer.comm());
  allocator.record_use(block, device.comm());
  allocator.record_use(block, peer.comm());  // once is enough
  allocator.free(block);
  EXPECT_EQ(allocator.stats().pending_bytes, 3 * kMiB);
  EXPECT_EQ(allocator.stats().live_blocks, 0u);
  device.synchronize();
  Block* meanwhile = allocator.allocate(3 * kMiB, device.compute());
  EXPECT_NE(meanwhile->ptr, address);
  gate.open();
  peer.synchronize();
  allocator.process_events();
  EXPECT_EQ(allocator.stats().pending_bytes, 0u);
  Block* after = allocator.allocate(3 * kMiB, device.compute());
  EXPECT_EQ(after->ptr, address);
  allocator.free(meanwhile);
  allocator.free(after);
}

TEST(Allocator, SplitsASegmentAndMergesItBack) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  Block* blocks[5];
  for (Block*& block : blocks) block = allocator.allocate(100 * 1024, device.compute());
  EXPECT_EQ(allocator.stats().segments, 1u);
  EXPECT_EQ(allocator.stats().reserved_bytes, 2 * kMiB);
  for (int i = 1; i < 5; ++i) {
    EXPECT_EQ(static_cast<char*>(blocks[i]->ptr),
              static_cast<char*>(blocks[i - 1]->ptr) + blocks[i - 1]->bytes);
  }
  for (int i : {1, 3, 0, 4, 2}) allocator.free(blocks[i]);  // with holes: both neighbours merge
  auto snapshot = allocator.snapshot();
  ASSERT_EQ(snapshot.size(), 1u);
  ASSERT_EQ(snapshot[0].blocks.size(), 1u);
  EXPECT_EQ(snapshot[0].blocks[0].bytes, 2 * kMiB);
  EXPECT_EQ(snapshot[0].blocks[0].state, 0);
  EXPECT_EQ(allocator.stats().splits, allocator.stats().merges);
}

TEST(Allocator, ASmallRequestNeverTakesAHugeBlock) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  allocator.free(allocator.allocate(256 * kMiB, device.compute()));
  Block* small = allocator.allocate(512, device.compute());
  EXPECT_EQ(small->bytes, 512u);
  EXPECT_EQ(allocator.stats().reserved_bytes, 258 * kMiB);  // from a segment of its own
  Block* medium = allocator.allocate(2 * kMiB, device.compute());
  EXPECT_LE(medium->bytes, 3 * kMiB);  // what is left stays usable
  Block* large = allocator.allocate(250 * kMiB, device.compute());
  EXPECT_EQ(allocator.stats().reserved_bytes, 258 * kMiB);
  for (Block* block : {small, medium, large}) allocator.free(block);
}

TEST(Allocator, TakesTheBestFit) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  Stream& stream = device.compute();
  Block* a = allocator.allocate(8192, stream);
  Block* wall1 = allocator.allocate(512, stream);
  Block* b = allocator.allocate(4096, stream);
  Block* wall2 = allocator.allocate(512, stream);
  void* fit = b->ptr;
  allocator.free(a);
  allocator.free(b);
  Block* c = allocator.allocate(4000, stream);
  EXPECT_EQ(c->ptr, fit);
  for (Block* block : {wall1, wall2, c}) allocator.free(block);
}

TEST(Allocator, ReleaseCachedKeepsSegmentsThatAreInUse) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  Block* keep = allocator.allocate(30 * kMiB, device.compute());
  std::memset(keep->ptr, 7, keep->bytes);
  allocator.free(allocator.allocate(40 * kMiB, device.compute()));
  allocator.free(allocator.allocate(50 * kMiB, device.comm()));
  EXPECT_EQ(allocator.stats().reserved_bytes, 120 * kMiB);
  EXPECT_EQ(allocator.release_cached(), 90 * kMiB);
  EXPECT_EQ(allocator.stats().reserved_bytes, 30 * kMiB);
  EXPECT_EQ(allocator.stats().peak_reserved_bytes, 120 * kMiB);
  EXPECT_EQ(static_cast<char*>(keep->ptr)[keep->bytes - 1], 7);
  allocator.free(keep);
}

// The block is free, but work on its own stream still writes it: AddressSanitizer sees a release
// too early.
TEST(Allocator, ReleaseCachedWaitsForTheStreamsOwnWork) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  Stream& stream = device.compute();
  for (int i = 0; i < 20; ++i) {
    Block* block = allocator.allocate(12 * kMiB, stream);
    host::enqueue(stream.handle(),
                  [ptr = block->ptr, bytes = block->bytes] { std::memset(ptr, 1, bytes); });
    allocator.free(block);
    EXPECT_EQ(allocator.release_cached(), 12 * kMiB);
  }
}

TEST(Allocator, TagsAndAgesShowInTheSnapshot) {
  Device& device = fresh_device();
  set_allocation_tag(42);
  Block* block = device.allocator().allocate(1000, device.comm());
  set_allocation_tag(0);
  const auto snapshot = device.allocator().snapshot();
  ASSERT_EQ(snapshot.size(), 1u);
  const BlockInfo& info = snapshot[0].blocks[0];
  EXPECT_EQ(info.address, reinterpret_cast<uint64_t>(block->ptr));
  EXPECT_EQ(info.tag, 42u);
  EXPECT_EQ(info.state, 1);
  EXPECT_EQ(info.requested, 1000u);
  EXPECT_EQ(info.stream, device.comm().id());
  device.allocator().free(block);
}

TEST(Allocator, RefusesAStreamOfAnotherDevice) {
  EXPECT_THROW(fresh_device().allocator().allocate(512, fresh_device().compute()), Error);
}

TEST(AllocatorPool, KeepsACapturesBlocksApartFromTheRest) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  Stream& stream = device.compute();
  const uint32_t pool = allocator.create_pool();
  allocator.begin_pool(pool, stream);
  Block* inside = allocator.allocate(4096, stream);
  void* address = inside->ptr;
  allocator.free(inside);
  inside = allocator.allocate(4096, stream);
  EXPECT_EQ(inside->ptr, address);  // reused within the pool
  allocator.end_pool(stream);
  allocator.free(inside);

  Block* outside = allocator.allocate(4096, stream);
  EXPECT_NE(outside->ptr, address);  // a replay may write there
  EXPECT_EQ(allocator.release_cached(), 0u);
  allocator.begin_pool(pool, stream);
  inside = allocator.allocate(4096, stream);
  EXPECT_EQ(inside->ptr, address);
  allocator.end_pool(stream);

  allocator.release_pool(pool);  // a block is in use: nothing happens yet
  EXPECT_THROW(allocator.begin_pool(pool, stream), Error);
  EXPECT_EQ(allocator.stats().segments, 2u);
  allocator.free(inside);
  EXPECT_EQ(allocator.release_cached(), 2 * kMiB);
  allocator.free(outside);
}

TEST(AllocatorPool, ReleasingAnUnusedPoolGivesItsSegmentsBack) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  const uint32_t pool = allocator.create_pool();
  allocator.begin_pool(pool, device.compute());
  EXPECT_THROW(allocator.begin_pool(pool, device.compute()), Error);
  EXPECT_THROW(allocator.release_pool(pool), Error);
  allocator.free(allocator.allocate(30 * kMiB, device.compute()));
  allocator.end_pool(device.compute());
  EXPECT_EQ(allocator.snapshot()[0].pool, pool);
  allocator.release_pool(pool);
  EXPECT_EQ(allocator.stats().reserved_bytes, 0u);
  allocator.release_pool(pool);  // unknown by now: no effect
}

TEST(AllocatorPool, CrossStreamFreesInsideACaptureWaitForItsEnd) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  const uint32_t pool = allocator.create_pool();
  Block* block = allocator.allocate(4096, device.compute());
  allocator.record_use(block, device.comm());
  ASSERT_TRUE(device.captures().claim(1));
  allocator.begin_pool(pool, device.comm());
  allocator.free(block);
  allocator.process_events();
  EXPECT_EQ(allocator.stats().pending_bytes, 4096u);
  EXPECT_EQ(device.comm().idle(), true);  // no event went onto the captured stream
  allocator.end_pool(device.comm());
  device.captures().release();
  allocator.process_events();
  device.synchronize();
  allocator.process_events();
  EXPECT_EQ(allocator.stats().pending_bytes, 0u);
  allocator.release_pool(pool);
}

}  // namespace
}  // namespace fabric
