// The allocator under pressure: limits, refused segments, the reclaim ladder, the out-of-memory
// account, and several threads. The long random run is in allocator_fuzz_test.cc.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "fabric/faults.h"
#include "test_device.h"

namespace fabric {
namespace {

using test::fresh_device;
using test::Gate;

constexpr size_t kMiB = size_t{1} << 20;

TEST(AllocatorPressure, ALimitReleasesCachedSegmentsBeforeItRefuses) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  allocator.set_limit(64 * kMiB);
  allocator.free(allocator.allocate(60 * kMiB, device.comm()));
  Block* block = allocator.allocate(50 * kMiB, device.compute());  // comm's cache must go first
  EXPECT_EQ(allocator.stats().reserved_bytes, 50 * kMiB);
  EXPECT_EQ(allocator.stats().retries, 1u);
  EXPECT_THROW(allocator.allocate(50 * kMiB, device.compute()), Error);
  allocator.set_limit(0);
  Block* more = allocator.allocate(50 * kMiB, device.compute());
  allocator.free(more);
  allocator.free(block);
}

TEST(AllocatorPressure, NearALimitASegmentIsNoLargerThanItsRequest) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  allocator.set_limit(6 * kMiB);
  Block* block = allocator.allocate(5 * kMiB, device.compute());
  EXPECT_EQ(allocator.stats().reserved_bytes, 6 * kMiB);
  allocator.free(block);
}

TEST(AllocatorPressure, ARefusedSegmentIsTriedAgainAfterReclaiming) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  allocator.free(allocator.allocate(30 * kMiB, device.comm()));
  faults::fail_allocations(device.ordinal(), 2);
  Block* block = allocator.allocate(40 * kMiB, device.compute());
  EXPECT_EQ(allocator.stats().retries, 1u);
  EXPECT_EQ(allocator.stats().out_of_memory, 0u);
  EXPECT_EQ(allocator.stats().reserved_bytes, 40 * kMiB);
  faults::fail_allocations(device.ordinal(), 1, 1);
  Block* succeeds = allocator.allocate(40 * kMiB, device.compute());
  Block* retried = allocator.allocate(40 * kMiB, device.compute());
  EXPECT_EQ(allocator.stats().retries, 2u);
  faults::clear();
  for (Block* b : {block, succeeds, retried}) allocator.free(b);
}

TEST(AllocatorPressure, TheLadderWaitsForPendingFrees) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  allocator.set_limit(32 * kMiB);
  Gate gate;
  gate.hold(device.comm());
  Block* block = allocator.allocate(30 * kMiB, device.compute());
  allocator.record_use(block, device.comm());
  allocator.free(block);
  // Opened only once the ladder has started: the allocation below cannot succeed before.
  std::thread opener([&] {
    while (allocator.stats().retries == 0) std::this_thread::yield();
    gate.open();
  });
  Block* again = allocator.allocate(30 * kMiB, device.compute());
  opener.join();
  EXPECT_EQ(allocator.stats().reserved_bytes, 30 * kMiB);  // the one segment, or its successor
  EXPECT_EQ(allocator.stats().out_of_memory, 0u);
  allocator.free(again);
}

TEST(AllocatorPressure, OutOfMemoryCarriesTheAccountAndLeavesBlocksIntact) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  set_allocation_tag(7);
  Block* big = allocator.allocate(48 * kMiB, device.compute());
  set_allocation_tag(9);
  Block* small = allocator.allocate(4096, device.comm());
  set_allocation_tag(0);
  std::memset(big->ptr, 0x5a, big->bytes);
  allocator.set_limit(64 * kMiB);
  const auto before = allocator.stats();
  try {
    allocator.allocate(100 * kMiB, device.compute());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    EXPECT_NE(error.message().find(device.name()), std::string::npos);
    EXPECT_NE(error.message().find("100.00 MiB"), std::string::npos);
    const std::string& fields = error.fields_json();
    EXPECT_NE(fields.find("\"requested\":104857600"), std::string::npos) << fields;
    EXPECT_NE(fields.find("\"limit\":67108864"), std::string::npos) << fields;
    EXPECT_NE(fields.find("\"free\":14680064"), std::string::npos) << fields;
    EXPECT_NE(fields.find("\"cached\":2093056"), std::string::npos) << fields;
    EXPECT_NE(fields.find("\"holders\":[{\"bytes\":50331648,\"stream\":0,\"tag\":7,\"blocks\":1},"
                          "{\"bytes\":4096,\"stream\":1,\"tag\":9,\"blocks\":1}]"),
              std::string::npos)
        << fields;
  }
  const auto after = allocator.stats();
  EXPECT_EQ(after.out_of_memory, 1u);
  EXPECT_EQ(after.live_blocks, before.live_blocks);
  EXPECT_EQ(after.allocated_bytes, before.allocated_bytes);
  for (size_t i = 0; i < big->bytes; i += 4096) {
    ASSERT_EQ(static_cast<char*>(big->ptr)[i], 0x5a);
  }
  Block* next = allocator.allocate(8 * kMiB, device.compute());  // goes on working
  for (Block* block : {big, small, next}) allocator.free(block);
}

TEST(AllocatorPressure, AnAbsurdRequestIsOutOfMemoryNotAnOverflow) {
  Device& device = fresh_device();
  EXPECT_THROW(device.allocator().allocate(SIZE_MAX, device.compute()), Error);
  EXPECT_THROW(device.allocator().allocate(size_t{1} << 50, device.compute()), Error);
}

// Each thread owns a stream, writes its blocks by tasks and lets others read them.
TEST(AllocatorPressure, ThreadsOnTheirOwnStreamsNeverSeeEachOthersBytes) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  allocator.set_limit(96 * kMiB);  // so that the ladder runs too
  constexpr int kThreads = 4;
  std::atomic<int64_t> bad{0};
  std::vector<Stream*> streams;
  for (int t = 0; t < kThreads; ++t) streams.push_back(&device.create_stream());
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      Stream& mine = *streams[static_cast<size_t>(t)];
      Stream& other = *streams[static_cast<size_t>((t + 1) % kThreads)];
      for (int i = 0; i < 400; ++i) {
        const size_t bytes = 512 + random() % (i % 8 == 0 ? 6 * kMiB : 64 * 1024);
        Block* block = allocator.allocate(bytes, mine);
        auto* data = static_cast<unsigned char*>(block->ptr);
        const auto mark = static_cast<unsigned char>(random());
        host::enqueue(mine.handle(), [data, bytes, mark] { std::memset(data, mark, bytes); });
        if (i % 3 == 0) {
          order_after(other, mine);
          host::enqueue(other.handle(), [data, bytes, mark, &bad] {
            for (size_t at = 0; at < bytes; at += 512) bad += data[at] != mark;
          });
          allocator.record_use(block, other);
        }
        allocator.free(block);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  device.synchronize();
  EXPECT_EQ(bad.load(), 0);
  allocator.process_events();
  EXPECT_EQ(allocator.stats().allocated_bytes, 0u);
  EXPECT_EQ(allocator.stats().pending_bytes, 0u);
}

}  // namespace
}  // namespace fabric
