// What a capture does with memory: whose pool its streams allocate from, what becomes of blocks and
// staging buffers that are freed while it goes on, and what a disposed graph gives back.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "fabric/graph.h"
#include "group/collective_run.h"

namespace fabric {
namespace {

using test::fresh_device;
using test::Gate;

constexpr size_t kMiB = size_t{1} << 20;

/// The pool that holds `block`'s memory, 0 the shared one.
uint32_t pool_of(const Block* block) {
  const auto address = reinterpret_cast<uint64_t>(block->ptr);
  for (const SegmentInfo& segment : block->device->allocator().snapshot()) {
    if (address >= segment.address && address < segment.address + segment.bytes)
      return segment.pool;
  }
  ADD_FAILURE() << "the block lies in no segment";
  return 0;
}

class CaptureMemory : public test::CleanFabric {};

TEST_F(CaptureMemory, AUserStreamThatJoinsAllocatesFromTheGraphsPool) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  Stream& main = device.compute();
  Stream& side = device.create_stream();
  auto capture = Capture::begin({&main});
  order_after(side, main);
  Block* inside = allocator.allocate(4096, side);
  EXPECT_NE(pool_of(inside), 0u);
  auto* words = static_cast<int*>(inside->ptr);
  host::enqueue(side.handle(), [words] { *words = -1; });
  order_after(main, side);
  allocator.free(inside);
  auto graph = capture->end();
  // An eager block on that stream is not the graph's: a replay must not write there.
  Block* eager = allocator.allocate(4096, side);
  EXPECT_EQ(pool_of(eager), 0u);
  auto* mine = static_cast<int*>(eager->ptr);
  host::enqueue(side.handle(), [mine] { *mine = 7; });
  device.synchronize();
  Stream* streams[] = {&main};
  graph->launch(streams);
  device.synchronize();
  EXPECT_EQ(*mine, 7);
  allocator.free(eager);
}

TEST_F(CaptureMemory, AStreamOutsideTheCaptureGoesOnWithSharedMemory) {
  Device& device = fresh_device();
  Stream& other = device.create_stream();
  auto capture = Capture::begin({&device.compute()});
  Block* eager = device.allocator().allocate(4096, other);
  EXPECT_EQ(pool_of(eager), 0u);
  device.allocator().free(eager);
}

// Under AddressSanitizer this is a use after free when the pool goes while it is being released.
TEST_F(CaptureMemory, AnAbandonedCaptureWithABlockUsedOnTwoStreamsLeavesNothing) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  {
    auto capture = Capture::begin({&device.compute()});
    Block* block = allocator.allocate(30 * kMiB, device.compute());
    allocator.record_use(block, device.comm());
    allocator.free(block);
  }
  device.synchronize();
  allocator.process_events();
  EXPECT_EQ(allocator.stats().pending_bytes, 0u);
  for (const auto& segment : allocator.snapshot()) EXPECT_EQ(segment.pool, 0u);
  allocator.release_cached();
  EXPECT_EQ(allocator.stats().reserved_bytes, 0u);
}

TEST_F(CaptureMemory, DisposingAGraphGivesBackItsOwnMemoryAndWaitsForNobody) {
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  allocator.free(allocator.allocate(40 * kMiB, device.compute()));  // the eager cache
  const uint64_t cached = allocator.stats().reserved_bytes;
  auto capture = Capture::begin({&device.compute()});
  allocator.free(allocator.allocate(30 * kMiB, device.compute()));
  auto graph = capture->end();
  capture.reset();
  EXPECT_GT(allocator.stats().reserved_bytes, cached);
  Gate gate;  // eager work that is not done: its memory is nobody's business here
  allocator.free(allocator.allocate(50 * kMiB, device.comm()));
  gate.hold(device.comm());
  const uint64_t with_comm = cached + 50 * kMiB;
  graph.reset();
  EXPECT_FALSE(device.comm().idle());
  EXPECT_EQ(allocator.stats().reserved_bytes, with_comm);
}

TEST_F(CaptureMemory, ACaptureOnOneDeviceDoesNotStarveAnother) {
  Device& busy = fresh_device();
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  auto capture = Capture::begin({&busy.compute()});
  allocator.set_limit(32 * kMiB);
  for (int i = 0; i < 3; ++i) {
    Block* block = allocator.allocate(30 * kMiB, device.compute());
    allocator.record_use(block, device.comm());
    allocator.free(block);
  }
  device.synchronize();
  allocator.process_events();
  EXPECT_EQ(allocator.stats().pending_bytes, 0u);
}

TEST_F(CaptureMemory, TheLadderWaitsForFreesThatACaptureHoldsBack) {
  Device& busy = fresh_device();
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  allocator.set_limit(32 * kMiB);
  std::unique_ptr<Capture> capture;
  std::thread([&] { capture = Capture::begin({&busy.compute()}); }).join();
  Block* block = allocator.allocate(30 * kMiB, device.compute());
  allocator.record_use(block, busy.comm());
  allocator.free(block);
  std::thread ender([&] {  // only once the ladder has started: it cannot succeed before
    while (allocator.stats().retries == 0) std::this_thread::yield();
    capture.reset();
  });
  Block* again = allocator.allocate(30 * kMiB, device.compute());
  ender.join();
  EXPECT_EQ(allocator.stats().out_of_memory, 0u);
  allocator.free(again);
}

TEST_F(CaptureMemory, OutOfMemoryTellsWhatTheCaptureOfThisThreadHoldsBack) {
  Device& busy = fresh_device();
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  allocator.set_limit(32 * kMiB);
  auto capture = Capture::begin({&busy.compute()});
  Block* block = allocator.allocate(30 * kMiB, device.compute());
  allocator.record_use(block, busy.comm());
  allocator.free(block);
  try {
    allocator.allocate(30 * kMiB, device.compute());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    EXPECT_NE(error.message().find("until a capture of " + busy.name() + " ends"),
              std::string::npos)
        << error.message();
    EXPECT_NE(error.fields_json().find("\"captured\":31457280"), std::string::npos)
        << error.fields_json();
  }
  capture.reset();
  allocator.free(allocator.allocate(30 * kMiB, device.compute()));
}

// An event that a beginning capture swallows would never pass, and nothing behind it either.
TEST_F(CaptureMemory, FreesThatRaceABeginningCaptureAllPass) {
  Device& busy = fresh_device();
  Device& device = fresh_device();
  auto& allocator = device.allocator();
  std::atomic<bool> stop{false};
  std::thread capturing([&] {
    while (!stop) {
      auto capture = Capture::begin({&busy.comm()});
      capture.reset();
    }
  });
  for (int i = 0; i < 3000; ++i) {
    Block* block = allocator.allocate(4096, device.compute());
    allocator.record_use(block, busy.comm());
    allocator.free(block);
  }
  stop = true;
  capturing.join();
  allocator.process_events();
  busy.synchronize();
  device.synchronize();
  allocator.process_events();
  EXPECT_EQ(allocator.stats().pending_bytes, 0u);
}

TEST_F(CaptureMemory, ACapturedCollectiveOverStagingRunsAndItsBuffersComeBack) {
  auto devices = test::host_devices(2);
  faults::set_peer_access(devices[0]->ordinal(), devices[1]->ordinal(), false);
  auto group = Group::create(devices);
  constexpr size_t kCount = 300'000;
  std::vector<std::vector<float>> values(2, std::vector<float>(kCount));
  const uint64_t before = staging_bytes();
  {
    auto capture = Capture::begin({&devices[0]->compute(), &devices[1]->compute()});
    std::vector<CollectiveArgs> args(2);
    for (int r = 0; r < 2; ++r) {
      args[r].count = kCount;
      args[r].in = args[r].out = values[r].data();
      args[r].stream = &devices[r]->compute();
    }
    auto works = group->submit_all(args);
    for (int r = 0; r < 2; ++r) {
      works[r]->wait_launched();
      works[r]->stream_wait(devices[r]->compute());
    }
    auto graph = capture->end();
    const uint64_t held = staging_bytes();
    EXPECT_GT(held, before);
    for (int round = 1; round <= 3; ++round) {
      for (int r = 0; r < 2; ++r) std::fill(values[r].begin(), values[r].end(), round + r);
      Stream* streams[] = {&devices[0]->compute(), &devices[1]->compute()};
      graph->launch(streams);
      for (Device* device : devices) device->synchronize();
      EXPECT_EQ(values[0][0], 2 * round + 1);
      EXPECT_EQ(values[1][kCount - 1], 2 * round + 1);
    }
    // The graph's buffers are not handed out while it lives.
    EXPECT_EQ(staging_bytes(), held);
  }
  // And again to others afterwards: as much as was held is there without the system's help.
  const uint64_t after = staging_bytes();
  std::vector<StagingBuffer> buffers;
  for (int i = 0; i < 4; ++i) buffers.push_back(acquire_staging(devices[0]->driver(), kMiB));
  EXPECT_LE(staging_bytes(), after);
  for (auto& buffer : buffers) release_staging(buffer, nullptr);
}

}  // namespace
}  // namespace fabric
