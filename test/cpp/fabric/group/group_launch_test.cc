// Launching: on all ranks or on none, in the order of the calls, never held up by what another group
// waits for, and nothing freed under a write that is still under way.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "collective_run.h"
#include "fabric/graph.h"
#include "fake_driver.h"
#include "transfer/copy_lane.h"

namespace fabric {
namespace {

using test::fresh_device;
using test::Gate;
using test::host_devices;
using test::run_checked;
using Clock = std::chrono::steady_clock;

class GroupLaunch : public test::CleanFabric {
 protected:
  static ErrorCode code_of(Work& work) {
    try {
      work.wait_launched();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kNone;
  }

  static bool drains(Stream& stream, int64_t timeout_ms) {
    return stream.device().driver().synchronize_stream(stream.handle(), timeout_ms);
  }
};

TEST_F(GroupLaunch, DevicesOfTwoDriversAreRefusedWhenTheGroupIsMade) {
  test::FakeDriver other(DriverKind::kCuda);
  Device gpu(other, 0, -1, 0, 900);
  try {
    Group::create({&open_device("host:0"), &gpu});
    FAIL() << "a group over two drivers was made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDevice);
    EXPECT_NE(error.message().find("host:0"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("cuda:0"), std::string::npos) << error.message();
  }
}

// Device 0 pushes into device 1's inbox and is held; device 2's push fails while being enqueued.
TEST_F(GroupLaunch, AFailureHalfWayFailsEveryRankAndOrdersWhatWasEnqueued) {
  constexpr uint64_t kCount = 1'500'000;  // large: pushes run on the copy-out streams
  auto devices = host_devices(3);
  auto group = Group::create(devices);
  std::vector<std::vector<float>> values(3, std::vector<float>(kCount, 1));
  std::vector<CollectiveArgs> parts(3);
  int launched = 0;
  for (int r = 0; r < 3; ++r) {
    parts[r].count = kCount;
    parts[r].in = parts[r].out = values[r].data();
    parts[r].on_launched = [&](Stream&) { ++launched; };
  }
  Gate gate;
  gate.hold(devices[0]->stream(StreamPurpose::kCopyOut));
  faults::fail_copies(2, 1);
  auto works = group->submit_all(parts);
  for (auto& work : works) EXPECT_EQ(code_of(*work), ErrorCode::kPeerAccess);
  EXPECT_EQ(launched, 3);
  for (int r = 0; r < 3; ++r) {
    EXPECT_FALSE(drains(group->stream(r), 100)) << "rank " << r << " may free memory under a write";
  }
  gate.open();
  for (int r = 0; r < 3; ++r) EXPECT_TRUE(drains(group->stream(r), 30'000));
  faults::clear();
  run_checked(*group, devices, {.count = kCount});
}

TEST_F(GroupLaunch, StagingOfASendThatNobodyReceivedWaitsForTheSend) {
  Device& from = open_device("host:20");
  Device& to = open_device("host:21");
  faults::set_peer_access(20, 21, false);
  Driver& driver = from.driver();
  constexpr size_t kBytes = 3u << 20;
  // The cache is emptied of this size, so that the lane's buffer is the only one to come back.
  std::vector<StagingBuffer> taken;
  for (int i = 0; i < 8; ++i) taken.push_back(acquire_staging(driver, kBytes));
  std::vector<char> data(kBytes);
  Gate gate;
  gate.hold(from.compute());
  const uint64_t before = staging_bytes();
  {
    CopyLane lane(from, to, kBytes);
    lane.send(data.data(), data.data(), kBytes, from.compute());
  }
  StagingBuffer next = acquire_staging(driver, kBytes);
  EXPECT_GT(staging_bytes(), before + kBytes) << "the buffer of a copy under way was handed out";
  gate.open();
  from.compute().synchronize();
  release_staging(next, nullptr);
  for (StagingBuffer buffer : taken) release_staging(buffer, nullptr);
}

TEST_F(GroupLaunch, CallsForAllRanksFromSeveralThreadsLaunchInTheOrderOfTheirNumbers) {
  auto devices = host_devices(2);
  auto group = Group::create(devices);
  const LogMode before = event_log::mode();
  event_log::set_mode(LogMode::kBasic);
  uint64_t last = 0, disorder = 0;
  for (int round = 0; round < 10; ++round) {  // a round's records fit in the log
    const uint64_t since = event_log::read(0, 0).next_sequence;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        for (int call = 0; call < 200; ++call) {
          std::vector<CollectiveArgs> args(2);
          for (auto& part : args) part.kind = CollectiveKind::kBarrier;
          for (auto& work : group->submit_all(args)) work->wait_launched();
        }
      });
    }
    for (auto& thread : threads) thread.join();
    for (const EventRecord& event : event_log::read(since, SIZE_MAX).events) {
      if (event.kind != static_cast<uint16_t>(EventKind::kCollectiveLaunch) ||
          event.device != devices[0]->index()) {
        continue;
      }
      disorder += event.id != last + 1;
      last = event.id;
    }
  }
  event_log::set_mode(before);
  EXPECT_EQ(last, 16'000u);
  EXPECT_EQ(disorder, 0u);
}

TEST_F(GroupLaunch, AReplayWhoseGraphWasDroppedDoesNotWaitForItInsideSubmit) {
  std::vector<Device*> devices = {&fresh_device(), &fresh_device()};
  auto group = Group::create(devices);
  auto capture = Capture::begin({&devices[0]->compute(), &devices[1]->compute()});
  host::enqueue(devices[1]->compute().handle(), [] {});
  std::shared_ptr<Graph> graph = capture->end();
  std::vector<CollectiveArgs> parts(2);
  for (int r = 0; r < 2; ++r) {
    parts[r].kind = CollectiveKind::kReplay;
    parts[r].graph = graph;
    parts[r].stream = &devices[r]->compute();
  }
  std::weak_ptr<Graph> alive = graph;
  graph.reset();
  Gate gate;
  gate.hold(devices[0]->compute());
  const auto start = Clock::now();
  auto first = group->submit(0, std::move(parts[0]));
  auto second = group->submit(1, std::move(parts[1]));
  EXPECT_EQ(code_of(*second), ErrorCode::kNone);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(10));
  EXPECT_FALSE(first->done());
  gate.open();
  EXPECT_TRUE(first->synchronize(30'000));
  EXPECT_TRUE(second->synchronize(30'000));
}

// Its scratch needs memory whose free waits for another stream: the allocator's ladder waits too.
TEST_F(GroupLaunch, AGroupThatWaitsForScratchDoesNotHoldUpOtherGroups) {
  std::vector<Device*> short_of_memory = {&fresh_device(), &fresh_device()};
  std::vector<Device*> others = {&fresh_device(), &fresh_device()};
  Device& full = *short_of_memory[0];
  auto starved = Group::create(short_of_memory);
  auto free_one = Group::create(others);
  constexpr uint64_t kCount = 8u << 20;
  std::vector<std::vector<float>> values(2, std::vector<float>(kCount, 1));
  std::vector<CollectiveArgs> parts(2);
  for (int r = 0; r < 2; ++r) {
    parts[r].count = kCount;
    parts[r].in = parts[r].out = values[r].data();
  }
  full.allocator().set_limit(40u << 20);
  Block* block = full.allocator().allocate(36u << 20, full.compute());
  Gate gate;
  gate.hold(full.stream(StreamPurpose::kCopyIn));
  full.allocator().record_use(block, full.stream(StreamPurpose::kCopyIn));
  full.allocator().free(block);
  std::atomic<bool> launched{false};
  std::thread launcher([&] {
    auto works = starved->submit_all(parts);
    launched = true;
    for (auto& work : works) EXPECT_EQ(code_of(*work), ErrorCode::kNone);
    for (auto& work : works) EXPECT_TRUE(work->synchronize(30'000));
  });
  const auto start = Clock::now();
  while (full.allocator().stats().retries == 0 && Clock::now() - start < std::chrono::seconds(5)) {
    std::this_thread::yield();
  }
  EXPECT_GT(full.allocator().stats().retries, 0u);
  std::vector<CollectiveArgs> barrier(2);
  for (auto& part : barrier) part.kind = CollectiveKind::kBarrier;
  for (auto& work : free_one->submit_all(barrier)) EXPECT_EQ(code_of(*work), ErrorCode::kNone);
  EXPECT_FALSE(launched.load()) << "the other group had to wait for the first one's memory";
  gate.open();
  launcher.join();
  for (Device* device : short_of_memory) device->synchronize();
  full.allocator().set_limit(0);
}

}  // namespace
}  // namespace fabric
